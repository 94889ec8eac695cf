import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.deliver.answers import LONGEST_DETAIL, retry_after, shown, url_secrets
from notifier.deliver.policy import LONGEST_WAIT

NOW_MS = 1_795_280_400_000  # 2026-11-21T17:00:00Z


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("30", 30.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        ("9" * 5000, LONGEST_WAIT),
        ("Sat, 21 Nov 2026 17:00:30 GMT", 30.0),
        ("Saturday, 21-Nov-26 17:00:30 GMT", 30.0),
        ("Sat Nov 21 17:00:30 2026", 30.0),
        ("Sat, 21 Nov 2026 18:00:30 +0100", 30.0),
        ("Sun, 21 Nov 2066 17:00:30 GMT", LONGEST_WAIT),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("1e9", None),
        ("nan", None),
        ("inf", None),
        ("٣٠", None),
        ("30 seconds", None),
        ("Sat, 99 Nov 2026 17:00:30 GMT", None),
        ("Sat, 21 Nov 99999 17:00:30 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", LONGEST_WAIT),
    ],
)
def test_retry_after_is_read_in_every_form_it_has(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW_MS) == seconds


def test_a_date_without_a_zone_is_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert retry_after("Sat Nov 21 17:00:30 2026", NOW_MS) == 30.0
    time.tzset()


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants bounds without a zone
def test_a_date_never_leads_out_of_bounds(moment: datetime) -> None:
    seconds = retry_after(format_datetime(moment, usegmt=True), NOW_MS)
    assert seconds is not None
    assert 0 <= seconds <= LONGEST_WAIT


@given(st.text() | st.from_regex(r"[-+]?[0-9 :,A-Za-z]{0,40}"))
def test_no_header_is_too_strange(value: str) -> None:
    seconds = retry_after(value, NOW_MS)
    assert seconds is None or 0 <= seconds <= LONGEST_WAIT


@given(st.text(st.characters(), max_size=2000))
def test_what_is_shown_is_one_printable_line(text: str) -> None:
    line = shown(text, ())
    assert len(line) <= LONGEST_DETAIL
    assert line.isprintable()


def test_a_secret_is_gone_before_the_words_are_cut() -> None:
    secret = "0123456789abcdef"
    assert "0123" not in shown("x" * (LONGEST_DETAIL - 8) + secret, (secret,))


def test_a_url_s_secrets_are_found_in_each_of_its_forms() -> None:
    secrets = url_secrets("https://user:pa%2Fss@host.example/hooks/abcdefghijklmnop%20q?key=long%20value&b=")
    assert set(secrets) >= {
        "/hooks/abcdefghijklmnop%20q",
        "/hooks/abcdefghijklmnop q",
        "abcdefghijklmnop%20q",
        "abcdefghijklmnop q",
        "pa%2Fss",
        "pa/ss",
        "key=long%20value&b=",
        "long value",
    }
    assert not {"", "hooks", "host.example"} & set(secrets)


@pytest.mark.parametrize("url", ["https://host.example", "https://host.example/"])
def test_a_bare_host_has_no_secrets(url: str) -> None:
    assert url_secrets(url) == (url,)
