"""A line that says the same again and again: some come, and then one an hour, which tells how many were left out."""

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
def test_whatever_comes_no_more_is_written_than_is_allowed_and_all_is_counted(pauses: list[float]) -> None:
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


def test_the_same_error_again_and_again_for_a_year_is_some_thousand_lines() -> None:
    repeats = RepeatFilter()
    written = sum(repeats.filter(line(at)) for at in range(0, YEAR, 600))
    assert BURST + YEAR / REFILL_SECONDS - 2 <= written <= BURST + YEAR / REFILL_SECONDS


@pytest.mark.parametrize(
    "other",
    [{"place": 2}, {"level": logging.WARNING}, {"source": "b"}, {"destination": "hr"}, {"reason": "timeout"}],
)
def test_another_kind_of_line_comes_all_the_same(other: dict[str, Any]) -> None:
    repeats = RepeatFilter()
    for _ in range(BURST):
        assert repeats.filter(line(0, source="a"))
    assert not repeats.filter(line(0, source="a"))
    assert repeats.filter(line(0, **{"source": "a", **other}))


@pytest.mark.parametrize("facts", [{"event": "evt_x"}, {"record": "1238"}, {"level": logging.DEBUG}])
def test_what_is_told_of_one_event_or_for_debugging_is_never_left_out(facts: dict[str, Any]) -> None:
    repeats = RepeatFilter()
    assert all(repeats.filter(line(0, **facts)) for _ in range(1000))


def test_a_wall_clock_that_is_set_back_does_not_silence_it_for_longer() -> None:
    repeats = RepeatFilter()
    while repeats.filter(line(10 * YEAR)):
        pass
    assert not repeats.filter(line(0))
    assert repeats.filter(line(REFILL_SECONDS))


def test_it_does_not_remember_without_end() -> None:
    repeats = RepeatFilter()
    for number in range(5000):
        repeats.filter(line(0, source=f"source-{number}"))
    assert len(repeats._kinds) == 1000
