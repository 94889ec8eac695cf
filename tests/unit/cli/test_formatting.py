"""Text for people: safe to print on a terminal, and short."""

import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier import redact
from notifier.cli.errors import CommandError
from notifier.cli.formatting import (
    Column,
    format_count,
    local_time,
    parse_time_ms,
    relative_time,
    terminal_safe,
    terminal_safe_json,
)
from notifier.cli.output import TableWriter
from notifier.redact import remember_secrets

NOW = 1_795_280_400_123


@settings(deadline=None)
@given(st.text())
def test_terminal_safe_returns_only_printable_characters(text: str) -> None:
    assert terminal_safe(text).isprintable()


@settings(deadline=None)
@given(st.text(alphabet=st.characters(categories=["L", "N", "P"])))
def test_terminal_safe_keeps_letters_numbers_and_punctuation(text: str) -> None:
    assert terminal_safe(text) == text


def test_terminal_safe_makes_an_escape_sequence_visible() -> None:
    assert terminal_safe("\x1b[31mDavid\r\nBall\u202e\x9b") == "?[31mDavid Ball??"


@settings(deadline=None)
@given(st.text())
def test_terminal_safe_json_keeps_the_value_without_unsafe_characters(text: str) -> None:
    line = terminal_safe_json(json.dumps({"name": text}, ensure_ascii=False))
    assert json.loads(line) == {"name": text}
    assert not any(character in line for character in "\x7f\x9b\u202e\u2028")


def test_table_writer_cuts_a_long_cell(capsys: pytest.CaptureFixture[str]) -> None:
    TableWriter(Column("name"), Column("more")).show([("x" * 5000, "y")])
    assert capsys.readouterr().out.splitlines()[1] == f"{'x' * 999}…  y"


def test_command_error_hides_secrets_and_unsafe_characters() -> None:
    remember_secrets(["the-secret-token"])
    assert CommandError("refused the-secret-token\x9b\u202e").message == "refused [secret]??"
    redact._remembered.clear()


def test_relative_time_shows_only_the_largest_unit() -> None:
    distances = [relative_time(NOW + 1000 * seconds, NOW) for seconds in (-90_000, -7_300, -61, -1, 0, 59, 3_600)]
    assert distances == ["1d ago", "2h ago", "1m ago", "1s ago", "now", "in 59s", "in 1h"]
    assert relative_time(NOW - 400, NOW) == "now"
    assert relative_time(None, NOW) == "-"


def test_parse_time_ms_and_local_time_accept_a_time_or_none() -> None:
    assert parse_time_ms("2026-11-21T17:00:00.123Z") == NOW
    assert parse_time_ms(None) is None
    assert local_time(None) == "-"
    assert len(local_time(NOW)) == len("2026-11-21 17:00:00")


def test_format_count_uses_the_singular_or_the_plural() -> None:
    counts = (
        format_count(0, "event"),
        format_count(1, "event"),
        format_count(3012, "event"),
        format_count(2, "person", "people"),
    )
    assert counts == ("0 events", "1 event", "3,012 events", "2 people")


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize(
    ("ms", "in_utc"),
    [
        (253_402_300_799_000, "9999-12-31 23:59:59"),
        (253_402_300_800_000, "253402300800000 ms"),
        (-62_135_596_800_000, "0001-01-01 00:00:00"),
        (10**18, "1000000000000000000 ms"),
    ],
)
def test_local_time_at_the_ends_of_the_calendar_works_in_every_zone(
    monkeypatch: pytest.MonkeyPatch, zone: str, ms: int, in_utc: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        written = local_time(ms)
    time.tzset()
    if written.endswith(" UTC"):
        assert written.removesuffix(" UTC") == in_utc
    elif written.endswith(" ms"):
        assert written == in_utc
    else:
        away = datetime.fromisoformat(written).replace(tzinfo=UTC).timestamp() - ms / 1000
        assert abs(away) < 86_400
