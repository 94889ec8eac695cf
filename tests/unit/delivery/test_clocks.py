"""A clock that goes on as before when the wall clock is set, until it is told to follow."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.delivery.clocks import JumpFreeClock, TryingClock
from tests.support.clocks import FakeClock

jumps = st.floats(-1e8, -3.0) | st.floats(3.0, 1e8)


@given(st.lists(st.tuples(st.floats(0.0, 1000.0), jumps), max_size=10))
def test_it_is_not_shaken_by_a_wall_clock_that_is_set(turns: list[tuple[float, float]]) -> None:
    clock = FakeClock()
    steady = JumpFreeClock(clock)
    began_ms, seconds, set_by = steady.now_ms(), 0.0, 0.0
    for passing, jump in turns:
        clock.advance(passing)
        seconds += passing
        # Only what is astray by now counts: set back to where it was, the clock is followed again.
        if abs(set_by + jump) >= 3.0:
            clock.set_wall_clock(jump)
            set_by += jump
        assert steady.now_ms() == pytest.approx(began_ms + seconds * 1000, abs=20)
        assert steady.monotonic() == clock.monotonic()
    assert steady.jump_ms() == pytest.approx(set_by * 1000, abs=20)


@given(jumps)
def test_told_to_follow_it_shows_the_wall_clock_again(jump: float) -> None:
    clock = FakeClock()
    steady = JumpFreeClock(clock)
    clock.set_wall_clock(jump)
    steady.follow(steady.jump_ms())
    assert steady.now_ms() == clock.now_ms()
    assert steady.jump_ms() == 0


@given(st.lists(st.floats(-1.9, 1.9), max_size=30))
def test_small_corrections_are_followed_at_once(corrections: list[float]) -> None:
    clock = FakeClock()
    steady = JumpFreeClock(clock)
    for correction in corrections:
        clock.set_wall_clock(correction)
        assert steady.now_ms() == clock.now_ms()


@given(st.lists(st.floats(0.0, 100.0), min_size=2, max_size=30))
def test_left_alone_it_only_grows(waits: list[float]) -> None:
    clock = FakeClock()
    steady = JumpFreeClock(clock)
    shown = []
    for wait in waits:
        clock.advance(wait)
        shown.append(steady.now_ms())
    assert all(later >= earlier for earlier, later in pairwise(shown))


def test_a_time_in_which_nothing_may_be_tried_is_no_time_of_trying() -> None:
    clock = FakeClock()
    trying = TryingClock(clock)
    trying.restore(0, is_running=True)
    clock.advance(10)
    trying.set_paused(is_paused=True)
    clock.advance(3600)
    trying.set_paused(is_paused=True)
    clock.advance(3600)
    trying.set_paused(is_paused=False)
    trying.set_paused(is_paused=False)
    clock.advance(5)
    assert (trying.total_ms(), trying.seconds_running()) == (15_000, 15.0)
