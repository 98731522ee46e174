"""What counts as a date-time, date, address and so on: the tables of contacthub 2.7 and customer-model 2."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.domain.moment import find_date, find_datetime, format_datetime
from headwater.validation.formats import FORMATS, is_email, is_ip, is_ipv4, is_uri


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("2024-03-01T10:20:30Z", "2024-03-01T10:20:30.000+0000"),
        ("2024-03-01T10:20:30+00:00", "2024-03-01T10:20:30.000+0000"),
        ("2024-03-01T10:20:30+0000", "2024-03-01T10:20:30.000+0000"),
        ("2024-03-01T10:20:30+02", "2024-03-01T08:20:30.000+0000"),
        ("2024-03-01T10:20:30-05:30", "2024-03-01T15:50:30.000+0000"),
        ("2024-03-01T10:20:30-00:00", "2024-03-01T10:20:30.000+0000"),
        ("2024-03-01T10:20:30", "2024-03-01T10:20:30.000+0000"),
        ("2024-03-01", "2024-03-01T00:00:00.000+0000"),
        ("2024-03-01t10:20:30z", "2024-03-01T10:20:30.000+0000"),
        ("2024-03-01 10:20:30Z", "2024-03-01T10:20:30.000+0000"),
        ("2024-03-01T10:20:30.1Z", "2024-03-01T10:20:30.100+0000"),
        ("2024-03-01T10:20:30.123456789Z", "2024-03-01T10:20:30.123+0000"),
        ("2024-03-01T10:20:30.9999+0000", "2024-03-01T10:20:30.999+0000"),
        ("2024-02-29T23:59:59-01:00", "2024-03-01T00:59:59.000+0000"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999+0000"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000+0000"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999+0000"),
    ],
)
def test_datetime_is_read_and_spelled_in_one_way(text: str, spelled: str) -> None:
    moment = find_datetime(text)
    assert moment is not None
    assert format_datetime(moment) == spelled
    assert FORMATS["date-time"](text)
    assert find_date(text) == text[:10]


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2024", "2024-03", "20240301", "2024-3-1", "2024-W09-5", "2024-060",
        "2023-02-29", "2024-13-01", "2024-00-10", "2024-01-32", "0000-01-01",
        "2024-03-01T", "2024-03-01T10", "2024-03-01T10:20", "2024-03-01T10:20Z", "2024-03-01T24:00:00Z", "2024-03-01T10:60:00Z",
        "2024-03-01T10:20:61Z", "2024-03-01T10:20:30.Z", "2024-03-01T10:20:30.1234567890Z",
        "2024-03-01T10:20:30,5Z", "2024-03-01T10:20:30+2", "2024-03-01T10:20:30+02:0",
        "2024-03-01T10:20:30+24:00", "2024-03-01T10:20:30+02:60", "2024-03-01T10:20:30 0000",
        "2024-03-01T10:20:30ZZ", "2024-03-01T10:20:30Z\n", " 2024-03-01", "2024-03-01Z",
        "٢٠٢٤-03-01", "0001-01-01T00:00:00+02:00", "9999-12-31T23:59:59-02:00",
    ],
)  # fmt: skip
def test_datetime_that_is_none_is_refused(text: str) -> None:
    assert find_datetime(text) is None
    assert not FORMATS["date-time"](text)
    assert not FORMATS["date"](text)


@pytest.mark.parametrize(
    "text",
    ["a@b", "ann.lee@x.it", "josé@exämple.it", "a+b@c.d", '"q"@x.it', "x" * 100 + "@x.it"],
)
def test_email_is_accepted(text: str) -> None:
    assert is_email(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "a", "a@", "@b", "a@@b.com", "a@b@c", "a b@c.com", "a@b c", "a@b.it ", "a@b\n",
        "a\t@b", "a\x7f@b", "a\x85@b", "a\u00a0@b", "a\u2003@b", "x" * 251 + "@x.it",
    ],
)  # fmt: skip
def test_email_is_refused(text: str) -> None:
    assert not is_email(text)


@pytest.mark.parametrize(
    "text", ["https://x.it/a?b=c#d", "/a/b", "a", "//x.it", "mailto:a@b", "urn:x:y", "?q", "#f"]
)
def test_uri_is_any_reference(text: str) -> None:
    assert is_uri(text)


@pytest.mark.parametrize("text", ["", " ", "a b", "a\n", "\tx", "a\x00b", "http://x\u2003y"])
def test_uri_is_neither_empty_nor_has_white_space(text: str) -> None:
    assert not is_uri(text)


@pytest.mark.parametrize("text", ["10.1.2.3", "0.0.0.0", "255.255.255.255"])
def test_ipv4_is_accepted(text: str) -> None:
    assert is_ipv4(text)
    assert is_ip(text)


@pytest.mark.parametrize("text", ["::1", "2001:db8::ff00:42:8329", "::ffff:10.1.2.3"])
def test_ipv6_is_accepted_where_either_is_meant(text: str) -> None:
    assert is_ip(text)
    assert FORMATS["ipv6"](text)
    assert not is_ipv4(text)


@pytest.mark.parametrize(
    "text", ["", "10.1.2", "10.1.2.256", "10.1.2.3/8", "01.2.3.4", " 10.1.2.3", "::1%eth0", "é"]
)
def test_address_that_is_none_is_refused(text: str) -> None:
    assert not is_ip(text)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("Europe/Rome", True),
        ("UTC", True),
        ("Europe/Atlantis", False),
        ("", False),
        ("CEST", False),
    ],
)
def test_timezone_is_a_name_of_the_database(text: str, known: bool) -> None:
    assert FORMATS["timezone"](text) is known


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("x.it", True),
        ("a-b.c", True),
        ("", False),
        ("-a.it", False),
        ("a..b", False),
        ("a_b", False),
    ],
)
def test_hostname_is_labels_and_dots(text: str, good: bool) -> None:
    assert FORMATS["hostname"](text) is good


_USUAL = ("2024-02-29T23:59:58Z", "2024-02-29T23:59:58.123Z", "2024-02-29T23:59:58.123+0000")


@given(st.sampled_from(_USUAL), st.integers(0, 22), st.sampled_from("0123456789-:T.Z+W ٣"))
@example(_USUAL[0], 11, "2")
@example(_USUAL[1], 19, ",")
@example(_USUAL[2], 17, "6")
def test_usual_spelling_is_read_as_the_long_way_reads_it(text: str, place: int, put: str) -> None:
    end = "+0000" if text.endswith("+0000") else "Z"
    text = text[: -len(end)]
    if place < len(text):
        text = text[:place] + put + text[place + 1 :]
    assert find_datetime(text + end) == find_datetime(text + "+00:00")
