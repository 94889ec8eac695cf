"""Many sources in one process: how late their head polls are, and what they take of the machine.

    python -m tests.benchmarks.sources [--sources 200] [--interval 5] [--seconds 60] [--profile FILE]
    python -m tests.benchmarks.sources --sources 1000 --interval 60 --seconds 120

Three processes: the accounts, of 500 records each; the daemon, as `notifier run` starts it; and, before it, a bare
aiohttp loop that asks the same of the accounts at the same intervals, and does nothing with the answers.

A poll's lateness is the time from the moment it was planned for to its arrival at the API. The plan is a grid: the
daemon says in its status when it polls each source next, and from there on it is every interval. That sees what the
time between two arrivals would hide: polls that are all equally late, and those that are left out. The plan is made of
wall-clock time, of which all processes read the same.
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

_LONGEST_FLOOR = 60.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A process that polls; `due` is a moment (Unix seconds) at which each account is polled, by its number."""

    pid: int
    due: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; lateness in seconds, `cpu` as a share of a core, `memory` in MB."""

    late: Sequence[float]
    left_out: int
    cpu: float
    memory: float

    def told(self, name: str) -> str:
        """Write it as a line."""
        percentiles = statistics.quantiles(self.late, n=100, method="inclusive")
        p50, p99, worst = (1000 * seconds for seconds in (percentiles[49], percentiles[98], max(self.late)))
        return (
            f"{name:<18} {len(self.late):>6} polls, {self.left_out} left out   late p50 {p50:.1f} ms   p99 {p99:.1f} ms"
            f"   most {worst:.1f} ms   {100 * self.cpu:.1f} % of a core   {self.memory:.0f} MB"
        )


def lateness(
    due: float, interval: float, begin: float, end: float, arrivals: Sequence[float]
) -> Iterator[float | None]:
    """Yield for each poll planned between two moments by how many seconds it came late; None where it did not come."""
    planned = due + math.ceil((begin - due) / interval) * interval
    window_seconds = min(interval, _GRACE) - _EARLY
    while planned < end:
        came = next((moment for moment in arrivals if planned - _EARLY <= moment < planned + window_seconds), None)
        yield None if came is None else came - planned
        planned += interval


@contextmanager
def daemon(url: str, sources: int, interval: float, profile: str | None) -> Iterator[Subject]:
    """Run the daemon; yield it when it has read every account for the first time."""
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
    """Write a configuration, line by line: each source with as many requests as its polls need, or the default."""
    # A poll may take two requests, and polls four fifths of them all.
    requests = max(30, math.ceil(60 / interval * 2 / 0.8))
    yield f'[store]\npath = "{state_file}"\n[http]\nlisten = ""'
    for number in range(sources):
        yield f'[sources.s{number}]\nbase_url = "{url}/{number}/v1"\ntoken = "sandbox"\nnames = false'
        yield f'poll_interval = "{interval:g}s"\npage_size = {HEAD_PAGE}\nrequests_per_minute = {requests}'


def next_polls(state_file: Path, interval: float) -> dict[int, float]:
    """Wait until every source has been swept; return when each is polled next."""
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
    """Run the bare loop in a process of its own."""
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
    """Poll every account, its page and its count, at moments that are printed first; never return."""
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
    """Watch a process that polls for so many seconds."""
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
    """Measure the bare loop and the daemon, and print figures and the ratio of what they take of a core."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=200)
    parser.add_argument("--interval", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--profile", metavar="FILE", help="let cProfile watch the daemon, which slows it down")
    parser.add_argument("--only-bare", metavar="URL", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only_bare:
        asyncio.run(poll_barely(asked.only_bare, asked.sources, asked.interval))
        return
    with beside("accounts.py", str(asked.sources), str(RECORDS)) as url:
        with bare(url, asked.sources, asked.interval) as subject:
            floor = asyncio.run(measure(url, subject, asked.interval, min(asked.seconds, _LONGEST_FLOOR)))
        print(floor.told("bare aiohttp loop"), flush=True)
        with daemon(url, asked.sources, asked.interval, asked.profile) as subject:
            ours = asyncio.run(measure(url, subject, asked.interval, asked.seconds))
        print(ours.told("notifier"))
    polls_a_second = asked.sources / asked.interval
    report("bare loop, processor time a poll", [1000 * floor.cpu / polls_a_second], "ms")
    report("notifier, processor time a poll", [1000 * ours.cpu / polls_a_second], "ms")
    report("processor time, times the floor's", [ours.cpu / floor.cpu], "")
    report("notifier, lateness p99", [1000 * statistics.quantiles(ours.late, n=100, method="inclusive")[98]], "ms")
    report("notifier, polls left out", [ours.left_out], "")
    report("notifier, memory", [ours.memory], "MB")


if __name__ == "__main__":
    main()
