"""Runs the real worker, with a real state file and a simulated receiver, in virtual time."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from notifier.config.message_destinations import SlackSettings
from notifier.config.webhooks import HttpSettings
from notifier.delivery.worker import Worker
from notifier.destinations.base import Grouping
from notifier.events import Event, EventType
from notifier.store.database import Database
from notifier.store.tables import sources
from notifier.store.tables.outbox import Delivery
from notifier.token_bucket import TokenBucket
from tests.simulation.receiver import SimulatedReceiver
from tests.support.virtual_time import LoopClock, ThreadlessStore, VirtualTimeLoop

HOUR = 3600.0
DAY = 86_400.0
Settings = HttpSettings | SlackSettings


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """An event that is detected `at` seconds after the start. The receiver cannot process it if `good` is false."""

    record: str
    at: float = 0.0
    training: str = "t"
    good: bool = True
    kind: str = EventType.CREATED


def http_settings(**keys: Any) -> HttpSettings:
    return HttpSettings.model_validate({"type": "http", "url": "http://127.0.0.1:9/", **keys})


def slack_settings(**keys: Any) -> SlackSettings:
    return SlackSettings.model_validate({"type": "slack", "url": "https://127.0.0.1:9/services/x", **keys})


def is_poisonous(delivery: Delivery) -> bool:
    """Return whether the receiver cannot process an event."""
    return b'"poison":true' in delivery.event.data


@dataclass
class DeliveryWorld:
    """A state file, a receiver, and the worker between them."""

    store: ThreadlessStore
    receiver: SimulatedReceiver
    settings: Settings
    chance: random.Random
    bucket: TokenBucket
    worker: Worker | None = None

    async def start(self) -> None:
        self.worker = Worker(
            self.receiver, self.settings, self.store, LoopClock(), self.chance.random, bucket=self.bucket
        )
        await self.worker.start()

    async def stop(self, *, grace: float = 1.0) -> None:
        assert self.worker is not None
        await self.worker.stop(grace)
        self.worker = None

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def enter(self, news: Sequence[PlannedEvent]) -> None:
        """Write events into the state file, and wake the worker, as a poll of a source does."""
        deliveries = await self.store.run(insert_events, news, LoopClock().now_ms())
        if self.worker is not None:
            self.worker.hand_over(deliveries)
            self.worker.wake()

    async def query(self, sql: str) -> list[tuple[Any, ...]]:
        def rows(db: Database) -> list[tuple[Any, ...]]:
            return db.execute(sql).fetchall()

        return await self.store.run(rows)

    async def states(self) -> dict[str, int]:
        return dict(await self.query("SELECT state, count(*) FROM deliveries GROUP BY 1"))


Script = Callable[[DeliveryWorld], Awaitable[None]]


def simulate(
    receiver: SimulatedReceiver,
    settings: Settings,
    news: Sequence[PlannedEvent] = (),
    *,
    until: float = 4 * DAY,
    wanted: int | None = None,
    script: Script | None = None,
    seed: int = 0,
) -> SimulatedReceiver:
    """Write `news` at their times and deliver them, until `wanted` good events are delivered or `until` seconds passed.

    By default, all good events are wanted. `script` runs at the same time; the simulation does not end before it.
    """
    if isinstance(settings, SlackSettings):
        receiver.grouping = Grouping(10, digest_above=settings.digest_above)
    elif settings.batch_size > 1:
        receiver.grouping = Grouping(settings.batch_size, settings.batch_wait)
    missing = sum(it.good for it in news) if wanted is None else wanted

    async def perform() -> None:
        async with open_store() as store:
            world = DeliveryWorld(store, receiver, settings, random.Random(seed), TokenBucket(settings.rate))
            await world.start()
            script_task = None if script is None else asyncio.create_task(_run_script(script, world))
            for moment in sorted({it.at for it in news}):
                await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
                await world.enter([it for it in news if it.at == moment])
            while True:
                good = sum(
                    not is_poisonous(it)
                    for it in {it.event.sequence: it for r in receiver.accepted for it in r.deliveries}.values()
                )
                if (
                    good >= missing and (script_task is None or script_task.done())
                ) or asyncio.get_running_loop().time() > until:
                    break
                await asyncio.sleep(_check_interval(asyncio.get_running_loop().time()))
            if script_task is not None:
                await script_task
            if world.worker is not None:
                await world.stop()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(perform())
    return receiver


def _check_interval(now: float) -> float:
    """Return the seconds until the next check: short at first, and longer in simulations of several days."""
    return min(60.0, max(0.5, now / 50))


async def _run_script(script: Script, world: DeliveryWorld) -> None:
    await script(world)


@asynccontextmanager
async def open_store() -> AsyncIterator[ThreadlessStore]:
    """Provide a new store with the source acme."""
    with tempfile.TemporaryDirectory() as folder:
        store = ThreadlessStore(Path(folder) / "notifier.db")
        await store.open()
        await store.run(sources.read_or_create, "acme")
        yield store
        await store.close()


def insert_events(db: Database, news: Sequence[PlannedEvent], now_ms: int) -> list[Delivery]:
    """Insert events without their records, which is faster: some tests need hundreds of thousands of events."""
    (last,) = db.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()
    rows = []
    for number, it in enumerate(news, last + 1):
        data = {"completion": {"key": it.record, "training_id": it.training, "user_id": "u"}, "poison": not it.good}
        rows.append((number, f"evt_{number:026}", it.kind, it.record, now_ms, orjson.dumps(data).decode()))
    db.executemany(
        "INSERT INTO events (sequence, id, type, source, subject, revision, net, reason, detected_at, data)"
        " VALUES (?, ?, ?, 'acme', ?, 1, 'head', 'entered_since', ?, ?)",
        rows,
    )
    db.executemany("INSERT INTO deliveries (sequence, destination) VALUES (?, 'hr')", [(row[0],) for row in rows])
    return [
        Delivery(Event(number, id_, kind, "acme", record, now_ms, data.encode()), "hr")
        for number, id_, kind, record, _, data in rows
    ]


def make_events(count: int, **keys: Any) -> list[PlannedEvent]:
    """Return `count` events about different records of seven trainings."""
    return [replace(PlannedEvent(str(number), training=f"t{number % 7}"), **keys) for number in range(1, count + 1)]
