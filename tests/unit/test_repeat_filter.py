"""Repeated log lines: the first ones are written, then one an hour, with the number of lines that were left out."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.log import BURST, REFILL_SECONDS, RepeatFilter
from notifier.log_queue import LOST_LINES

YEAR = 365 * 86_400


def line(at: float, level: int = logging.ERROR, place: int = 1, **facts: Any) -> logging.LogRecord:
    made = logging.LogRecord("notifier.x", level, "x.py", place, "it fails", (), None)
    made.created = at
    vars(made).update(facts)
    return made


@given(st.lists(st.floats(0.0, 2 * REFILL_SECONDS), max_size=200))
def test_repeat_filter_limits_written_lines_and_counts_the_lost_ones(pauses: list[float]) -> None:
    repeats, at, written = RepeatFilter(), 0.0, []
    for pause in pauses:
        at += pause
        record = line(at)
        if repeats.filter(record):
            written.append(record)
    last = line(at + BURST * REFILL_SECONDS)
    assert repeats.filter(last)
    assert len(written) <= BURST + at / REFILL_SECONDS
    told = sum(vars(record).get(LOST_LINES, 0) for record in [*written, last])
    assert told + len(written) == len(pauses)


def test_repeat_filter_writes_one_line_per_refill_during_a_year_of_errors() -> None:
    repeats = RepeatFilter()
    written = sum(repeats.filter(line(at)) for at in range(0, YEAR, 600))
    assert BURST + YEAR / REFILL_SECONDS - 2 <= written <= BURST + YEAR / REFILL_SECONDS


@pytest.mark.parametrize(
    "other",
    [{"place": 2}, {"level": logging.WARNING}, {"source": "b"}, {"destination": "hr"}, {"reason": "timeout"}],
)
def test_repeat_filter_passes_a_line_of_another_kind(other: dict[str, Any]) -> None:
    repeats = RepeatFilter()
    for _ in range(BURST):
        assert repeats.filter(line(0, source="a"))
    assert not repeats.filter(line(0, source="a"))
    assert repeats.filter(line(0, **{"source": "a", **other}))


@pytest.mark.parametrize("facts", [{"event": "evt_x"}, {"record": "1238"}, {"level": logging.DEBUG}])
def test_repeat_filter_never_drops_debug_lines_or_lines_with_an_event_or_record(facts: dict[str, Any]) -> None:
    repeats = RepeatFilter()
    assert all(repeats.filter(line(0, **facts)) for _ in range(1000))


def test_repeat_filter_wall_clock_set_back_does_not_extend_the_silence() -> None:
    repeats = RepeatFilter()
    while repeats.filter(line(10 * YEAR)):
        pass
    assert not repeats.filter(line(0))
    assert repeats.filter(line(REFILL_SECONDS))


def test_repeat_filter_remembers_at_most_1000_kinds() -> None:
    repeats = RepeatFilter()
    for number in range(5000):
        repeats.filter(line(0, source=f"source-{number}"))
    assert len(repeats._kinds) == 1000
