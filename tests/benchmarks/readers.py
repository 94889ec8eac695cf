"""Compares delivery to a webhook with and without many readers of the event stream.

    python -m tests.benchmarks.readers [--readers 200] [--rate 1000] [--seconds 10] [--batch 1] [--rounds 3]

Events are written into the daemon's store at a steady rate, as polls do. The receiver, the API and the readers are
other processes. The time until delivery to the webhook is measured with and without readers in turn. The time until all
readers have all events is measured, too; they get only a small share of the daemon's time.
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
    """The webhook's deliveries: the seconds from detection to arrival of each event, and the last arrival's time."""

    latencies: list[float] = field(default_factory=list)
    last: float = 0.0

    def note(self, deliveries: Sequence[Delivery], settlements: Sequence[Settlement]) -> None:
        """Record one request."""
        assert all(settlement.reason == "delivered" for settlement in settlements)
        now_ms = SystemClock().now_ms()
        self.latencies += [(now_ms - delivery.event.time_ms) / 1000 for delivery in deliveries]
        self.last = time.perf_counter()


@dataclass(frozen=True)
class Measured:
    """One measurement: events a second, the daemon's processor time for each in microseconds, and their latency in
    milliseconds; also the seconds from the last event until all readers had received everything."""

    rate: float
    cost: float
    median: float
    late: float
    behind: float | None


async def measure(options: argparse.Namespace, numbers: "count[int]", readers: int) -> Measured:
    """Write events, and wait until the webhook and the readers have them."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        receiver = stack.enter_context(beside("receiver.py"))
        api = stack.enter_context(beside("api.py", "100"))
        daemon, port = await started(Path(folder), api, receiver, options.batch)
        delivered = Deliveries()
        daemon._dispatcher._workers["hr"]._on_attempt = delivered.note
        try:
            follow = await asyncio.to_thread(stack.enter_context, beside("followers.py", str(port), str(readers)))
            begun, worked = time.perf_counter(), time.process_time()
            events = await arrive(daemon, numbers, options.rate, options.seconds)
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
    """Start a daemon, and wait for its first sweep; return the daemon and its port."""
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
    """Write pages of events at a steady rate; return the number of events."""
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
    """Wait until every reader has every event; return the seconds since `since`."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"http://127.0.0.1:{follow}/received") as response:
                received = await response.json()
            assert max(received) <= events
            if min(received) == events:
                return time.perf_counter() - since
            await asyncio.sleep(0.1)


async def main() -> None:
    """Measure both in turn, and print the figures and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--batch", type=int, default=1, help="events in one request to the webhook")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    numbers = count()
    without, among = [], []
    for _ in range(options.rounds):
        without.append(await measure(options, numbers, 0))
        among.append(await measure(options, numbers, options.readers))
    for who, measured in (("without readers", without), (f"with {options.readers} readers", among)):
        report(f"delivery {who}", [it.rate for it in measured], "events/s")
        report(f"  processor time {who}", [it.cost for it in measured], "us/event")
        report(f"  detection to delivery {who}, p50", [it.median for it in measured], "ms")
        report(f"  detection to delivery {who}, p99", [it.late for it in measured], "ms")
    report("ratio of the rates", [b.rate / a.rate for a, b in zip(without, among, strict=True)], "")
    report("readers done after the last delivery", [it.behind or 0 for it in among], "s")


if __name__ == "__main__":
    asyncio.run(main())
