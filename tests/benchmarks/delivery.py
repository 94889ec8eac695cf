"""Delivery of signed events to a receiver in another process, beside a bare aiohttp POST loop.

    python -m tests.benchmarks.delivery [--events 10000] [--batch 1] [--rounds 5]

Both send the same number of bodies of the same size with the same concurrency. The bare loop does nothing else; the
notifier reads events from its state file, signs them, and has written down every outcome when the clock stops.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import aiohttp
from sqlite_utils import Database

from notifier.clock import SystemClock
from notifier.completions import Event
from notifier.config import HttpSettings
from notifier.deliver.dispatcher import Dispatcher
from notifier.deliver.envelope import batch, single
from notifier.deliver.filters import subscription
from notifier.ledger import records, sources
from notifier.ledger.ledger import Ledger
from notifier.transport import new_session
from tests.benchmarks.common import beside, news, told

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"


async def bare(url: str, bodies: list[bytes], concurrency: int) -> float:
    """POST every body, `concurrency` at a time; return the seconds."""
    waiting = iter(bodies)

    async def loop(session: aiohttp.ClientSession) -> None:
        for body in waiting:
            async with session.post(url, data=body, headers={"content-type": "application/json"}) as response:
                await response.read()

    async with aiohttp.ClientSession() as session:
        started = time.perf_counter()
        await asyncio.gather(*(loop(session) for _ in range(concurrency)))
        return time.perf_counter() - started


async def notifier(url: str, events: int, batch_size: int, folder: Path) -> tuple[float, list[bytes]]:
    """Deliver `events` that wait in a state file; return the seconds, and bodies like those that were sent."""
    ledger = Ledger(folder / "notifier.db")
    await ledger.open()
    settings = HttpSettings.model_validate({"type": "http", "url": url, "secret": SECRET, "batch_size": batch_size})
    wants = [subscription("receiver", settings)]
    await ledger.run(sources.recall, "acme")
    waiting: list[Event] = []
    for first in range(0, events, 1000):
        changes = news(range(first, min(first + 1000, events)))
        findings = records.Findings("acme", "acme", changes=changes)
        written = await ledger.run(records.write, findings, wants, SystemClock().now_ms())
        waiting += written
    async with new_session() as session:
        dispatcher = Dispatcher({"receiver": settings}, ledger, SystemClock())
        started = time.perf_counter()
        await dispatcher.start(session)
        while (await ledger.run(_delivered)) < events:
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - started
        await dispatcher.stop(1.0)
    await ledger.close()
    return seconds, _bodies(waiting, settings)


def _bodies(events: list[Event], settings: HttpSettings) -> list[bytes]:
    if settings.batch_size == 1:
        return [single(event, settings.format).body for event in events]
    groups = (events[first : first + settings.batch_size] for first in range(0, len(events), settings.batch_size))
    return [batch(group, settings.format).body for group in groups]


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
    ours, floors, ratios = [], [], []
    with beside("receiver.py") as port:
        url = f"http://127.0.0.1:{port}/hook"
        for _ in range(asked.rounds):
            with tempfile.TemporaryDirectory() as folder:
                seconds, bodies = await notifier(url, asked.events, asked.batch, Path(folder))
            floor = await bare(url, bodies, HttpSettings.model_fields["concurrency"].default)
            ours.append(asked.events / seconds)
            floors.append(asked.events / floor)
            ratios.append(floor / seconds)
    print(told("bare aiohttp POST loop", floors, "events/s"))
    print(told("notifier, signed and written down", ours, "events/s"))
    print(told("ratio", ratios, ""))


if __name__ == "__main__":
    asyncio.run(main())
