"""A clock that ignores jumps of the wall clock until `follow` is called, and a clock that can be paused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.delivery.clocks import JumpFreeClock, TryingClock
from tests.support.clocks import FakeClock

jumps = st.floats(-1e8, -3.0) | st.floats(3.0, 1e8)


@given(st.lists(st.tuples(st.floats(0.0, 1000.0), jumps), max_size=10))
def test_jump_free_clock_ignores_jumps_of_the_wall_clock(turns: list[tuple[float, float]]) -> None:
    clock = FakeClock()
    steady = JumpFreeClock(clock)
    began_ms, seconds, set_by = steady.now_ms(), 0.0, 0.0
    for passing, jump in turns:
        clock.advance(passing)
        seconds += passing
        # Only the total difference counts: a wall clock that is set back to the right time is followed again.
        if abs(set_by + jump) >= 3.0:
            clock.set_wall_clock(jump)
            set_by += jump
        assert steady.now_ms() == pytest.approx(began_ms + seconds * 1000, abs=20)
        assert steady.monotonic() == clock.monotonic()
    assert steady.jump_ms() == pytest.approx(set_by * 1000, abs=20)


@given(jumps)
def test_jump_free_clock_shows_the_wall_clock_after_follow(jump: float) -> None:
    clock = FakeClock()
    steady = JumpFreeClock(clock)
    clock.set_wall_clock(jump)
    steady.follow(steady.jump_ms())
    assert steady.now_ms() == clock.now_ms()
    assert steady.jump_ms() == 0


@given(st.lists(st.floats(-1.9, 1.9), max_size=30))
def test_jump_free_clock_follows_small_corrections_at_once(corrections: list[float]) -> None:
    clock = FakeClock()
    steady = JumpFreeClock(clock)
    for correction in corrections:
        clock.set_wall_clock(correction)
        assert steady.now_ms() == clock.now_ms()


@given(st.lists(st.floats(0.0, 100.0), min_size=2, max_size=30))
def test_jump_free_clock_never_goes_back_while_the_wall_clock_is_not_set(waits: list[float]) -> None:
    clock = FakeClock()
    steady = JumpFreeClock(clock)
    shown = []
    for wait in waits:
        clock.advance(wait)
        shown.append(steady.now_ms())
    assert all(later >= earlier for earlier, later in pairwise(shown))


def test_trying_clock_does_not_count_paused_time() -> None:
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
