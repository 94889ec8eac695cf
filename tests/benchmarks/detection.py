"""Measures the cost of finding changes below the head of a large account, compared with reading the whole account.

    python -m tests.benchmarks.detection [--records 1000000] [--times 10] [--sizes 10000 100000] [--sweeps-only]

The API is another process without a rate limit. This process runs the notifier's watcher with a state file. Head polls
read pages of 100 records, all other requests pages of 1000. The minimum only fetches and parses every page. All
requests of the rounds are counted until everything is reported, including head polls and counts. Pauses between
searches, and the wait for a second look, are left out. Exactly what was changed must be found.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from msgspec.structs import replace

from notifier.clock import SystemClock
from notifier.config import load
from notifier.daemon.watcher_factory import build_watcher
from notifier.events import Event, EventType
from notifier.http.exchange import new_session
from notifier.store.file.store import FileStore
from notifier.watch.limits import DETECTION_LIMITS
from notifier.watch.rounds import RoundResult
from notifier.watch.watcher import Watcher
from tests.benchmarks.common import beside, report

MANY = 500
CONFIRM_SECONDS = 1
MAX_ROUNDS = 200
UNRESTING = replace(
    DETECTION_LIMITS, search_seconds_a_page=0.0, sweep_seconds_a_page=0.0, first_search_retry_seconds=0.0
)


@dataclass(frozen=True, slots=True)
class Figures:
    """The cost of one step: wall and processor time in seconds, requests, and this process's peak of memory in MB."""

    requests: int
    seconds: float
    peak: float
    processor: float = 0.0


