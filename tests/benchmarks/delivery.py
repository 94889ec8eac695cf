"""Compares the delivery of signed events to a receiver in another process with two plain loops of aiohttp requests.

    python -m tests.benchmarks.delivery [--events 10000] [--batch 1] [--rounds 5] [--steps]

All three send the same bodies with the same concurrency. One loop has the bodies ready before the measurement. The
other reads the events from the same state file and makes their bodies meanwhile, as any sender has to. The notifier
reads events from its state file, signs them, and has stored every outcome at the end of the measurement. Both wall time
and processor time are compared; processor time is also reliable on a machine that does other work. With --steps, the
steps of Python's interpreter are counted instead, for the second loop and the notifier.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp

from notifier.clock import SystemClock
from notifier.config import HttpSettings
from notifier.delivery.dispatcher import Dispatcher
from notifier.delivery.subscriptions import subscription_of
from notifier.destinations.webhook.envelope import batch, single
from notifier.events import Event
from notifier.http.exchange import new_session
from notifier.store.database import Database
from notifier.store.file.connection import open_file_read_only
from notifier.store.file.store import FileStore
from notifier.store.queries import history
from notifier.store.store import Store
from notifier.store.tables import records, sources
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.settlements import Settlement
from tests.benchmarks.common import beside, news, report
from tests.benchmarks.steps import counted, print_steps

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"


LOOK_EVERY = 0.005
"""Seconds between two looks whether all is written down: short beside what is measured.

A look at the store takes as long as a delivery, so the first one is after the last answer.
"""


class Times(NamedTuple):
    """The wall time and this process's processor time of something, in seconds."""

    passed: float
    processor: float

    @classmethod
    def since(cls, started: "Times") -> "Times":
        """Return the times since `start`, a result of `now()`."""
        return cls(*(after - before for before, after in zip(started, cls.now(), strict=True)))

    @classmethod
    def now(cls) -> "Times":
        """Return the present times."""
        return cls(time.perf_counter(), time.process_time())


async def bare(url: str, bodies: Iterable[bytes], concurrency: int) -> Times:
    """POST every body, `concurrency` at a time; return the times, including those for making bodies."""
    waiting = iter(bodies)

    async def loop(session: aiohttp.ClientSession) -> None:
        for body in waiting:
            async with session.post(url, data=body, headers={"content-type": "application/json"}) as response:
                await response.read()

    async with aiohttp.ClientSession() as session:
        started = Times.now()
        await asyncio.gather(*(loop(session) for _ in range(concurrency)))
        return Times.since(started)


async def notifier(
    events: int, settings: HttpSettings, store: Store, begin: Callable[[], None] = lambda: None
) -> Times:
    """Deliver `events` from a new store, after calling `begin`; return the times."""
    await store.open()
    wants = [subscription_of("receiver", settings)]
    await store.run(sources.read_or_create, "acme")
    for first in range(0, events, 1000):
        changes = news(range(first, min(first + 1000, events)))
        findings = records.Findings("acme", "acme", changes=changes)
        await store.run(records.write, findings, wants, SystemClock().now_ms())
    answered = 0

    def count(deliveries: Sequence[Delivery], _settlements: Sequence[Settlement]) -> None:
        nonlocal answered
        answered += len(deliveries)

    async with new_session() as session:
        dispatcher = Dispatcher({"receiver": settings}, store, SystemClock(), count)
        begin()
        started = Times.now()
        await dispatcher.start(session)
        while answered < events or (await store.run(_delivered)) < events:
            await asyncio.sleep(LOOK_EVERY)
        taken = Times.since(started)
        await dispatcher.stop(1.0)
    await store.close()
    return taken


def made(file: Path, settings: HttpSettings) -> Iterator[bytes]:
    """Read the events of a state file, and make the bodies of their requests."""
    db = open_file_read_only(file)
    last = 0
    while events := history.events_after(db, last, 1000 // settings.batch_size * settings.batch_size):
        yield from _bodies(events, settings)
        last = events[-1].sequence
    db.close()


def _bodies(events: Sequence[Event], settings: HttpSettings) -> Iterator[bytes]:
    if settings.batch_size == 1:
        yield from (single(event, settings.format).body for event in events)
        return
    for first in range(0, len(events), settings.batch_size):
        yield batch(events[first : first + settings.batch_size], settings.format).body


def _delivered(db: Database) -> int:
    row = db.execute("SELECT delivered FROM destinations WHERE name = 'receiver'").fetchone()
    return row[0] if row else 0


async def print_interpreter_steps(options: argparse.Namespace, url: str, settings: HttpSettings) -> None:
    """Count the steps of the second loop and of the notifier; print the steps for one event by part."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "notifier.db"
        with counted() as ours:
            await notifier(options.events, settings, FileStore(file), lambda: setattr(ours, "is_counting", True))
        with counted() as making:
            making.is_counting = True
            await bare(url, made(file, settings), settings.concurrency)
    of_event = [{part: steps / options.events for part, steps in it.by_part().items()} for it in (making, ours)]
    print_steps("steps an event", *of_event)


async def main() -> None:
    """Measure all in turn, and print the rates and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=1, help="events in one request")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", action="store_true", help="count the steps of Python's interpreter")
    options = parser.parse_args()
    ours, ready, making = [], [], []
    with beside("receiver.py") as port:
        url = f"http://127.0.0.1:{port}/hook"
        settings = HttpSettings.model_validate(
            {"type": "http", "url": url, "secret": SECRET, "batch_size": options.batch}
        )
        if options.steps:
            await print_interpreter_steps(options, url, settings)
            return
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "notifier.db"
                ours.append(await notifier(options.events, settings, FileStore(file)))
                making.append(await bare(url, made(file, settings), settings.concurrency))
                ready.append(await bare(url, list(made(file, settings)), settings.concurrency))
    for name, measured in (
        ("bare loop, bodies ready", ready),
        ("bare loop, bodies made from the same rows", making),
        ("notifier, signed and written down", ours),
    ):
        report(name, [options.events / taken.passed for taken in measured], "events/s")
    for name, minimums in (("to bodies ready", ready), ("to bodies made", making)):
        report(f"ratio {name}", [a.passed / b.passed for a, b in zip(minimums, ours, strict=True)], "")
        processor = [a.processor / b.processor for a, b in zip(minimums, ours, strict=True)]
        report(f"ratio {name}, of processor time", processor, "")


if __name__ == "__main__":
    asyncio.run(main())
