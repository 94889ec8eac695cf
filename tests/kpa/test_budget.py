"""The request budget, in a loop whose time passes only when everybody waits: no second of these tests is real."""

import asyncio
import math
import selectors
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.kpa.budget import Bucket, RequestBudget, Urgency

T = TypeVar("T")
A_BIT = 1e-6


class LeapingSelector(selectors.DefaultSelector):
    """Instead of waiting for time to pass, lets it have passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is going to happen any more"
        self.now += max(0.0, timeout)
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
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
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(main)


@dataclass(slots=True)
class Users:
    """Tasks that take from one budget, and when each got its turn."""

    budget: RequestBudget
    turns: list[tuple[float, str]] = field(default_factory=list)

    async def take(self, urgency: Urgency, name: str = "") -> None:
        await self.budget.take(urgency)
        self.turns.append((asyncio.get_running_loop().time(), name))

    @property
    def order(self) -> list[str]:
        return [name for _, name in self.turns]

    @property
    def times(self) -> list[float]:
        return [moment for moment, _ in self.turns]


def users(per_minute: float) -> Users:
    return Users(RequestBudget(per_minute, LoopClock()))


def assert_never_more_than(per_minute: float, times: list[float]) -> None:
    most = math.ceil(per_minute)
    for first, one_too_many in zip(times, times[most:], strict=False):
        assert one_too_many - first >= 60 - A_BIT


rates = st.integers(1, 600) | st.floats(0.2, 600)
reserves = st.sampled_from([0.0, 1.0])


@given(rates, st.lists(st.tuples(st.floats(0, 600), st.integers(1, 100), reserves), max_size=10))
def test_no_60_seconds_see_more_than_the_rate_whoever_comes_when(
    per_minute: float, crowds: list[tuple[float, int, float]]
) -> None:
    bucket, now, times = Bucket.for_rate(per_minute), 0.0, []
    for gap, size, reserve in crowds:
        now += gap
        for _ in range(size):
            now = max(now, bucket.opens_at(reserve))
            bucket = bucket.taken(now)
            times.append(now)
    assert_never_more_than(per_minute, times)


@given(rates, reserves)
def test_who_always_wants_more_gets_nineteen_twentieths_of_the_rate_evenly(per_minute: float, reserve: float) -> None:
    bucket, now, waits = Bucket.for_rate(per_minute), 0.0, []
    for _ in range(math.ceil(per_minute / 20) + 100):
        opens = max(now, bucket.opens_at(reserve))
        waits.append(opens - now)
        now = opens
        bucket = bucket.taken(now)
    assert max(waits) <= 60 / (0.95 * per_minute) + A_BIT
    assert waits[-1] == pytest.approx(60 / (0.95 * per_minute))


@given(rates, st.floats(0, 1e6))
def test_a_token_given_back_leaves_no_trace(per_minute: float, now: float) -> None:
    bucket = Bucket.for_rate(per_minute).taken(now)
    assert bucket.taken(now).given_back().full_at == pytest.approx(bucket.full_at)


def test_who_need_not_wait_does_not_even_give_way() -> None:
    async def main() -> None:
        budget = RequestBudget(10_000_000, LoopClock())
        for urgency in [*Urgency] * 5_000:
            turn = budget.take(urgency)
            with pytest.raises(StopIteration):
                turn.send(None)
        assert budget.requests == 20_000

    run(main())


def test_the_urgent_go_first_and_equals_in_order_of_arrival() -> None:
    async def main() -> None:
        crowd = users(per_minute=10)
        await crowd.take(Urgency.HEAD, "first")
        async with asyncio.TaskGroup() as tasks:
            for name in ("names", "sweep", "location", "head", "sweep 2", "head 2", "names 2"):
                tasks.create_task(crowd.take(Urgency[name.split()[0].upper()], name))
        assert crowd.order == ["first", "head", "head 2", "location", "sweep", "sweep 2", "names", "names 2"]

    run(main())


def test_a_head_poll_does_not_wait_behind_a_sweep() -> None:
    async def sweep(crowd: Users) -> None:
        while True:
            await crowd.take(Urgency.SWEEP, "sweep")

    async def main() -> None:
        crowd = users(per_minute=30)
        async with asyncio.timeout(3600.5), asyncio.TaskGroup() as tasks:
            tasks.create_task(sweep(crowd))
            for minute in range(1, 61):
                await asyncio.sleep(60 * minute - asyncio.get_running_loop().time())
                due = asyncio.get_running_loop().time()
                await crowd.take(Urgency.HEAD, "head")
                assert asyncio.get_running_loop().time() == due

    with pytest.raises(TimeoutError):
        run(main())


@given(
    rates,
    st.lists(st.tuples(st.floats(0, 100), st.sampled_from(Urgency), st.none() | st.floats(0, 50)), max_size=60),
)
def test_no_60_seconds_see_more_than_the_rate_even_when_many_give_up(
    per_minute: float, plans: list[tuple[float, Urgency, float | None]]
) -> None:
    async def user(crowd: Users, start: float, urgency: Urgency, patience: float | None) -> bool:
        await asyncio.sleep(start)
        try:
            async with asyncio.timeout(patience):
                await crowd.take(urgency)
        except TimeoutError:
            return False
        return True

    async def main() -> None:
        crowd = users(per_minute)
        served = await asyncio.gather(*(user(crowd, *plan) for plan in plans))
        assert_never_more_than(per_minute, crowd.times)
        assert crowd.budget.requests == sum(served) == len(crowd.turns)

    run(main())


def test_a_silence_stops_everybody_and_then_lets_them_pass() -> None:
    async def main() -> None:
        crowd = users(per_minute=60)
        crowd.budget.silence(60)
        assert crowd.budget.silent_for() == 60
        await asyncio.gather(crowd.take(Urgency.SWEEP), crowd.take(Urgency.HEAD))
        assert crowd.times == [60, 60]
        assert crowd.budget.silent_for() == 0

    run(main())


def test_a_silence_also_stops_those_who_wait_already() -> None:
    async def main() -> None:
        crowd = users(per_minute=1)
        await crowd.take(Urgency.HEAD)
        waiting = asyncio.create_task(crowd.take(Urgency.HEAD))
        await asyncio.sleep(1)
        crowd.budget.silence(600)
        await waiting
        assert crowd.times == [0, pytest.approx(601)]

    run(main())


def test_a_shorter_silence_does_not_cut_a_longer_one_short() -> None:
    async def main() -> None:
        budget = RequestBudget(60, LoopClock())
        budget.silence(60)
        budget.silence(5)
        assert budget.silent_for() == 60

    run(main())


def test_who_is_cancelled_while_waiting_leaves_the_turn_to_the_next() -> None:
    async def main() -> None:
        crowd = users(per_minute=1)
        await crowd.take(Urgency.HEAD, "first")
        impatient = asyncio.create_task(crowd.take(Urgency.HEAD, "impatient"))
        patient = asyncio.create_task(crowd.take(Urgency.SWEEP, "patient"))
        await asyncio.sleep(30)
        impatient.cancel()
        await patient
        assert crowd.order == ["first", "patient"]
        assert crowd.times[-1] == pytest.approx(60 / 0.95)
        assert crowd.budget.requests == 2

    run(main())


def test_who_is_cancelled_just_as_the_turn_has_come_gives_it_back() -> None:
    async def main() -> None:
        crowd = users(per_minute=20)
        crowd.budget.silence(60)

        async def lucky() -> None:
            await crowd.take(Urgency.HEAD, "lucky")
            unlucky.cancel()

        both = [asyncio.create_task(lucky()), asyncio.create_task(crowd.take(Urgency.HEAD, "unlucky"))]
        unlucky = both[1]
        await asyncio.wait(both)
        assert unlucky.cancelled()
        assert crowd.budget.requests == 1
        await crowd.take(Urgency.HEAD, "next")
        assert crowd.turns == [(60, "lucky"), (60, "next")]

    run(main())


def test_nothing_is_left_behind_when_the_last_one_is_cancelled() -> None:
    async def main() -> None:
        crowd = users(per_minute=1)
        await crowd.take(Urgency.HEAD)
        waiting = asyncio.create_task(crowd.take(Urgency.HEAD))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(3600)
        assert crowd.budget.requests == 1
        await crowd.take(Urgency.HEAD)
        assert crowd.times == [0, 3600]

    run(main())
