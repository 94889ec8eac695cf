"""Bodies and headers as peers really send them."""

from contextlib import nullcontext
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from notifier.http.exchange import Answer
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.responses import parse_json, read_object, served_at_ms

DATE = "Sat, 21 Nov 2026 17:00:00 GMT"


def answer(body: bytes, status: int = 200, **headers: str) -> Answer:
    named = CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()})
    return Answer(status, CIMultiDictProxy(named), body)


def failure_of(given_answer: Answer) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read_object(given_answer, "", parse_json)
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html><body>502 Bad Gateway</body></html>",
        b'{"ok": true, "completedtrainings": [{"id": 12',
        b'{"ok": true} and more',
        b"{'ok': true}",
        b'{"ok": true, "completedtrainings": [{"id": NaN}]}',
        b'{"ok": true, "completedtrainings": [{"id": 1e400}]}',
        b"\xff\xfe\x00",
        b'{"ok": true, "notes": "latin \xfc"}',
        b"\x1f\x8b\x08\x00 compressed twice",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
    ],
)
def test_what_is_no_json_is_called_so(body: bytes) -> None:
    assert failure_of(answer(body)).reason is ApiErrorReason.NOT_JSON


def test_what_came_in_place_of_json_is_described_and_not_shown() -> None:
    page = answer(b"<html>Dear Susan</html>", Content_Type="text/html; charset=utf-8")
    assert failure_of(page).message.endswith("(23 bytes of text/html; charset=utf-8)")
    assert failure_of(answer(b"")).message.endswith("(an empty body)")


@pytest.mark.parametrize(
    "body",
    [b"null", b"true", b"5", b'"ok"', b"[]", b'["ok", true]', b"{}", b'{"completedtrainings": []}']
    + [b'{"ok": %s}' % value for value in (b"null", b"1", b"0", b"1.0", b'"true"', b'"false"', b"[]", b"{}")],
)
def test_json_that_does_not_say_ok_is_of_an_unexpected_shape(body: bytes) -> None:
    assert failure_of(answer(body)).reason is ApiErrorReason.UNEXPECTED_SHAPE


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 400, 401, 403, 404, 407, 429, 500, 502, 503])
def test_a_status_other_than_200_is_not_the_apis_whatever_the_body(status: int) -> None:
    failure = failure_of(answer(b'{"ok": true}', status))
    assert failure.reason is ApiErrorReason.HTTP_STATUS
    assert f"HTTP {status}" in failure.message


def test_a_redirect_names_the_host_and_nothing_more_of_where_it_leads() -> None:
    failure = failure_of(answer(b"", 308, Location="https://user:pass@elsewhere.example/v1/secret?token=x"))
    assert "a redirect to https://elsewhere.example/..., which is never followed" in failure.message


def test_half_a_surrogate_pair_costs_one_character_and_no_record() -> None:
    body = rb'{"ok": true, "notes": ["\ud83d cut", "\ude00", "\ud83d\ude00", "\u00fc"]}'
    assert parse_json(body)["notes"] == ["\ufffd cut", "\ufffd", "\U0001f600", "ü"]
    orjson.dumps(parse_json(body))


def test_a_byte_order_mark_does_not_matter() -> None:
    assert parse_json(b'\xef\xbb\xbf{"ok": true}') == {"ok": True}


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_arbitrary_bytes_never_crash(body: bytes) -> None:
    assert failure_of(answer(body)).reason in {ApiErrorReason.NOT_JSON, ApiErrorReason.UNEXPECTED_SHAPE}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["ok", "error", "description"]) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=6,
)


@given(json_values)
def test_arbitrary_json_is_a_failure_unless_it_says_ok(value: Any) -> None:
    says_ok = isinstance(value, dict) and value.get("ok") is True
    with nullcontext() if says_ok else pytest.raises(ApiError):
        assert read_object(answer(orjson.dumps(value)), "", parse_json) == value


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (DATE, 1_795_280_400_000),
        ("Saturday, 21-Nov-26 17:00:00 GMT", 1_795_280_400_000),
        ("Sat Nov 21 17:00:00 2026", 1_795_280_400_000),
        ("Sat, 21 Nov 2026 17:00:00 -0000", 1_795_280_400_000),
        ("", None),
        ("today", None),
        ("Sat, 99 Nov 2026 17:00:00 GMT", None),
        ("Sat, 21 Nov 99999 17:00:00 GMT", None),
        ("Sat, 21 Nov 2026 17:00:00 +99999999999999", None),
        ("1795280400", None),
    ],
)
def test_the_servers_clock_is_read_from_its_date(date: str, expected: int | None) -> None:
    assert served_at_ms({"Date": date}) == expected


def test_without_a_date_there_is_no_servers_clock() -> None:
    assert served_at_ms({}) is None


@pytest.mark.parametrize(("asked", "believed"), [("120", 120.0), ("9" * 400, 3600.0), ("soon", None)])
def test_a_wish_to_be_left_alone_is_believed_for_an_hour(asked: str, believed: float | None) -> None:
    assert failure_of(answer(b"", status=503, Retry_After=asked)).retry_after == believed


@given(date=st.text() | st.from_regex(r"\w{0,3},? ?\d{0,5} \w{3} -?\d{0,6} \d\d?:\d\d?:\d{1,3} [-+]?\w{0,6}"))
def test_arbitrary_headers_never_crash(date: str) -> None:
    number = served_at_ms({"Date": date})
    assert number is None or number == number  # noqa: PLR0124  not NaN
