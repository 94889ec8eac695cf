"""A replay beside what is new: bit by bit, each destination at its own pace."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlite_utils import Database

from notifier.deliver import replaying
from notifier.deliver.replaying import Replaying, ReplayRunningError, ReplayState
from notifier.ledger import again
from notifier.ledger.again import Past
from notifier.ledger.subscriptions import Subscription
from tests.deliver.harness import EVENTS, Rig, keys
from tests.real_time import until


@dataclass
class Scene:
    """A state file whose events have been delivered, and a replay that wakes nobody but the test."""

    rig: Rig
    to: list[str] = field(default_factory=lambda: ["hr", "it"])
    woken: int = 0

    def __post_init__(self) -> None:
        self.replaying = Replaying(self.rig.ledger, self.subscriptions, self.wake)

    def subscriptions(self) -> Sequence[Subscription]:
        return [Subscription(name, EVENTS) for name in self.to]

    def wake(self) -> None:
        self.woken += 1

    async def begin(self, destination: str | None = None) -> None:
        past = Past(0, self.rig.clock.now_ms() + 1, await self.rig.ledger.run(again.newest))
        self.replaying.begin(past, await self.replaying.plan(past, destination))

    @property
    def progress(self) -> replaying.Progress:
        assert self.replaying.progress is not None
        return self.replaying.progress

    async def has_queued(self, **counts: int) -> None:
        await until(lambda: self.progress.queued == counts)

    async def deliver(self, name: str) -> None:
        await self.rig.ask(f"UPDATE deliveries SET state = 'delivered' WHERE destination = '{name}'")

    async def waiting(self, name: str) -> int:
        return len(await self.rig.ask(f"SELECT 1 FROM deliveries WHERE destination = '{name}' AND state = 'pending'"))


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(replaying, "MOST_WAITING", 4)
    monkeypatch.setattr(replaying, "LOOK_AGAIN", 0.01)
    async with Rig(tmp_path / "notifier.db") as rig:
        await rig.enter(*keys(10), to=("hr", "it"))
        this = Scene(rig)
        for name in this.to:
            await this.deliver(name)
        yield this
        await this.replaying.stop()


async def test_it_adds_no_more_than_may_wait_and_goes_on_as_the_queue_drains(scene: Scene) -> None:
    await scene.begin()
    await scene.has_queued(hr=4, it=4)
    await asyncio.sleep(0.1)
    assert [await scene.waiting(name) for name in ("hr", "it")] == [4, 4]
    # One that does not drain delays no other.
    for expected in (8, 10):
        await scene.deliver("hr")
        await scene.has_queued(hr=expected, it=4)
    await until(lambda: [*scene.progress.reached] == ["it"])
    assert scene.progress.behind == 4
    for _ in range(2):
        await scene.deliver("it")
        await asyncio.sleep(0.05)
    await until(lambda: scene.progress.state is ReplayState.DONE)
    assert scene.progress.queued == {"hr": 10, "it": 10}
    assert scene.woken == 6


async def test_it_ends_though_its_last_part_still_waits(scene: Scene) -> None:
    await scene.rig.ask("DELETE FROM deliveries WHERE sequence > 4")
    await scene.rig.ask("DELETE FROM events WHERE sequence > 4")
    await scene.begin("hr")
    await until(lambda: scene.progress.state is ReplayState.DONE)
    assert await scene.waiting("hr") == 4


async def test_one_replay_at_a_time_and_after_it_another(scene: Scene) -> None:
    await scene.begin()
    with pytest.raises(ReplayRunningError):
        await scene.begin()
    await scene.replaying.stop()
    assert scene.progress.state is ReplayState.STOPPED
    await scene.begin("hr")
    await until(lambda: [*scene.progress.queued] == ["hr"])


async def test_a_destination_that_is_removed_meanwhile_gets_nothing_more(scene: Scene) -> None:
    await scene.begin()
    await scene.has_queued(hr=4, it=4)
    scene.to.remove("it")
    await until(lambda: [*scene.progress.reached] == ["hr"])
    await scene.deliver("it")
    await scene.deliver("hr")
    await scene.has_queued(hr=8, it=4)
    assert await scene.waiting("it") == 0


async def test_it_outlives_a_state_file_that_cannot_be_written(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    def read_only(db: Database, only: str) -> None:
        db.execute(f"PRAGMA query_only = {only}")

    await scene.rig.ledger.run(read_only, "on")
    await scene.begin("hr")
    await until(lambda: "state file" in caplog.text)
    await asyncio.sleep(0.05)
    await scene.rig.ledger.run(read_only, "off")
    await scene.has_queued(hr=4)
    assert sum("state file" in line for line in caplog.text.splitlines()) == 1


async def test_nothing_to_send_is_done_at_once(scene: Scene) -> None:
    scene.to = []
    await scene.begin()
    await until(lambda: scene.progress.state is ReplayState.DONE)
    assert scene.progress.queued == {}