class Peak:
    """The largest memory of this process since the last call of `take`."""

    def __init__(self) -> None:
        self._forget()

    def take(self) -> float:
        """Return the peak in MB, and reset it."""
        status = Path("/proc/self/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
        self._forget()
        return peak

    def _forget(self) -> None:
        # See proc(5): writing 5 resets the peak. The peak in ru_maxrss can't be reset.
        Path("/proc/self/clear_refs").write_text("5")


class Bench:
    """One account and its watcher."""

    def __init__(self, url: str, session: aiohttp.ClientSession, watcher: Watcher, events: list[Event]) -> None:
        """Initialise with the account's URL, and the list to which the watcher's events are added."""
        self._url = url
        self._session = session
        self._watcher = watcher
        self._events = events
        self._peak = Peak()

    async def reread(self) -> Figures:
        """Fetch and parse the whole list; this is the minimum."""
        pages, last_page, started, processor = 0, 1, time.perf_counter(), time.process_time()
        self._peak.take()
        while pages < last_page:
            pages += 1
            body = orjson.dumps({"token": "sandbox", "limit": DETECTION_LIMITS.large_page, "page": pages})
            async with self._session.post(f"{self._url}/0/v1/completedtrainings.v2.list", data=body) as response:
                last_page = orjson.loads(await response.read())["paging"]["last_page"]
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        return Figures(pages, seconds, self._peak.take(), processor)

    async def sweep(self) -> Figures:
        """Sweep the list, which must not detect anything."""
        return await self._expect(self._watcher.begin_sweep, EventType.CREATED, [])

    async def quiet_round(self) -> Figures:
        """Run a round without changes."""
        return await self._expect(self._round, EventType.CREATED, [])

    async def enter(self, count: int = 1) -> Figures:
        """Enter records below the head, and measure how they are found."""
        return await self._expect(self._round, EventType.CREATED, await self._control("enter", count=count))

    async def delete(self, count: int = 1) -> Figures:
        """Delete records below the head, and measure how that is found."""
        return await self._expect(self._round, EventType.REMOVED, await self._control("delete", count=count))

    async def show_total(self, *, shown: bool) -> None:
        """Turn the API's `paging.total` on or off."""
        await self._control("total", shown=shown)

    async def _round(self) -> None:
        assert (await self._watcher.poll()).result is RoundResult.DONE
        await self._watcher.run_followups()

    async def _expect(self, work: Callable[[], Awaitable[None]], kind: EventType, changed: Sequence[int]) -> Figures:
        """Measure `work` and the background tasks that it starts; exactly what was changed must be found."""
        self._events.clear()
        self._peak.take()
        before, started, processor = self._watcher.usage.total, time.perf_counter(), time.process_time()
        await work()
        await self._settled()
        seconds = time.perf_counter() - started
        rounds = 0
        while len(self._events) < len(changed) and (rounds := rounds + 1) < MAX_ROUNDS:
            if self._watcher.second_looks.by_key:
                await asyncio.sleep(CONFIRM_SECONDS)
            started = time.perf_counter()
            await self._round()
            await self._settled()
            seconds += time.perf_counter() - started
        assert self._watcher.memory.error is None, self._watcher.memory.error
        found = sorted((event.type, event.subject) for event in self._events)
        assert found == sorted((kind, str(key)) for key in changed), f"{len(found)} events for {len(changed)} changes"
        requests, processor = self._watcher.usage.total - before, time.process_time() - processor
        return Figures(requests, seconds, self._peak.take(), processor)

    async def _settled(self) -> None:
        while self._watcher.is_sweeping or self._watcher.is_searching:
            await asyncio.sleep(0.01)  # more often would cost a tenth of a sweep

    async def _control(self, verb: str, **wish: Any) -> Any:
        async with self._session.post(f"{self._url}/control/{verb}", json=wish) as response:
            response.raise_for_status()
            return await response.json()


@asynccontextmanager
async def watching(url: str, folder: Path) -> AsyncIterator[Bench]:
    """Watch account 0 with a new state file, and run the first round."""
    environ = {
        "NOTIFIER_STORE__PATH": str(folder / "notifier.db"),
        "NOTIFIER_SOURCES__ACME__BASE_URL": f"{url}/0/v1",
        "NOTIFIER_SOURCES__ACME__TOKEN": "sandbox",
        "NOTIFIER_SOURCES__ACME__REQUESTS_PER_MINUTE": "10000000",
        "NOTIFIER_SOURCES__ACME__NAMES": "false",
        "NOTIFIER_SOURCES__ACME__CONFIRM_AFTER": f"{CONFIRM_SECONDS}s",
    }
    settings = load(environ=environ, cwd=folder)
    events: list[Event] = []
    store = FileStore(settings.store.path)
    await store.open()
    async with new_session() as session, aiohttp.ClientSession() as own_session:
        watcher = build_watcher(
            settings, "acme", session, store, SystemClock(), tuple, events.extend, detection_limits=UNRESTING
        )
        await watcher.start()
        await watcher.poll()
        yield Bench(url, own_session, watcher, events)
        await watcher.stop()
    await store.close()


@dataclass(frozen=True, slots=True)
class SingleChanges:
    """Single changes, one after the other, each at a random place below the head."""

    inserts: Sequence[Figures]
    deletions: Sequence[Figures]


async def measure_single_changes(bench: Bench, times: int) -> SingleChanges:
    """Measure a number of single changes of each kind."""
    return SingleChanges([await bench.enter() for _ in range(times)], [await bench.delete() for _ in range(times)])


def show(name: str, minimum: Figures, *figures: Figures) -> None:
    """Print medians, the range of requests, the highest peak, and the ratio of the time to that of the minimum."""
    requests = sorted(figure.requests for figure in figures)
    seconds = statistics.median(figure.seconds for figure in figures)
    span = f"({requests[0]} to {requests[-1]})" if len(figures) > 1 else ""
    peak = max(figure.peak for figure in figures)
    print(
        f"{name:<36} {statistics.median(requests):>6.0f} {span:<12} requests {seconds:>9.3f} s {peak:>6.0f} MB"
        f" {seconds / minimum.seconds:>8.4f} of the minimum",
        flush=True,
    )


async def measure_only_single_changes(records: int, times: int) -> tuple[SingleChanges, SingleChanges]:
    """Measure single changes in an account of this size, without `paging.total` and with it."""
    with beside("accounts.py", "1", str(records)) as url, tempfile.TemporaryDirectory() as folder:
        async with watching(url, Path(folder)) as bench:
            await bench.sweep()
            without = await measure_single_changes(bench, times)
            await bench.show_total(shown=True)
            return without, await measure_single_changes(bench, times)


async def sweeps(records: int) -> None:
    """Measure only sweeps, and print their figures."""
    with beside("accounts.py", "1", str(records)) as url, tempfile.TemporaryDirectory() as folder:
        async with watching(url, Path(folder)) as bench:
            await measure_sweeps(bench)


async def measure_sweeps(bench: Bench) -> Figures:
    """Measure the first sweep and one without changes, and print their figures; return the minimum."""
    minimum = await bench.reread()
    show("bare re-read, fetched and parsed", minimum, minimum)
    show("first sweep", minimum, await bench.sweep())
    quiet = await bench.sweep()
    show("quiet sweep", minimum, quiet)
    report("bare re-read", [minimum.seconds], "s")
    report("quiet sweep", [quiet.seconds], "s")
    report("quiet sweep, times the re-read", [quiet.seconds / minimum.seconds], "")
    report("quiet sweep, times its processor time", [quiet.processor / minimum.processor], "")
    report("quiet sweep, peak of memory", [quiet.peak], "MB")
    return minimum


async def measure_all(records: int, times: int) -> tuple[SingleChanges, SingleChanges]:
    """Measure everything in an account of this size, and print the figures; return those of single changes."""
    with beside("accounts.py", "1", str(records)) as url, tempfile.TemporaryDirectory() as folder:
        async with watching(url, Path(folder)) as bench:
            minimum = await measure_sweeps(bench)
            show("quiet round", minimum, await bench.quiet_round())
            without = await measure_single_changes(bench, times)
            show("one hidden insert", minimum, *without.inserts)
            show("one hidden deletion", minimum, *without.deletions)
            show(f"{MANY} scattered inserts", minimum, await bench.enter(MANY))
            show(f"{MANY} scattered deletions", minimum, await bench.delete(MANY))
            await bench.show_total(shown=True)
            show("quiet round, paging.total", minimum, await bench.quiet_round())
            with_total = await measure_single_changes(bench, times)
            show("one hidden insert, paging.total", minimum, *with_total.inserts)
            show("one hidden deletion, paging.total", minimum, *with_total.deletions)
            return without, with_total


def cell(without: Sequence[Figures], with_total: Sequence[Figures]) -> str:
    """Return the most requests that a change took, without `paging.total` and with it."""
    return f"{max(figures.requests for figures in without)} ({max(figures.requests for figures in with_total)})"


async def main() -> None:
    """Measure, and print the figures and the table of requests of the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000], help="other accounts, for the table")
    parser.add_argument("--sweeps-only", action="store_true", help="only the minimum, a first and a quiet sweep")
    options = parser.parse_args()
    if options.sweeps_only:
        await sweeps(options.records)
        return
    single_changes = {
        size: await measure_only_single_changes(size, options.times) for size in options.sizes if size < options.records
    }
    single_changes[options.records] = await measure_all(options.records, options.times)
    print("\n| records | full re-read | one hidden insert | one hidden deletion |\n|---|---|---|---|")
    for size, (without, with_total) in single_changes.items():
        inserts = cell(without.inserts, with_total.inserts)
        deletions = cell(without.deletions, with_total.deletions)
        print(f"| {size:,} | {-(-size // DETECTION_LIMITS.large_page):,} | {inserts} | {deletions} |")


if __name__ == "__main__":
    asyncio.run(main())
