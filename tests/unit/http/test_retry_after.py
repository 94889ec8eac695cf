"""How long a peer asks the sender to wait (`Retry-After`)."""

import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.http.retry_after import retry_after

DATE = "Sat, 21 Nov 2026 17:00:00 GMT"
NOW_MS = 1_795_280_400_000  # the same
FORMS = [
    (None, None),
    ("0", 0.0),
    ("30", 30.0),
    (" 30 ", 30.0),
    ("1.5", 1.5),
    ("9" * 5000, float("inf")),
    ("Sat, 21 Nov 2026 17:00:30 GMT", 30.0),
    ("Saturday, 21-Nov-26 17:00:30 GMT", 30.0),
    ("Sat Nov 21 17:00:30 2026", 30.0),
    ("Sat, 21 Nov 2026 18:00:30 +0100", 30.0),
    ("Sat, 21 Nov 2026 16:00:00 GMT", 0.0),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ("Sun, 22 Nov 2026 17:00:00 GMT", 86_400.0),
    ("", None),
    ("-1", None),
    ("1e9", None),
    ("nan", None),
    ("inf", None),
    ("٣٠", None),
    ("30 seconds", None),
    ("Sat, 99 Nov 2026 17:00:30 GMT", None),
    ("Sat, 21 Nov 99999 17:00:30 GMT", None),
]


@pytest.mark.parametrize(("value", "seconds"), FORMS)
def test_retry_after_reads_every_form_of_the_header(value: str | None, seconds: float | None) -> None:
    headers = {} if value is None else {"Retry-After": value}
    assert retry_after({**headers, "Date": DATE}) == seconds
    assert retry_after(headers, NOW_MS) == seconds


def test_retry_after_with_a_date_counts_from_the_clock_of_the_peer() -> None:
    headers = {"Retry-After": "Sat, 21 Nov 2026 17:02:00 GMT", "Date": DATE}
    for ours in (NOW_MS - 3_600_000, NOW_MS, NOW_MS + 3_600_000):
        assert retry_after(headers, ours) == 120.0


def test_retry_after_with_a_date_and_no_clock_returns_none() -> None:
    assert retry_after({"Retry-After": "Sat, 21 Nov 2026 17:02:00 GMT"}) is None


def test_retry_after_reads_a_date_without_a_zone_as_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert retry_after({"Retry-After": "Sat Nov 21 17:00:30 2026"}, NOW_MS) == 30.0
    time.tzset()


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants bounds without a zone
def test_retry_after_with_a_date_is_never_negative(moment: datetime) -> None:
    seconds = retry_after({"Retry-After": format_datetime(moment, usegmt=True)}, NOW_MS)
    assert seconds is not None
    assert seconds >= 0


@given(st.text() | st.from_regex(r"[-+]?[0-9 :,A-Za-z]{0,40}"), st.text() | st.just(DATE))
def test_retry_after_accepts_any_header(value: str, date: str) -> None:
    seconds = retry_after({"Retry-After": value, "Date": date}, NOW_MS)
    assert seconds is None or seconds >= 0
