"""Measures many sources in one process: the lateness of their head polls, and processor time and memory.

    python -m tests.benchmarks.sources [--sources 200] [--interval 5] [--seconds 60] [--profile FILE]
    python -m tests.benchmarks.sources --sources 1000 --interval 60 --seconds 120

One process serves the accounts, with 500 records each. First, a plain aiohttp loop sends the same requests at the same
intervals, and ignores the answers; this is the minimum. Then the daemon runs, started by `notifier run`.

A poll's lateness is the time from its planned time to its arrival at the API. The plan is fixed in advance: the
daemon's status says when each source is polled next, and the following polls are one interval apart. In contrast to
the time between two arrivals, this also shows polls that are all equally late, and missing ones. All processes use the
same wall clock.
"""

import argparse
import asyncio
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import aiohttp
import orjson

from notifier.cli.daemon_client import request
from tests.benchmarks.accounts import HEAD_PAGE
from tests.benchmarks.common import beside, report
from tests.benchmarks.idle import processor_seconds, resident_mb

RECORDS = 500

_EARLY = 0.002
"""Seconds by which a poll may come before its moment: the status tells it in whole milliseconds."""

_GRACE = 5.0
"""Seconds, at most, after which a poll that has not come counts as left out."""

_WARM_UP = 120.0

_MAX_MINIMUM_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A process that polls. `due` has, for each account, a time (Unix seconds) at which it is polled."""

    pid: int
    due: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures: lateness in seconds, `cpu` as a share of a core, `memory` in MB."""

    late: Sequence[float]
    left_out: int
    cpu: float
    memory: float

    def line(self, name: str) -> str:
        """Return the figures as a line."""
        percentiles = statistics.quantiles(self.late, n=100, method="inclusive")
        p50, p99, worst = (1000 * seconds for seconds in (percentiles[49], percentiles[98], max(self.late)))
        return (
            f"{name:<18} {len(self.late):>6} polls, {self.left_out} left out   late p50 {p50:.1f} ms   p99 {p99:.1f} ms"
            f"   most {worst:.1f} ms   {100 * self.cpu:.1f} % of a core   {self.memory:.0f} MB"
        )


def lateness(
    due: float, interval: float, begin: float, end: float, arrivals: Sequence[float]
) -> Iterator[float | None]:
    """Yield, for each poll planned between two times, how many seconds late it was; None if it is missing."""
    planned = due + math.ceil((begin - due) / interval) * interval
    window_seconds = min(interval, _GRACE) - _EARLY
    while planned < end:
        came = next((moment for moment in arrivals if planned - _EARLY <= moment < planned + window_seconds), None)
        yield None if came is None else came - planned
        planned += interval


