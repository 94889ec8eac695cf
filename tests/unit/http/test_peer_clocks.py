"""What the peers' `Date` headers say of this machine's clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alerts.conditions import CLOCK, ConditionName
from notifier.alerts.daemon_rules import CLOCK_OFF_SECONDS, CLOCK_RIGHT_SECONDS, clock_conditions
from notifier.http.peer_clocks import PeerClocks
from tests.support.clocks import SettableClock

KEY = (ConditionName.CLOCK_OFF.value, CLOCK)


class StoppedClock(SettableClock):
    """A wall clock that shows one moment, so that no millisecond passes between two peers."""

    def now_ms(self) -> int:
        return 1_795_280_400_000 + self.offset_ms


def clocks_with_offsets(*offsets: float) -> PeerClocks:
    clocks = PeerClocks(StoppedClock())
    for number, offset in enumerate(offsets):
        clocks.record(str(number), clocks.clock.now_ms() + round(offset * 1000))
    return clocks


def test_nobody_has_told_the_time() -> None:
    clocks = clocks_with_offsets()
    clocks.record("api", None)
    assert clocks.offset_seconds() is None
    assert list(clock_conditions(clocks, ())) == []


@given(st.floats(-1e6, 1e6))
def test_it_is_told_from_two_minutes_on_and_over_below_one(offset: float) -> None:
    assert (
        bool(list(clock_conditions(clocks_with_offsets(offset), ()))) is (abs(offset) >= CLOCK_OFF_SECONDS)
        or abs(abs(offset) - CLOCK_OFF_SECONDS) < 1
    )
    assert (
        bool(list(clock_conditions(clocks_with_offsets(offset), {KEY}))) is (abs(offset) >= CLOCK_RIGHT_SECONDS)
        or abs(abs(offset) - CLOCK_RIGHT_SECONDS) < 1
    )


def test_one_peer_with_a_wrong_clock_accuses_nobody() -> None:
    assert list(clock_conditions(clocks_with_offsets(0.0, 0.3, 86_400.0), ())) == []


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ((86_400.0 * 3,), "this machine's clock is 3 days behind the clock of the API or a receiver: "),
        ((-7200.0, -7201.0, 0.0), "this machine's clock is 2 hours ahead of the clocks of 3 other servers: "),
        ((150.0,), "this machine's clock is 2 minutes behind the clock of the API or a receiver: "),
    ],
)
def test_it_says_by_how_much(offsets: tuple[float, ...], words: str) -> None:
    (condition,) = clock_conditions(clocks_with_offsets(*offsets), ())
    assert condition.summary.startswith(words)


def test_what_was_said_long_ago_counts_no_more() -> None:
    clocks = clocks_with_offsets(86_400.0)
    clock = clocks.clock
    assert isinstance(clock, SettableClock)
    clock.slept += 3601
    assert clocks.offset_seconds() is None
