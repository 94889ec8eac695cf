"""Comparison of this machine's clock with the `Date` headers of peers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alerts.conditions import CLOCK, ConditionName
from notifier.alerts.daemon_rules import CLOCK_OFF_SECONDS, CLOCK_RIGHT_SECONDS, clock_conditions
from notifier.http.peer_clocks import PeerClocks
from tests.support.clocks import SettableClock

KEY = (ConditionName.CLOCK_OFF.value, CLOCK)


class StoppedClock(SettableClock):
    """A wall clock that stands still, so that all peers are compared with the same moment."""

    def now_ms(self) -> int:
        return 1_795_280_400_000 + self.offset_ms


def clocks_with_offsets(*offsets: float) -> PeerClocks:
    clocks = PeerClocks(StoppedClock())
    for number, offset in enumerate(offsets):
        clocks.record(str(number), clocks.clock.now_ms() + round(offset * 1000))
    return clocks


def test_peer_clocks_without_a_date_give_no_offset_and_no_condition() -> None:
    clocks = clocks_with_offsets()
    clocks.record("api", None)
    assert clocks.offset_seconds() is None
    assert list(clock_conditions(clocks, ())) == []


@given(st.floats(-1e6, 1e6))
def test_clock_condition_begins_at_two_minutes_and_ends_below_one(offset: float) -> None:
    assert (
        bool(list(clock_conditions(clocks_with_offsets(offset), ()))) is (abs(offset) >= CLOCK_OFF_SECONDS)
        or abs(abs(offset) - CLOCK_OFF_SECONDS) < 1
    )
    assert (
        bool(list(clock_conditions(clocks_with_offsets(offset), {KEY}))) is (abs(offset) >= CLOCK_RIGHT_SECONDS)
        or abs(abs(offset) - CLOCK_RIGHT_SECONDS) < 1
    )


def test_clock_condition_is_not_raised_for_one_peer_with_a_wrong_clock() -> None:
    assert list(clock_conditions(clocks_with_offsets(0.0, 0.3, 86_400.0), ())) == []


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ((86_400.0 * 3,), "this machine's clock is 3 days behind the clock of the API or a receiver: "),
        ((-7200.0, -7201.0, 0.0), "this machine's clock is 2 hours ahead of the clocks of 3 other servers: "),
        ((150.0,), "this machine's clock is 2 minutes behind the clock of the API or a receiver: "),
    ],
)
def test_clock_condition_names_the_offset_and_its_direction(offsets: tuple[float, ...], words: str) -> None:
    (condition,) = clock_conditions(clocks_with_offsets(*offsets), ())
    assert condition.summary.startswith(words)


def test_peer_clocks_ignore_dates_older_than_an_hour() -> None:
    clocks = clocks_with_offsets(86_400.0)
    clock = clocks.clock
    assert isinstance(clock, SettableClock)
    clock.slept += 3601
    assert clocks.offset_seconds() is None