@contextmanager
def daemon(url: str, sources: int, interval: float, profile: str | None) -> Iterator[Subject]:
    """Run the daemon; yield it after the first sweep of every account."""
    with tempfile.TemporaryDirectory() as folder:
        config, state_file = Path(folder, "config.toml"), Path(folder, "notifier.db")
        config.write_text("\n".join(configuration(url, sources, interval, state_file)))
        profiling = ["-m", "cProfile", "-o", profile] if profile else []
        command = [sys.executable, *profiling, "-m", "notifier", "run", "--config", str(config)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            yield Subject(process.pid, next_polls(state_file, interval))
        finally:
            process.terminate()
            process.wait(timeout=30)


def configuration(url: str, sources: int, interval: float, state_file: Path) -> Iterator[str]:
    """Yield the lines of a configuration in which each source may send the requests that its polls need."""
    # A poll sends up to two requests, and polls may use four fifths of all requests.
    requests = max(30, math.ceil(60 / interval * 2 / 0.8))
    yield f'[store]\npath = "{state_file}"\n[http]\nlisten = ""'
    for number in range(sources):
        yield f'[sources.s{number}]\nbase_url = "{url}/{number}/v1"\ntoken = "sandbox"\nnames = false'
        yield f'poll_interval = "{interval:g}s"\npage_size = {HEAD_PAGE}\nrequests_per_minute = {requests}'


def next_polls(state_file: Path, interval: float) -> dict[int, float]:
    """Wait for the sweep of every source; return the time of each source's next poll."""
    deadline = time.monotonic() + interval + _WARM_UP
    while time.monotonic() < deadline:
        time.sleep(1.0)
        answer = request(state_file, "GET", "/v1/status", timeout=30.0)
        found = answer.body["sources"] if answer else {}
        if found and all(source["sweep"] and source["sweep"]["finished_at"] for source in found.values()):
            return {int(name[1:]): datetime.fromisoformat(of["next_poll"]).timestamp() for name, of in found.items()}
    raise TimeoutError("the sources were not all swept in time")


@contextmanager
def bare(url: str, sources: int, interval: float) -> Iterator[Subject]:
    """Run the plain loop in a separate process."""
    module = ["-m", "tests.benchmarks.sources", "--only-bare", url]
    command = [sys.executable, *module, "--sources", str(sources), "--interval", str(interval)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        due = json.loads(process.stdout.readline())
        time.sleep(min(interval, _GRACE))
        yield Subject(process.pid, {int(number): moment for number, moment in due.items()})
    finally:
        process.terminate()
        process.wait(timeout=30)


async def poll_barely(url: str, sources: int, interval: float) -> None:
    """Request every account's page and count at times that are printed first; never return."""
    began = time.time() + 1
    due = {number: began + number / sources * interval for number in range(sources)}
    print(json.dumps(due), flush=True)

    async def ask_for(session: aiohttp.ClientSession, number: int, limit: int) -> None:
        body = orjson.dumps({"token": "sandbox", "page": 1, "limit": limit})
        async with session.post(f"{url}/{number}/v1/completedtrainings.v2.list", data=body) as response:
            orjson.loads(await response.read())

    async def keep_polling(session: aiohttp.ClientSession, number: int, planned: float) -> None:
        while True:
            await asyncio.sleep(planned - time.time())
            await ask_for(session, number, HEAD_PAGE)
            await ask_for(session, number, 1)
            planned += interval

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(keep_polling(session, number, planned) for number, planned in due.items()))


async def measure(url: str, subject: Subject, interval: float, seconds: float) -> Figures:
    """Measure a polling process for a number of seconds."""
    async with aiohttp.ClientSession() as session:

        async def arrivals() -> dict[int, list[float]]:
            async with session.get(f"{url}/control/arrivals") as response:
                return {int(number): moments for number, moments in (await response.json()).items()}

        await arrivals()
        begin, used_before = time.time(), processor_seconds(subject.pid)
        await asyncio.sleep(seconds)
        end, used = time.time(), processor_seconds(subject.pid) - used_before
        memory = resident_mb(subject.pid)
        await asyncio.sleep(min(interval, _GRACE))
        came = await arrivals()
    polls = [
        late
        for number, due in subject.due.items()
        for late in lateness(due, interval, begin, end, came.get(number, []))
    ]
    late = [seconds for seconds in polls if seconds is not None]
    return Figures(late, len(polls) - len(late), used / (end - begin), memory)


def main() -> None:
    """Measure the plain loop and the daemon, and print the figures and the ratio of processor time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=200)
    parser.add_argument("--interval", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--profile", metavar="FILE", help="let cProfile watch the daemon, which slows it down")
    parser.add_argument("--only-bare", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_bare:
        asyncio.run(poll_barely(options.only_bare, options.sources, options.interval))
        return
    with beside("accounts.py", str(options.sources), str(RECORDS)) as url:
        with bare(url, options.sources, options.interval) as subject:
            minimum = asyncio.run(measure(url, subject, options.interval, min(options.seconds, _MAX_MINIMUM_SECONDS)))
        print(minimum.line("bare aiohttp loop"), flush=True)
        with daemon(url, options.sources, options.interval, options.profile) as subject:
            ours = asyncio.run(measure(url, subject, options.interval, options.seconds))
        print(ours.line("notifier"))
    polls_a_second = options.sources / options.interval
    report("bare loop, processor time a poll", [1000 * minimum.cpu / polls_a_second], "ms")
    report("notifier, processor time a poll", [1000 * ours.cpu / polls_a_second], "ms")
    report("processor time, times the minimum's", [ours.cpu / minimum.cpu], "")
    report("notifier, lateness p99", [1000 * statistics.quantiles(ours.late, n=100, method="inclusive")[98]], "ms")
    report("notifier, polls left out", [ours.left_out], "")
    report("notifier, memory", [ours.memory], "MB")


if __name__ == "__main__":
    main()
