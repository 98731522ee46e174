"""The driver's UUIDs stand in for the library's everywhere."""

from __future__ import annotations

from uuid import UUID

from hypothesis import example, given
from hypothesis import strategies as st

from headwater.domain.ids import find_uuid
from headwater.postgres.uuids import find_new_uuid

_CHARACTERS = "0123456789abcdefABCDEF-{}gé\ud800"


@given(st.uuids())
def test_they_are_equal_to_the_librarys(known: UUID) -> None:
    found = find_new_uuid(str(known))
    assert isinstance(found, UUID)
    assert (found, hash(found), str(found)) == (known, hash(known), str(known))
    assert (found.int, found.bytes, found.version) == (known.int, known.bytes, known.version)
    assert {known: "found"}[found] == "found"


@given(st.text(_CHARACTERS, min_size=30, max_size=40) | st.uuids().map(str).map(str.upper))
@example("6ba7b810-9dad-11d1-80b4-00c04fd430c\u0660")
@example("6ba7b810-9dad-11d1-80b4-00c04fd430-8")
@example("6ba7b8109-dad-11d1-80b4-00c04fd430c8")
@example("{6ba7b810-9dad-11d1-80b4-00c04fd430}")
@example("6ba7b8109dad11d180b400c04fd430c8")
def test_the_same_texts_are_uuids(text: str) -> None:
    assert find_new_uuid(text) == find_uuid(text)
