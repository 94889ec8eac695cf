"""A replay beside new events: in parts, for each destination at its own pace, and across restarts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from notifier.delivery import replay as replaying
from notifier.delivery.replay import ReplayRunner, ReplayStoppedError
from notifier.store.database import Database
from notifier.store.subscriptions import Subscription
from notifier.store.tables import requeue
from notifier.store.tables.replays import ReplayRun, ReplayRunningError, ReplayState
from notifier.store.tables.requeue import ReplayRange
from tests.support.waiting import DEADLINE, until
from tests.support.workers import EVENTS, Rig, keys


@dataclass
class Scene:
    """A state file whose events have been delivered, and a replay that wakes no worker: the calls are counted."""

    rig: Rig
    to: list[str] = field(default_factory=lambda: ["hr", "it"])
    woken: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start again, with only what the state file holds."""
        self.replaying = ReplayRunner(self.rig.store, self.subscriptions, self.wake, self.rig.clock)

    def subscriptions(self) -> Sequence[Subscription]:
        return [Subscription(name, EVENTS) for name in self.to]

    def wake(self) -> None:
        self.woken += 1

    async def begin(self, destination: str | None = None) -> int:
        past = ReplayRange(0, self.rig.clock.now_ms() + 1, await self.rig.store.run(requeue.newest_event_number))
        number, _ = await self.replaying.start(past, destination)
        return number

    async def latest(self) -> ReplayRun:
        return (await self.replaying.latest())[0]

    async def queued(self) -> dict[str, int]:
        return {part.destination: part.queued for part in (await self.latest()).parts}

    async def has_queued(self, **counts: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while await self.queued() != counts:
                await asyncio.sleep(0.005)

    async def waits_for(self, *names: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while [part.destination for part in (await self.latest()).unfinished] != [*names]:
                await asyncio.sleep(0.005)

    async def ends(self, how: ReplayState = ReplayState.DONE) -> None:
        async with asyncio.timeout(DEADLINE):
            while (await self.latest()).state is not how:
                await asyncio.sleep(0.005)

    async def deliver(self, name: str) -> None:
        await self.rig.ask(f"UPDATE deliveries SET state = 'delivered' WHERE destination = '{name}'")

    async def waiting(self, name: str) -> int:
        return len(await self.rig.ask(f"SELECT 1 FROM deliveries WHERE destination = '{name}' AND state = 'pending'"))


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(replaying, "MAX_WAITING", 4)
    monkeypatch.setattr(replaying, "CHECK_INTERVAL_SECONDS", 0.01)
    async with Rig(tmp_path / "notifier.db") as rig:
        await rig.enter(*keys(10), to=("hr", "it"))
        this = Scene(rig)
        for name in this.to:
            await this.deliver(name)
        yield this
        await this.replaying.close()


async def test_replay_queues_at_most_the_limit_and_more_as_each_queue_drains(scene: Scene) -> None:
    await scene.begin()
    await scene.has_queued(hr=4, it=4)
    await asyncio.sleep(0.1)
    assert [await scene.waiting(name) for name in ("hr", "it")] == [4, 4]
    # A queue that does not drain delays no other destination.
    for expected in (8, 10):
        await scene.deliver("hr")
        await scene.has_queued(hr=expected, it=4)
    await scene.waits_for("it")
    (it,) = (await scene.latest()).unfinished
    assert (it.state, it.reached) == (ReplayState.RUNNING, 4)
    for expected in (8, 10):
        await scene.deliver("it")
        await scene.has_queued(hr=10, it=expected)
    await scene.ends()
    assert scene.woken == 6


async def test_replay_queues_nothing_more_while_a_new_event_is_pending(scene: Scene) -> None:
    await scene.begin("hr")
    await scene.has_queued(hr=4)
    (new,) = (await scene.rig.enter("new", to=["hr"])).deliveries
    await scene.rig.ask(f"UPDATE deliveries SET state = 'delivered' WHERE sequence < {new.event.sequence}")
    await asyncio.sleep(0.1)
    assert await scene.queued() == {"hr": 4}
    await scene.deliver("hr")
    await scene.has_queued(hr=8)


async def test_replay_is_done_while_its_last_deliveries_are_still_pending(scene: Scene) -> None:
    await scene.rig.ask("DELETE FROM deliveries WHERE sequence > 4")
    await scene.rig.ask("DELETE FROM events WHERE sequence > 4")
    await scene.begin("hr")
    await scene.ends()
    assert await scene.waiting("hr") == 4


async def test_replay_start_is_refused_while_another_runs_and_works_after_its_stop(scene: Scene) -> None:
    first = await scene.begin()
    with pytest.raises(ReplayRunningError):
        await scene.begin()
    await scene.replaying.stop(first)
    assert (await scene.latest()).state is ReplayState.STOPPED
    await scene.begin("hr")
    assert [part.destination for part in (await scene.latest()).parts] == ["hr"]
    assert [memory.state for memory in await scene.replaying.latest()] == [ReplayState.RUNNING, ReplayState.STOPPED]


async def test_replay_resumes_after_a_restart_where_it_was(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    await scene.begin()
    await scene.has_queued(hr=4, it=4)
    await scene.replaying.close()
    for name in ("hr", "it"):
        await scene.deliver(name)
    scene.restart()
    assert (await scene.latest()).state is ReplayState.RUNNING
    await asyncio.sleep(0.05)
    assert await scene.queued() == {"hr": 4, "it": 4}
    with pytest.raises(ReplayRunningError):
        await scene.begin()
    with caplog.at_level("INFO"):
        await scene.replaying.resume_unfinished()
    assert "replay continues" in caplog.text
    for expected in (8, 10):
        await scene.has_queued(hr=expected, it=expected)
        for name in ("hr", "it"):
            await scene.deliver(name)
    await scene.ends()


async def test_stopped_replay_stays_stopped_after_a_restart(scene: Scene) -> None:
    await scene.begin()
    await scene.has_queued(hr=4, it=4)
    await scene.replaying.stop()
    for name in ("hr", "it"):
        await scene.deliver(name)
    scene.restart()
    await scene.replaying.resume_unfinished()
    await asyncio.sleep(0.05)
    assert await scene.queued() == {"hr": 4, "it": 4}
    assert (await scene.latest()).state is ReplayState.STOPPED


async def test_replay_can_be_stopped_while_its_events_are_counted(scene: Scene) -> None:
    beginning = asyncio.create_task(scene.replaying.start(ReplayRange(0, scene.rig.clock.now_ms() + 1, 20), None))
    await asyncio.sleep(0)
    await scene.replaying.stop()
    with pytest.raises(ReplayStoppedError):
        await beginning
    assert await scene.replaying.latest() == []


async def test_stop_with_another_number_does_not_stop_the_replay(scene: Scene) -> None:
    number = await scene.begin()
    await scene.replaying.stop(number + 1)
    assert (await scene.latest()).state is ReplayState.RUNNING
    await scene.deliver("hr")
    await scene.has_queued(hr=8, it=4)


async def test_replay_queues_nothing_more_for_a_destination_removed_meanwhile(scene: Scene) -> None:
    await scene.begin()
    await scene.has_queued(hr=4, it=4)
    scene.to.remove("it")
    await scene.waits_for("hr")
    await scene.deliver("it")
    await scene.deliver("hr")
    await scene.has_queued(hr=8, it=4)
    assert await scene.waiting("it") == 0
    await scene.deliver("hr")
    await scene.ends()
    assert {part.destination: part.state for part in (await scene.latest()).parts} == {
        "hr": ReplayState.DONE,
        "it": ReplayState.REMOVED,
    }


async def test_replay_ends_the_part_of_a_destination_removed_before_a_restart(scene: Scene) -> None:
    await scene.begin("it")
    await scene.has_queued(it=4)
    await scene.replaying.close()
    await scene.deliver("it")
    scene.to.remove("it")
    scene.restart()
    await scene.replaying.resume_unfinished()
    await scene.ends()
    assert await scene.waiting("it") == 0


async def test_replay_continues_after_state_file_errors(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    def deliver_and_break(db: Database) -> None:
        db.execute("UPDATE deliveries SET state = 'delivered'")
        db.execute("PRAGMA query_only = on")

    def mend(db: Database) -> None:
        db.execute("PRAGMA query_only = off")

    await scene.begin("hr")
    await scene.has_queued(hr=4)
    await scene.rig.store.run(deliver_and_break)
    await until(lambda: "state file" in caplog.text)
    await asyncio.sleep(0.05)
    await scene.rig.store.run(mend)
    await scene.has_queued(hr=8)
    assert sum("state file" in line for line in caplog.text.splitlines()) == 1


async def test_replay_without_destinations_is_done_at_once(scene: Scene) -> None:
    scene.to = []
    await scene.begin()
    assert (await scene.latest()).state is ReplayState.DONE
    assert await scene.queued() == {}
