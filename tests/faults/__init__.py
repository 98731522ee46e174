import pytest

pytest.register_assert_rewrite("tests.faults.books")  # its asserts show their values
