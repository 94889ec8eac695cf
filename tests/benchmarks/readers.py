"""Delivery to a webhook while many follow the stream, beside the same without them.

    python -m tests.benchmarks.readers [--readers 200] [--rate 1000] [--seconds 10] [--batch 1] [--rounds 3]

Events arrive in the daemon's store at a steady rate, as pages of polls bring them. The receiver, the API and the
readers are processes beside this one. What is measured is how quickly the webhook has them, with readers and without
in turn; and when the readers, who get no more than a small share of the daemon's time, have them all.
"""

import argparse
import asyncio
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp

from notifier.clock import SystemClock
from notifier.config import load
from notifier.daemon.daemon import Daemon
from notifier.store.tables import records
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.settlements import Settlement
from tests.benchmarks.common import beside, news, report

PAGE = 50
"""Events that arrive together."""


@dataclass
class Deliveries:
    """What the webhook has got: for each event the seconds since its detection, and when the last one was there."""

    latencies: list[float] = field(default_factory=list)
    last: float = 0.0

    def note(self, deliveries: Sequence[Delivery], settlements: Sequence[Settlement]) -> None:
        """Hear of one request."""
        assert all(settlement.reason == "delivered" for settlement in settlements)
        now_ms = SystemClock().now_ms()
        self.latencies += [(now_ms - delivery.event.time_ms) / 1000 for delivery in deliveries]
        self.last = time.perf_counter()


@dataclass(frozen=True)
class Measured:
    """One measurement: events a second, the daemon's processor time for each in microseconds (which the other work of
    the machine says little about), their latency in milliseconds, and how many seconds after the last one readers were
    through with them."""

    rate: float
    cost: float
    median: float
    late: float
    behind: float | None


async def measure(asked: argparse.Namespace, numbers: "count[int]", readers: int) -> Measured:
    """Let events arrive, and wait until the webhook and the readers have them."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        receiver = stack.enter_context(beside("receiver.py"))
        api = stack.enter_context(beside("api.py", "100"))
        daemon, port = await started(Path(folder), api, receiver, asked.batch)
        delivered = Deliveries()
        daemon._dispatcher._workers["hr"]._on_attempt = delivered.note
        try:
            follow = await asyncio.to_thread(stack.enter_context, beside("followers.py", str(port), str(readers)))
            begun, worked = time.perf_counter(), time.process_time()
            events = await arrive(daemon, numbers, asked.rate, asked.seconds)
            while len(delivered.latencies) < events:
                await asyncio.sleep(0.01)
            worked = time.process_time() - worked
            behind = await until_read(follow, events, delivered.last) if readers else None
        finally:
            await daemon.stop()
    latencies = statistics.quantiles(delivered.latencies, n=100)
    rate, cost = events / (delivered.last - begun), worked / events * 1e6
    return Measured(rate, cost, latencies[49] * 1000, latencies[98] * 1000, behind)


async def started(folder: Path, api: str, receiver: str, batch: int) -> tuple[Daemon, int]:
    """Start a daemon that has read its list; return it and its port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environ = {
        "NOTIFIER_STORE__PATH": str(folder / "notifier.db"),
        "NOTIFIER_HTTP__LISTEN": f"127.0.0.1:{port}",
        "NOTIFIER_HTTP__ANONYMOUS": "true",
        "NOTIFIER_SOURCES__ACME__BASE_URL": api,
        "NOTIFIER_SOURCES__ACME__TOKEN": "sandbox",
        "NOTIFIER_SOURCES__ACME__POLL_INTERVAL": "1h",
        "NOTIFIER_DESTINATIONS__HR__TYPE": "http",
        "NOTIFIER_DESTINATIONS__HR__URL": f"http://127.0.0.1:{receiver}/hook",
        "NOTIFIER_DESTINATIONS__HR__SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr",
        "NOTIFIER_DESTINATIONS__HR__BATCH_SIZE": str(batch),
    }
    daemon = Daemon(load(environ=environ, cwd=folder))
    await daemon.start()
    while daemon.operations.unready() or daemon._sources.watcher("acme").is_sweeping:
        await asyncio.sleep(0.05)
    return daemon, port


async def arrive(daemon: Daemon, numbers: "count[int]", rate: float, seconds: float) -> int:
    """Let pages of news arrive at a steady rate; return how many events there were."""
    begun = time.perf_counter()
    pages = round(rate * seconds / PAGE)
    for page in range(pages):
        await asyncio.sleep(max(0.0, begun + page * PAGE / rate - time.perf_counter()))
        first = next(numbers) * PAGE + 1_000_000
        findings = records.Findings("acme", "acme", changes=news(range(first, first + PAGE)))
        now_ms = SystemClock().now_ms()
        theirs = daemon._configuration.subscriptions
        daemon._on_events(await daemon._store.run(records.write, findings, theirs, now_ms))
    return pages * PAGE


async def until_read(follow: str, events: int, since: float) -> float:
    """Wait until every reader has every event; return how many seconds after `since` that was."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"http://127.0.0.1:{follow}/received") as response:
                received = await response.json()
            assert max(received) <= events
            if min(received) == events:
                return time.perf_counter() - since
            await asyncio.sleep(0.1)


async def main() -> None:
    """Measure in turn, and print both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--batch", type=int, default=1, help="events in one request to the webhook")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    numbers = count()
    without, among = [], []
    for _ in range(asked.rounds):
        without.append(await measure(asked, numbers, 0))
        among.append(await measure(asked, numbers, asked.readers))
    for who, measured in (("without readers", without), (f"with {asked.readers} readers", among)):
        report(f"delivery {who}", [it.rate for it in measured], "events/s")
        report(f"  processor time {who}", [it.cost for it in measured], "us/event")
        report(f"  detection to delivery {who}, p50", [it.median for it in measured], "ms")
        report(f"  detection to delivery {who}, p99", [it.late for it in measured], "ms")
    report("ratio of the rates", [b.rate / a.rate for a, b in zip(without, among, strict=True)], "")
    report("readers done after the last delivery", [it.behind or 0 for it in among], "s")


if __name__ == "__main__":
    asyncio.run(main())
