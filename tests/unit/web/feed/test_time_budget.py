"""A task's work stays within its share of the time."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.web.feed.time_budget import TimeBudget


def measure_rests(monkeypatch: pytest.MonkeyPatch, share: float, pieces: list[float]) -> list[float]:
    """Do pieces of work of the given seconds, with a rest after each; return the seconds of each rest."""
    rest_seconds: list[float] = []

    async def sleep(seconds: float) -> None:
        rest_seconds.append(seconds)

    async def work() -> None:
        budget = TimeBudget(share)
        for seconds in pieces:
            budget.add(seconds)
            await budget.rest()

    monkeypatch.setattr("notifier.web.feed.time_budget.asyncio.sleep", sleep)
    asyncio.run(work())
    return rest_seconds


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([0.001], []),
        ([0.001, 0.001], [0.038]),
        ([0.01], [0.19]),
        ([0.01, 0.0001], [0.19]),
        ([0.01, 0.02], [0.19, 0.38]),
        ([10.0], [1.0]),
    ],
)
def test_rest_depends_on_the_work(monkeypatch: pytest.MonkeyPatch, pieces: list[float], expected: list[float]) -> None:
    assert measure_rests(monkeypatch, 0.05, pieces) == pytest.approx(expected)


@given(st.lists(st.floats(0, 0.05), max_size=50), st.sampled_from([0.05, 0.2, 0.5]))
def test_time_budget_keeps_work_within_its_share_of_the_time(pieces: list[float], share: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        rest_seconds = sum(measure_rests(patch, share, pieces))
    worked = sum(pieces)
    assert worked <= share * (worked + rest_seconds) + 0.002 + 1e-9


async def test_measure_work_adds_the_elapsed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([10.0, 10.5])
    monkeypatch.setattr("notifier.web.feed.time_budget.time.perf_counter", lambda: next(moments))
    budget = TimeBudget(0.5)
    with budget.measure_work():
        pass
    assert budget._worked == 0.5
