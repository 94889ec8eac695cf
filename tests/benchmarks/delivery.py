"""Delivery of signed events to a receiver in another process, beside two bare aiohttp POST loops.

    python -m tests.benchmarks.delivery [--events 10000] [--batch 1] [--rounds 5]

All three send the same bodies with the same concurrency. One bare loop has them ready before the clock starts; the
other reads the events from the same state file and makes their bodies on the way, as any sender has to. The notifier
reads events from its state file, signs them, and has written down every outcome when the clock stops.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import aiohttp
from sqlite_utils import Database

from notifier.clock import SystemClock
from notifier.completions import Event
from notifier.config import HttpSettings
from notifier.deliver.dispatcher import Dispatcher
from notifier.deliver.envelope import batch, single
from notifier.deliver.filters import subscription
from notifier.ledger import history, records, sources
from notifier.ledger.ledger import Ledger, open_for_reading
from notifier.transport import new_session
from tests.benchmarks.common import beside, news, told

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"


LOOK_EVERY = 0.002
"""Seconds between two looks whether all is written down: short beside what is measured."""


async def bare(url: str, bodies: Iterable[bytes], concurrency: int) -> float:
    """POST every body, `concurrency` at a time; return the seconds, those that making them takes included."""
    waiting = iter(bodies)

    async def loop(session: aiohttp.ClientSession) -> None:
        for body in waiting:
            async with session.post(url, data=body, headers={"content-type": "application/json"}) as response:
                await response.read()

    async with aiohttp.ClientSession() as session:
        started = time.perf_counter()
        await asyncio.gather(*(loop(session) for _ in range(concurrency)))
        return time.perf_counter() - started


async def notifier(events: int, settings: HttpSettings, file: Path) -> float:
    """Deliver `events` that wait in a new state file; return the seconds."""
    ledger = Ledger(file)
    await ledger.open()
    wants = [subscription("receiver", settings)]
    await ledger.run(sources.recall, "acme")
    for first in range(0, events, 1000):
        changes = news(range(first, min(first + 1000, events)))
        findings = records.Findings("acme", "acme", changes=changes)
        await ledger.run(records.write, findings, wants, SystemClock().now_ms())
    async with new_session() as session:
        dispatcher = Dispatcher({"receiver": settings}, ledger, SystemClock())
        started = time.perf_counter()
        await dispatcher.start(session)
        while (await ledger.run(_delivered)) < events:
            await asyncio.sleep(LOOK_EVERY)
        seconds = time.perf_counter() - started
        await dispatcher.stop(1.0)
    await ledger.close()
    return seconds


def made(file: Path, settings: HttpSettings) -> Iterator[bytes]:
    """Read the events of a state file and make the bodies that they are sent in."""
    db = open_for_reading(file)
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


async def main() -> None:
    """Measure in turn, and print rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=1, help="events in one request")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    ours, ready, making = [], [], []
    with beside("receiver.py") as port:
        url = f"http://127.0.0.1:{port}/hook"
        settings = HttpSettings.model_validate(
            {"type": "http", "url": url, "secret": SECRET, "batch_size": asked.batch}
        )
        for _ in range(asked.rounds):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "notifier.db"
                ours.append(await notifier(asked.events, settings, file))
                making.append(await bare(url, made(file, settings), settings.concurrency))
                ready.append(await bare(url, list(made(file, settings)), settings.concurrency))
    print(told("bare loop, bodies ready", [asked.events / floor for floor in ready], "events/s"))
    print(told("bare loop, bodies made from the same rows", [asked.events / floor for floor in making], "events/s"))
    print(told("notifier, signed and written down", [asked.events / seconds for seconds in ours], "events/s"))
    print(told("ratio to bodies ready", [a / b for a, b in zip(ready, ours, strict=True)], ""))
    print(told("ratio to bodies made", [a / b for a, b in zip(making, ours, strict=True)], ""))


if __name__ == "__main__":
    asyncio.run(main())
