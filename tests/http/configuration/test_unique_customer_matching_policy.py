"""GET /configuration/unique-customer-matching-policy."""

from __future__ import annotations

from tests.http.configuration.conftest import Control


async def test_the_default_matching_policy(control: Control) -> None:
    answer = await control.call("GET", "/unique-customer-matching-policy")
    assert answer.body == {"properties": ["externalId"], "caseSensitive": False}
