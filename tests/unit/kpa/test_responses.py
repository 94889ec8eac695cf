"""How answers are read: bodies and headers as servers really send them."""

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
def test_read_object_with_invalid_json_raises_not_json(body: bytes) -> None:
    assert failure_of(answer(body)).reason is ApiErrorReason.NOT_JSON


def test_not_json_error_describes_the_body_without_quoting_it() -> None:
    page = answer(b"<html>Dear Susan</html>", Content_Type="text/html; charset=utf-8")
    assert failure_of(page).message.endswith("(23 bytes of text/html; charset=utf-8)")
    assert failure_of(answer(b"")).message.endswith("(an empty body)")


@pytest.mark.parametrize(
    "body",
    [b"null", b"true", b"5", b'"ok"', b"[]", b'["ok", true]', b"{}", b'{"completedtrainings": []}']
    + [b'{"ok": %s}' % value for value in (b"null", b"1", b"0", b"1.0", b'"true"', b'"false"', b"[]", b"{}")],
)
def test_read_object_without_boolean_ok_raises_unexpected_shape(body: bytes) -> None:
    assert failure_of(answer(body)).reason is ApiErrorReason.UNEXPECTED_SHAPE


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 400, 401, 403, 404, 407, 429, 500, 502, 503])
def test_read_object_with_a_status_other_than_200_raises_http_status(status: int) -> None:
    failure = failure_of(answer(b'{"ok": true}', status))
    assert failure.reason is ApiErrorReason.HTTP_STATUS
    assert f"HTTP {status}" in failure.message


def test_redirect_error_names_only_the_host() -> None:
    failure = failure_of(answer(b"", 308, Location="https://user:pass@elsewhere.example/v1/secret?token=x"))
    assert "a redirect to https://elsewhere.example/..., which is never followed" in failure.message


def test_parse_json_replaces_lone_surrogates() -> None:
    body = rb'{"ok": true, "notes": ["\ud83d cut", "\ude00", "\ud83d\ude00", "\u00fc"]}'
    assert parse_json(body)["notes"] == ["\ufffd cut", "\ufffd", "\U0001f600", "ü"]
    orjson.dumps(parse_json(body))


def test_parse_json_ignores_a_byte_order_mark() -> None:
    assert parse_json(b'\xef\xbb\xbf{"ok": true}') == {"ok": True}


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_read_object_with_arbitrary_bytes_raises_not_json_or_unexpected_shape(body: bytes) -> None:
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
def test_read_object_with_arbitrary_json_fails_unless_ok_is_true(value: Any) -> None:
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
def test_served_at_ms_reads_the_date_header(date: str, expected: int | None) -> None:
    assert served_at_ms({"Date": date}) == expected


def test_served_at_ms_without_a_date_header_returns_none() -> None:
    assert served_at_ms({}) is None


@pytest.mark.parametrize(("asked", "believed"), [("120", 120.0), ("9" * 400, 3600.0), ("soon", None)])
def test_retry_after_is_limited_to_an_hour(asked: str, believed: float | None) -> None:
    assert failure_of(answer(b"", status=503, Retry_After=asked)).retry_after == believed


@given(date=st.text() | st.from_regex(r"\w{0,3},? ?\d{0,5} \w{3} -?\d{0,6} \d\d?:\d\d?:\d{1,3} [-+]?\w{0,6}"))
def test_served_at_ms_with_an_arbitrary_date_returns_a_number_or_none(date: str) -> None:
    number = served_at_ms({"Date": date})
    assert number is None or number == number  # noqa: PLR0124  not NaN
