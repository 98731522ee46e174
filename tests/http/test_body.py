"""Parsing of bodies by contacthub 2.11, without a server."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.domain import refusal as refusals
from headwater.domain.refusal import FieldError
from headwater.errors import Refused
from headwater.http.body import MAX_DEPTH, as_object, find_forbidden_character, parse_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text('a"\\[]{}\n')
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('a"\\[]{}'), inner),
    max_leaves=200,
)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@given(JSON, st.integers(0, 80))
def test_depth_is_what_decides(value: Any, more: int) -> None:
    for _ in range(more):
        value = {"[": [value]} if more % 2 else [value]
    raw = orjson.dumps(value)
    if _depth(value) > MAX_DEPTH:
        with pytest.raises(Refused) as caught:
            parse_json(raw)
        assert caught.value.refusal.message == "malformed JSON"
    else:
        assert parse_json(raw) == value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"{'a':1}",
        b"[1,]",
        b"NaN",
        b'"\xff"',
        b'"\x00"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b"1e400",
        b"-1e400",
        b"1" * 400,
        b"[" * 1_000_000,
        b'{"a":' * 100,
        b'"' + b"[\\" * 100_000,
    ],
)
def test_malformed(raw: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse_json(raw)
    assert caught.value.refusal.status == 400
    assert caught.value.refusal.message == "malformed JSON"


def test_duplicates_and_big_numbers() -> None:
    assert parse_json(b'{"a":1,"a":2}') == {"a": 2}
    assert parse_json(b"18446744073709551615") == 2**64 - 1
    assert isinstance(parse_json(b"18446744073709551616"), float)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (rb'{"a":"x\u0000"}', "/a"),
        (rb'{"a":[1,{"b~/":"\u0000"}]}', "/a/1/b~0~1"),
        (rb'{"a\u0000":1}', "/a\\u0000"),
        (rb'{"a":"\\u0000"}', None),
        (b'{"a":"x"}', None),
    ],
)
def test_nul(raw: bytes, path: str | None) -> None:
    expected = None if path is None else FieldError(message="character not allowed", path=path)
    assert find_forbidden_character(parse_json(raw), raw) == expected


@pytest.mark.parametrize("value", [None, True, 1, "x", [], [{}]])
def test_only_objects(value: Any) -> None:
    with pytest.raises(Refused) as caught:
        as_object(value, orjson.dumps(value), refusals.event_not_valid)
    assert caught.value.refusal == refusals.event_not_valid(
        FieldError(message="expected type object", path="")
    )
