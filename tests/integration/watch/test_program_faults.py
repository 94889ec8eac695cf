"""An unexpected exception in the work on a source: logged once, followed by a pause, and reported as a condition."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from notifier.alerts.conditions import ConditionName
from notifier.kpa.client import Client
from notifier.watch.detection.head_poll import HeadPoll
from notifier.watch.detection.search import DiscrepancySearch
from notifier.watch.detection.sweep import SweepRunner
from notifier.watch.source_health import FAULT, SourceState

if TYPE_CHECKING:
    from tests.support.watched_source import Station


def state(station: "Station") -> SourceState:
    return station.watcher.state


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], list[str]]:
    """Make a method raise an unexpected exception; return a list of its calls."""

    def make(owner: type, method: str) -> list[str]:
        calls: list[str] = []

        def fail(*_: Any, **__: Any) -> Any:
            calls.append(method)
            raise ZeroDivisionError

        monkeypatch.setattr(owner, method, fail)
        return calls

    return make


@pytest.mark.parametrize(
    ("work", "owner", "method"),
    [
        ("sweep", SweepRunner, "read"),
        ("search", DiscrepancySearch, "run"),
        ("poll", HeadPoll, "read"),
        ("fetching of the names of people", Client, "people"),
    ],
)
async def test_program_fault_is_logged_once_and_raises_source_failing_until_it_ends(
    station: "Station",
    faulty: Callable[[type, str], list[str]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    work: str,
    owner: type,
    method: str,
) -> None:
    await station.open(150, sweep_interval="1h" if work == "sweep" else "30d", names=owner is Client, page_size=20)
    if owner is not Client:
        await station.round()
    calls = faulty(owner, method)
    station.clock.advance(3600)
    if work == "search":
        station.enter(date_number=20200101)
    for _ in range(10):
        await station.round()
        station.clock.advance(1)
    assert len(calls) == 1
    assert [record.__dict__.get("work") for record in caplog.records if record.exc_info] == [work]
    assert state(station) is SourceState.FAILING
    assert station.watcher.memory.error is not None
    assert station.watcher.memory.error.reason == FAULT
    for _ in range(16):
        station.clock.advance(60)
        await station.round()
    told = {condition.name: condition.summary for condition in station.conditions()}
    assert "ZeroDivisionError" in told[ConditionName.SOURCE_FAILING]
    assert len([record for record in caplog.records if record.exc_info]) == 1
    monkeypatch.undo()
    station.clock.advance(3600)
    await station.round()
    await station.settle()
    # Names are fetched in a separate task.
    await station.until(lambda: state(station) is SourceState.OK)
    assert ConditionName.SOURCE_FAILING not in {condition.name for condition in station.conditions()}
