"""The replay says no to a history that its writes don't explain."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.ledger import Write
from tests.chaos.replay import Applied, replay
from tests.domain import reference

NODE = {"nodeId": "n"}


def _write(kind: str, body: Any) -> Write:
    return Write(nonce="n", workspace=0, kind=kind, keyed=False, body=body)


def _applied(version: int | None, kind: str, body: Any) -> Applied:
    return Applied("o", version, _write(kind, body))


POST = _applied(0, "POST", {**NODE, "externalId": "a", "extra": "1"})
PATCH = _applied(1, "PATCH", {"extra": "2"})
SAME = _applied(1, "PATCH", {"extra": "2", "externalId": "a"})
DELETE = _applied(2, "DELETE", None)

FIRST = reference.created({"externalId": "a", "extra": "1"})
SECOND = reference.written(FIRST, {"extra": "2"}, "PATCH")
OTHER = reference.written(FIRST, {"extra": "3"}, "PATCH")


@pytest.mark.parametrize("order", [[POST, PATCH, SAME], [SAME, PATCH, POST]])
def test_writes_that_explain_each_version_are_right(order: list[Applied]) -> None:
    assert replay("c", [FIRST, SECOND], False, order) == []


def test_a_deletion_is_the_last_version() -> None:
    gone = Applied("o", None, DELETE.write)
    assert replay("c", [FIRST, SECOND, SECOND], True, [POST, PATCH, gone]) == []
    assert len(replay("c", [FIRST, SECOND, SECOND], True, [POST, PATCH])) == 1


@pytest.mark.parametrize(
    ("documents", "applied", "expected"),
    [
        ([FIRST, SECOND], [POST], "a write that makes it"),
        ([FIRST, OTHER], [POST, PATCH], "a write that makes it"),
        ([FIRST], [POST, PATCH], "such a version in the feed"),
        (
            [FIRST, SECOND],
            [POST, PATCH, _applied(1, "PATCH", {"extra": "3"})],
            "one write that makes it",
        ),
    ],
    ids=["unexplained", "another content", "lost", "an effect that is missing"],
)
def test_a_history_that_does_not_follow_is_told(
    documents: list[Any], applied: list[Applied], expected: str
) -> None:
    (told,) = replay("c", documents, False, applied)
    assert told.startswith("REPLAY: customer c version ")
    assert f"expected {expected}, " in told
