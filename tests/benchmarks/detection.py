"""What it costs to find changes out of sight in a large account, beside reading all of it again.

    python -m tests.benchmarks.detection [--records 1000000] [--times 10] [--sizes 10000 100000] [--sweeps-only]

The API is a process beside this one, without a rate limit; in this one works the notifier's watching half with a state
file. Head polls read pages of 100, everything else pages of 1000. The floor fetches and parses every page, and does
nothing with it. Requests are all that the rounds make until everything is told, their head polls and counts included;
rests between searches, and the wait for a second look, are left out. What was changed must be found, and nothing else.
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
from notifier.watch.watcher import RoundResult, Watcher
from tests.benchmarks.common import beside, report

MANY = 500
CONFIRM_SECONDS = 1
MAX_ROUNDS = 200
UNRESTING = replace(
    DETECTION_LIMITS, search_seconds_a_page=0.0, sweep_seconds_a_page=0.0, first_search_retry_seconds=0.0
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one thing took; `peak` is the most memory that this process held meanwhile, in MB.

    `processor` is the processor time of this process in seconds.
    """

    requests: int
    seconds: float
    peak: float
    processor: float = 0.0


class Peak:
    """The most memory that this process has held since the last look."""

    def __init__(self) -> None:
        self._forget()

    def take(self) -> float:
        """Return it in MB, and begin anew."""
        status = Path("/proc/self/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
        self._forget()
        return peak

    def _forget(self) -> None:
        # See proc(5): 5 resets the peak, which ru_maxrss would keep for as long as the process lives.
        Path("/proc/self/clear_refs").write_text("5")


class Bench:
    """One account, and the watcher that looks after it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, watcher: Watcher, events: list[Event]) -> None:
        """Take where the account is, and the list that the watcher's events are added to."""
        self._url = url
        self._session = session
        self._watcher = watcher
        self._events = events
        self._peak = Peak()

    async def reread(self) -> Figures:
        """Fetch and parse the whole list: the floor."""
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
        """Read the whole list; there must be nothing to tell of it."""
        return await self._expect(self._watcher.begin_sweep, EventType.CREATED, [])

    async def quiet_round(self) -> Figures:
        """Do a round when nothing has changed."""
        return await self._expect(self._round, EventType.CREATED, [])

    async def enter(self, count: int = 1) -> Figures:
        """Find so many records that were entered out of sight."""
        return await self._expect(self._round, EventType.CREATED, await self._control("enter", count=count))

    async def delete(self, count: int = 1) -> Figures:
        """Find that so many records out of sight are gone."""
        return await self._expect(self._round, EventType.REMOVED, await self._control("delete", count=count))

    async def show_total(self, *, shown: bool) -> None:
        """Let the API tell `paging.total`, or not."""
        await self._control("total", shown=shown)

    async def _round(self) -> None:
        assert (await self._watcher.poll()).result is RoundResult.DONE
        await self._watcher.run_followups()

    async def _expect(self, work: Callable[[], Awaitable[None]], kind: EventType, changed: Sequence[int]) -> Figures:
        """Measure `work` and all that it begins: it must find what changed, and nothing else."""
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
    """Watch account 0 with a new state file; the first round is done."""
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
class Lone:
    """Lone changes, one after the other, each out of sight at a random place."""

    inserts: Sequence[Figures]
    deletions: Sequence[Figures]


async def lone_changes(bench: Bench, times: int) -> Lone:
    """Measure so many lone changes of each kind."""
    return Lone([await bench.enter() for _ in range(times)], [await bench.delete() for _ in range(times)])


def show(name: str, floor: Figures, *figures: Figures) -> None:
    """Print medians, the range of requests, the highest peak, and the ratio of the seconds to the floor's."""
    requests = sorted(figure.requests for figure in figures)
    seconds = statistics.median(figure.seconds for figure in figures)
    span = f"({requests[0]} to {requests[-1]})" if len(figures) > 1 else ""
    peak = max(figure.peak for figure in figures)
    print(
        f"{name:<36} {statistics.median(requests):>6.0f} {span:<12} requests {seconds:>9.3f} s {peak:>6.0f} MB"
        f" {seconds / floor.seconds:>8.4f} of the floor",
        flush=True,
    )


async def lone_only(records: int, times: int) -> tuple[Lone, Lone]:
    """Measure lone changes in an account of so many records, without `paging.total` and with it."""
    with beside("accounts.py", "1", str(records)) as url, tempfile.TemporaryDirectory() as folder:
        async with watching(url, Path(folder)) as bench:
            await bench.sweep()
            without = await lone_changes(bench, times)
            await bench.show_total(shown=True)
            return without, await lone_changes(bench, times)


async def sweeps(records: int) -> None:
    """Measure the sweeps alone, and print them."""
    with beside("accounts.py", "1", str(records)) as url, tempfile.TemporaryDirectory() as folder:
        async with watching(url, Path(folder)) as bench:
            await measure_sweeps(bench)


async def measure_sweeps(bench: Bench) -> Figures:
    """Measure the first scan and a quiet one, and print them; return the floor."""
    floor = await bench.reread()
    show("bare re-read, fetched and parsed", floor, floor)
    show("first sweep", floor, await bench.sweep())
    quiet = await bench.sweep()
    show("quiet sweep", floor, quiet)
    report("bare re-read", [floor.seconds], "s")
    report("quiet sweep", [quiet.seconds], "s")
    report("quiet sweep, times the re-read", [quiet.seconds / floor.seconds], "")
    report("quiet sweep, times its processor time", [quiet.processor / floor.processor], "")
    report("quiet sweep, peak of memory", [quiet.peak], "MB")
    return floor


async def everything(records: int, times: int) -> tuple[Lone, Lone]:
    """Measure all there is in an account of so many records, and print it; return the lone changes."""
    with beside("accounts.py", "1", str(records)) as url, tempfile.TemporaryDirectory() as folder:
        async with watching(url, Path(folder)) as bench:
            floor = await measure_sweeps(bench)
            show("quiet round", floor, await bench.quiet_round())
            without = await lone_changes(bench, times)
            show("one hidden insert", floor, *without.inserts)
            show("one hidden deletion", floor, *without.deletions)
            show(f"{MANY} scattered inserts", floor, await bench.enter(MANY))
            show(f"{MANY} scattered deletions", floor, await bench.delete(MANY))
            await bench.show_total(shown=True)
            show("quiet round, paging.total", floor, await bench.quiet_round())
            with_total = await lone_changes(bench, times)
            show("one hidden insert, paging.total", floor, *with_total.inserts)
            show("one hidden deletion, paging.total", floor, *with_total.deletions)
            return without, with_total


def cell(without: Sequence[Figures], with_total: Sequence[Figures]) -> str:
    """Write the requests that changes took at most, without `paging.total` and with it."""
    return f"{max(figures.requests for figures in without)} ({max(figures.requests for figures in with_total)})"


async def main() -> None:
    """Measure, and print the figures, and then the table of requests as the documentation has it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000], help="other accounts, for the table")
    parser.add_argument("--sweeps-only", action="store_true", help="only the floor, a first and a quiet sweep")
    asked = parser.parse_args()
    if asked.sweeps_only:
        await sweeps(asked.records)
        return
    lone = {size: await lone_only(size, asked.times) for size in asked.sizes if size < asked.records}
    lone[asked.records] = await everything(asked.records, asked.times)
    print("\n| records | full re-read | one hidden insert | one hidden deletion |\n|---|---|---|---|")
    for size, (without, with_total) in lone.items():
        inserts = cell(without.inserts, with_total.inserts)
        deletions = cell(without.deletions, with_total.deletions)
        print(f"| {size:,} | {-(-size // DETECTION_LIMITS.large_page):,} | {inserts} | {deletions} |")


if __name__ == "__main__":
    asyncio.run(main())
