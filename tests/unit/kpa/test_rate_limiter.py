"""The rate limiter, in an event loop whose time passes only when all tasks wait: no test waits in real time."""

import asyncio
import contextlib
import math
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.kpa.errors import ApiError
from notifier.kpa.rate_limiter import HEADS_IN_A_ROW, Allowance, Bucket, Priority, RateLimiter, SlidingWindow, Usage

if TYPE_CHECKING:
    from tests.support.clocks import FakeClock
    from tests.unit.kpa.conftest import MakeClient, Upstream

T = TypeVar("T")
A_BIT = 1e-6


class LeapingSelector(selectors.DefaultSelector):
    """A selector that advances its clock instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is going to happen any more"
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.leaping = LeapingSelector()
        super().__init__(self.leaping)

    def time(self) -> float:
        return self.leaping.now


class LoopClock:
    def now_ms(self) -> int:
        return round(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def run(main: Coroutine[None, None, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


@dataclass(slots=True)
class Users:
    """The tasks that share one rate limiter, and the time at which each got its turn."""

    budget: RateLimiter
    turns: list[tuple[float, str]] = field(default_factory=list)

    async def take(self, priority: Priority, name: str = "") -> None:
        await self.budget.wait_for_turn(priority)
        self.turns.append((asyncio.get_running_loop().time(), name))

    @property
    def order(self) -> list[str]:
        return [name for _, name in self.turns]

    @property
    def times(self) -> list[float]:
        return [moment for moment, _ in self.turns]


def users(per_minute: float) -> Users:
    return Users(RateLimiter(per_minute, LoopClock()))


def assert_never_more_than(per_minute: float, times: list[float]) -> None:
    most = math.ceil(per_minute)
    for first, one_too_many in zip(times, times[most:], strict=False):
        assert one_too_many - first >= 60 - A_BIT


rates = st.integers(1, 600) | st.floats(0.2, 600)
reserves = st.sampled_from([0.0, 1.0])


@given(rates, st.lists(st.tuples(st.floats(0, 600), st.integers(1, 100), reserves), max_size=10))
def test_bucket_never_exceeds_the_rate_in_any_60_seconds(
    per_minute: float, crowds: list[tuple[float, int, float]]
) -> None:
    bucket, now, times = Bucket.for_rate(per_minute), 0.0, []
    for gap, size, reserve in crowds:
        now += gap
        for _ in range(size):
            now = max(now, bucket.available_at(reserve))
            bucket = bucket.with_token_taken(now)
            times.append(now)
    assert_never_more_than(per_minute, times)


@given(rates, reserves)
def test_bucket_under_constant_demand_gives_95_percent_of_the_rate_evenly(per_minute: float, reserve: float) -> None:
    bucket, now, waits = Bucket.for_rate(per_minute), 0.0, []
    for _ in range(math.ceil(per_minute / 20) + 100):
        opens = max(now, bucket.available_at(reserve))
        waits.append(opens - now)
        now = opens
        bucket = bucket.with_token_taken(now)
    assert max(waits) <= 60 / (0.95 * per_minute) + A_BIT
    assert waits[-1] == pytest.approx(60 / (0.95 * per_minute))


@given(rates, st.floats(0, 1e6))
def test_bucket_with_token_returned_equals_the_bucket_before_taking_it(per_minute: float, now: float) -> None:
    bucket = Bucket.for_rate(per_minute).with_token_taken(now)
    assert bucket.with_token_taken(now).with_token_returned().full_at == pytest.approx(bucket.full_at)


@given(rates, rates, st.lists(st.floats(0, 600), max_size=30), st.floats(0, 600))
def test_bucket_at_rate_adds_no_tokens_and_drops_only_those_above_the_capacity(
    before: float, after: float, takers: list[float], gap: float
) -> None:
    def tokens(bucket: Bucket, now: float) -> float:
        return bucket.capacity - max(0.0, bucket.full_at - now) / bucket.interval

    bucket, now = Bucket.for_rate(before), 0.0
    for moment in sorted(takers):
        now = max(now, moment, bucket.available_at(0))
        bucket = bucket.with_token_taken(now)
    changed = bucket.at_rate(after, now + gap)
    assert (changed.capacity, changed.interval) == (Bucket.for_rate(after).capacity, Bucket.for_rate(after).interval)
    expected = min(tokens(bucket, now + gap), changed.capacity)
    assert tokens(changed, now + gap) == pytest.approx(expected, abs=A_BIT)


Troubles = list[tuple[float, float]]
troubles = st.lists(st.tuples(st.floats(0, 10_000), st.floats(0.001, 600)), max_size=12)
"""For each refusal by the API: the seconds since the previous one, and the length of the silence that follows."""


def after(configured: float, troubles: Troubles) -> tuple[Allowance, float]:
    """Return the allowance after all of these refusals, and the time of the last one."""
    allowance, now = Allowance.full(configured), 0.0
    for gap, pause in troubles:
        now += gap
        allowance = allowance.halved(now, now + pause)
    return allowance, now


@given(rates, troubles, st.floats(0, 100_000))
def test_allowance_stays_between_its_floor_and_the_configured_rate(
    configured: float, troubles: Troubles, gap: float
) -> None:
    allowance, now = after(configured, troubles)
    assert min(configured, max(configured / 16, 1)) <= allowance.rate_at(now + gap) <= configured


@given(rates, troubles, st.lists(st.floats(0, 100_000), min_size=2))
def test_allowance_without_new_refusals_never_falls(configured: float, troubles: Troubles, gaps: list[float]) -> None:
    allowance, now = after(configured, troubles)
    allowed = [allowance.rate_at(now + gap) for gap in sorted(gaps)]
    assert allowed == sorted(allowed)


@given(rates, troubles, st.floats(0, 10_000), st.floats(0.001, 600))
def test_allowance_halved_after_the_silence_is_half_of_the_current_rate(
    configured: float, troubles: Troubles, gap: float, pause: float
) -> None:
    allowance, now = after(configured, troubles)
    now = max(now, allowance.rises_from) + gap
    limited = allowance.halved(now, now + pause)
    assert limited.rate_at(now) == limited.rate_at(now + pause) == max(limited.floor, allowance.rate_at(now) / 2)


@given(rates, troubles, st.lists(st.floats(0, 1), min_size=1))
def test_allowance_halves_once_in_one_silence(configured: float, troubles: Troubles, moments: list[float]) -> None:
    first, now = after(configured, [*troubles, (10_000, 60)])
    allowance = first
    for moment in moments:
        allowance = allowance.halved(now + moment, now + moment + 60)
    assert allowance.rate_at(now + 120) == first.rate_at(now + 120 - max(moments))


@given(st.integers(16, 10**9), troubles)
def test_allowance_rises_by_a_tenth_every_ten_minutes_until_full(configured: int, troubles: Troubles) -> None:
    allowance, _ = after(configured, troubles)
    allowed = [allowance.rate_at(allowance.rises_from + 60 * minute + 1) for minute in range(101)]
    for earlier, later in zip(allowed, allowed[10:], strict=False):
        assert later == pytest.approx(min(configured, earlier + configured / 10))
    assert all(later <= (earlier + configured / 100) * (1 + A_BIT) for earlier, later in pairwise(allowed))
    assert allowed[-1] == configured


def test_allowance_rises_from_the_end_of_the_silence() -> None:
    allowance = Allowance.full(30).halved(100, 160)
    assert [allowance.rate_at(now) for now in (100, 160, 219, 220, 760, 1060)] == pytest.approx(
        [15, 15, 15, 15.3, 18, 19.5]
    )
    assert [allowance.rate_at(160 + minute * 60) for minute in (49, 50, 5000)] == pytest.approx([29.7, 30, 30])


@given(st.lists(st.floats(0, 50), max_size=60), st.floats(0, 200))
def test_sliding_window_total_counts_the_last_60_seconds(gaps: list[float], rest: float) -> None:
    minute, moments = SlidingWindow(), list(accumulate(gaps, initial=1000.0))
    for moment in moments:
        minute.add(moment, 1)
    now = moments[-1] + rest
    assert minute.total(now) == sum(int(moment) > int(now) - 60 for moment in moments)
    for moment in moments:
        minute.add(moment, -1)
    assert minute.total(now) == 0


def test_wait_for_turn_with_a_free_turn_returns_without_suspending() -> None:
    async def main() -> None:
        budget = RateLimiter(10_000_000, LoopClock())
        for priority in [*Priority] * 5_000:
            turn = budget.wait_for_turn(priority)
            with pytest.raises(StopIteration):
                turn.send(None)
        assert budget.requests == 5_000 * len(Priority)

    run(main())


def test_rate_limiter_serves_by_priority_then_by_arrival() -> None:
    async def main() -> None:
        queue = users(per_minute=10)
        await queue.take(Priority.HEAD, "first")
        async with asyncio.TaskGroup() as tasks:
            for name in ("names", "sweep", "search", "head", "sweep 2", "head 2", "names 2"):
                tasks.create_task(queue.take(Priority[name.split()[0].upper()], name))
        assert queue.order == ["first", "head", "head 2", "search", "sweep", "sweep 2", "names", "names 2"]

    run(main())


def test_head_poll_once_a_minute_never_waits_for_a_sweep() -> None:
    async def sweep(queue: Users) -> None:
        while True:
            await queue.take(Priority.SWEEP, "sweep")

    async def main() -> None:
        queue = users(per_minute=30)
        async with asyncio.timeout(3600.5), asyncio.TaskGroup() as tasks:
            tasks.create_task(sweep(queue))
            for minute in range(1, 61):
                await asyncio.sleep(60 * minute - asyncio.get_running_loop().time())
                due = asyncio.get_running_loop().time()
                await queue.take(Priority.HEAD, "head")
                assert asyncio.get_running_loop().time() == due

    with pytest.raises(TimeoutError):
        run(main())


@given(
    rates,
    st.lists(st.tuples(st.floats(0, 100), st.sampled_from(Priority), st.none() | st.floats(0, 50)), max_size=60),
)
def test_rate_limiter_with_cancelled_requests_never_exceeds_the_rate(
    per_minute: float, plans: list[tuple[float, Priority, float | None]]
) -> None:
    async def user(queue: Users, start: float, priority: Priority, timeout_seconds: float | None) -> bool:
        await asyncio.sleep(start)
        try:
            async with asyncio.timeout(timeout_seconds):
                await queue.take(priority)
        except TimeoutError:
            return False
        return True

    async def main() -> None:
        queue = users(per_minute)
        served = await asyncio.gather(*(user(queue, *plan) for plan in plans))
        assert_never_more_than(per_minute, queue.times)
        assert queue.budget.requests == sum(served) == len(queue.turns)

    run(main())


def test_silence_delays_all_requests_until_it_ends() -> None:
    async def main() -> None:
        queue = users(per_minute=60)
        queue.budget.silence(60)
        assert queue.budget.silent_for() == 60
        await asyncio.gather(queue.take(Priority.SWEEP), queue.take(Priority.HEAD))
        assert queue.times == [60, 60]
        assert queue.budget.silent_for() == 0

    run(main())


def test_silence_also_delays_requests_that_already_wait() -> None:
    async def main() -> None:
        queue = users(per_minute=1)
        await queue.take(Priority.HEAD)
        waiting = asyncio.create_task(queue.take(Priority.HEAD))
        await asyncio.sleep(1)
        queue.budget.silence(600)
        await waiting
        assert queue.times == [0, pytest.approx(601)]

    run(main())


def test_silence_does_not_shorten_a_longer_one() -> None:
    async def main() -> None:
        budget = RateLimiter(60, LoopClock())
        budget.silence(60)
        budget.silence(5)
        assert budget.silent_for() == 60

    run(main())


def test_request_cancelled_while_waiting_leaves_its_turn_to_the_next() -> None:
    async def main() -> None:
        queue = users(per_minute=1)
        await queue.take(Priority.HEAD, "first")
        impatient = asyncio.create_task(queue.take(Priority.HEAD, "impatient"))
        patient = asyncio.create_task(queue.take(Priority.SWEEP, "patient"))
        await asyncio.sleep(30)
        impatient.cancel()
        await patient
        assert queue.order == ["first", "patient"]
        assert queue.times[-1] == pytest.approx(60 / 0.95)
        assert queue.budget.requests == 2

    run(main())


def test_request_cancelled_as_its_turn_comes_returns_the_turn() -> None:
    async def main() -> None:
        queue = users(per_minute=20)
        queue.budget.silence(60)

        async def lucky() -> None:
            await queue.take(Priority.HEAD, "lucky")
            unlucky.cancel()

        both = [asyncio.create_task(lucky()), asyncio.create_task(queue.take(Priority.HEAD, "unlucky"))]
        unlucky = both[1]
        await asyncio.wait(both)
        assert unlucky.cancelled()
        assert queue.budget.requests == 1
        await queue.take(Priority.HEAD, "next")
        assert queue.turns == [(60, "lucky"), (60, "next")]

    run(main())


def test_last_waiting_request_if_cancelled_uses_no_turn() -> None:
    async def main() -> None:
        queue = users(per_minute=1)
        await queue.take(Priority.HEAD)
        waiting = asyncio.create_task(queue.take(Priority.HEAD))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(3600)
        assert queue.budget.requests == 1
        await queue.take(Priority.HEAD)
        assert queue.times == [0, 3600]

    run(main())


def test_rate_limiter_serves_another_priority_after_six_head_polls() -> None:
    async def main() -> None:
        queue = users(per_minute=10)
        await queue.take(Priority.HEAD, "first")
        async with asyncio.TaskGroup() as tasks:
            for name in ("names", "sweep", "search", *["head"] * 14):
                tasks.create_task(queue.take(Priority[name.upper()], name))
        six = ["head"] * HEADS_IN_A_ROW
        assert queue.order == ["first", *six, "search", *six, "sweep", "head", "head", "names"]

    run(main())


def test_head_polls_in_a_row_are_counted_only_while_another_request_waits() -> None:
    async def main() -> None:
        queue = users(per_minute=10)
        for _ in range(20):
            await queue.take(Priority.HEAD, "alone")
        await asyncio.gather(queue.take(Priority.SWEEP, "sweep"), queue.take(Priority.HEAD, "head"))
        assert queue.order[-2:] == ["head", "sweep"]

    run(main())


def test_head_polls_in_a_row_are_reset_when_the_waiting_request_is_cancelled() -> None:
    async def main() -> None:
        queue = users(per_minute=10)
        await queue.take(Priority.HEAD)
        impatient = asyncio.create_task(queue.take(Priority.SWEEP))
        for _ in range(HEADS_IN_A_ROW):
            await queue.take(Priority.HEAD)
        impatient.cancel()
        await queue.take(Priority.HEAD)
        await asyncio.gather(queue.take(Priority.SWEEP, "sweep"), queue.take(Priority.HEAD, "head"))
        assert queue.order[-2:] == ["head", "sweep"]

    run(main())


async def always(queue: Users, priority: Priority) -> None:
    while True:
        await queue.take(priority, priority.name)


def test_constant_head_polls_get_six_of_seven_turns_and_no_turn_is_lost() -> None:
    async def main() -> None:
        queue = users(per_minute=30)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3600), asyncio.TaskGroup() as tasks:
                tasks.create_task(always(queue, Priority.HEAD))
                tasks.create_task(always(queue, Priority.SWEEP))
        assert queue.order.count("SWEEP") == pytest.approx(len(queue.order) / 7, abs=1)
        assert [later - earlier for earlier, later in pairwise(queue.times[2:])] == pytest.approx(
            [60 / 28.5] * (len(queue.times) - 3)
        )

    run(main())


@pytest.mark.parametrize("per_minute", [1, 5, 30, 80, 600])
def test_polls_at_80_percent_of_the_rate_stay_on_time_beside_sweep_and_names(per_minute: int) -> None:
    interval = 2 * 60 / (0.8 * per_minute)

    async def poll(queue: Users, late: list[float]) -> None:
        for number in range(1, 1001):
            due = number * interval
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await queue.take(Priority.HEAD, "page")
            await queue.take(Priority.HEAD, "count check")
            late.append(asyncio.get_running_loop().time() - due)

    async def main() -> None:
        queue, late = users(per_minute), list[float]()
        rest = [asyncio.create_task(always(queue, priority)) for priority in (Priority.SWEEP, Priority.NAMES)]
        await poll(queue, late)
        for task in rest:
            task.cancel()
        assert max(late) < interval
        assert queue.order.count("SWEEP") >= 2000 // (HEADS_IN_A_ROW + 1)

    run(main())


async def test_client_after_rate_limit_exceeded_halves_the_allowed_rate(
    upstream: "Upstream", client_of: "MakeClient", budget: RateLimiter
) -> None:
    upstream.answers({"ok": False, "error": "rate_limit_exceeded"})
    with pytest.raises(ApiError):
        await client_of(upstream.url).echo()
    assert budget.usage().allowed == budget.usage().configured / 2


def test_reduce_rate_during_the_silence_does_not_halve_again_but_prolongs_it(clock: "FakeClock") -> None:
    budget = RateLimiter(30, clock)
    budget.reduce_rate(60)
    clock.advance(20)
    budget.reduce_rate(60)
    assert (budget.silent_for(), budget.usage().allowed) == (60, 15)
    clock.advance(60 + 599)
    assert budget.usage().allowed == pytest.approx(17.7)
    budget.reduce_rate(60)
    assert (budget.silent_for(), budget.usage().allowed) == pytest.approx((60, 8.85))


def test_silence_does_not_reduce_the_allowed_rate(clock: "FakeClock") -> None:
    budget = RateLimiter(30, clock)
    budget.silence(60)
    assert budget.usage().allowed == 30


def test_requests_after_reduce_rate_start_at_half_the_rate_and_recover_slowly() -> None:
    async def main() -> None:
        queue = users(per_minute=60)
        await asyncio.gather(*(queue.take(Priority.SWEEP) for _ in range(10)))
        queue.budget.reduce_rate(60)
        quiet_from = asyncio.get_running_loop().time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(7200):
                await always(queue, Priority.SWEEP)
        times = [moment - quiet_from - 60 for moment in queue.times[10:]]
        assert times[0] == 0
        evenly = times[5:]
        waits = [later - earlier for earlier, later in pairwise(evenly)]
        assert (waits[0], waits[-1]) == pytest.approx((60 / (0.95 * 30), 60 / (0.95 * 60)))
        assert all(later <= earlier + A_BIT for earlier, later in pairwise(waits))
        recovered = next(moment for moment, wait in zip(evenly, waits, strict=False) if wait - waits[-1] < A_BIT)
        assert recovered == pytest.approx(3000, abs=3)

    run(main())


@given(
    rates,
    st.lists(st.tuples(st.floats(0, 1000), st.integers(1, 30), st.sampled_from(Priority)), max_size=20),
    st.lists(st.tuples(st.floats(0, 1000), st.floats(0.001, 100)), max_size=6),
)
def test_rate_limiter_never_exceeds_the_highest_allowed_rate_of_any_60_seconds(
    per_minute: float, plans: list[tuple[float, int, Priority]], refusals: list[tuple[float, float]]
) -> None:
    allowed: list[tuple[float, float]] = []

    def note(budget: RateLimiter) -> None:
        allowed.append((asyncio.get_running_loop().time(), budget.usage().allowed))

    async def user(queue: Users, start: float, priority: Priority) -> None:
        await asyncio.sleep(start)
        await queue.take(priority)
        note(queue.budget)

    async def refuse(queue: Users, moment: float, pause: float) -> None:
        await asyncio.sleep(moment)
        note(queue.budget)
        queue.budget.reduce_rate(pause)

    async def main() -> None:
        queue = users(per_minute)
        async with asyncio.TaskGroup() as tasks:
            for start, size, priority in plans:
                for _ in range(size):
                    tasks.create_task(user(queue, start, priority))
            for moment, pause in refusals:
                tasks.create_task(refuse(queue, moment, pause))
        for first in queue.times:
            window = range_of(first)
            most = max(rate for moment, rate in allowed if window(moment))
            assert sum(map(window, queue.times)) <= math.ceil(most)

    run(main())


def range_of(first: float) -> Callable[[float], bool]:
    """Return a check whether a time is within the 60 seconds from `first` on."""
    return lambda moment: first <= moment < first + 60 - A_BIT


def by(*passed: Priority) -> dict[str, int]:
    return {priority.label: passed.count(priority) for priority in Priority}


def test_usage_counts_requests_of_the_last_minute_and_those_that_wait() -> None:
    def usage(used: int, waiting: int, total: int, *passed: Priority, longest_wait_seconds: float = 0.0) -> Usage:
        return Usage(20, 20, used, waiting, total, by(*passed), longest_wait_seconds)

    async def main() -> None:
        queue = users(per_minute=20)
        assert queue.budget.usage() == usage(0, 0, 0)
        waiting = [asyncio.create_task(queue.take(priority)) for priority in [*Priority] * 2]
        await asyncio.sleep(0)
        heads = [Priority.HEAD] * 2
        assert queue.budget.usage() == usage(2, 10, 2, *heads)
        waiting[-1].cancel()
        await asyncio.sleep(7)
        assert queue.budget.usage() == usage(3, 8, 3, *heads, Priority.COUNT, longest_wait_seconds=7.0)
        await asyncio.wait(waiting)
        last = asyncio.get_running_loop().time()
        everybody = [*Priority] * 2
        assert queue.budget.usage().by == by(*everybody[:-1])
        await asyncio.sleep(60 - last)
        assert queue.budget.usage().used == 9
        await asyncio.sleep(61)
        assert queue.budget.usage() == usage(0, 0, 11)

    run(main())


def test_used_share_is_relative_to_the_currently_allowed_rate() -> None:
    async def main() -> None:
        budget = RateLimiter(20, LoopClock())
        for _ in range(2):
            await budget.wait_for_turn(Priority.HEAD)
        assert budget.used_share() == pytest.approx(2 / 20)
        budget.reduce_rate(0)
        assert budget.used_share() == pytest.approx(2 / 10)
        await asyncio.sleep(61)
        assert budget.used_share() == 0

    run(main())


def test_longest_wait_ignores_waiting_sweep_and_names_requests() -> None:
    async def main() -> None:
        queue = users(per_minute=20)
        queue.budget.silence(60)
        tasks = [asyncio.create_task(queue.take(priority)) for priority in (Priority.SWEEP, Priority.NAMES)]
        await asyncio.sleep(30)
        assert queue.budget.usage().longest_wait_seconds == 0.0
        await asyncio.wait(tasks)

    run(main())


def test_usage_does_not_count_a_returned_turn() -> None:
    async def main() -> None:
        queue = users(per_minute=20)
        queue.budget.silence(60)
        taker = asyncio.create_task(queue.take(Priority.HEAD))
        asyncio.get_running_loop().call_at(60, lambda: asyncio.get_running_loop().call_soon(taker.cancel))
        await asyncio.wait([taker])
        assert taker.cancelled()
        assert queue.budget.usage() == Usage(20, 20, used=0, waiting=0, total=0, by=by())

    run(main())


def test_idle_rate_limiter_leaves_no_timer() -> None:
    async def main() -> None:
        queue = users(per_minute=60)
        await asyncio.gather(*(queue.take(Priority.SWEEP) for _ in range(10)))
        queue.budget.reduce_rate(60)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(AssertionError, match="nothing is going to happen any more"):
        run(main())
