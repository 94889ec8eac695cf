"""Kills the holder of a store in PostgreSQL at random times under load, and measures how the other daemon takes over.

    python -m tests.benchmarks.takeover [--kills 200] [--rate 40] [--seed 1]

Two real daemons share a schema on a private server, and the account grows steadily. After each SIGKILL, the time until
the next event arrives is measured, and the killed daemon is started again. The minimum is a process that holds an
advisory lock and is killed, while another process tries the lock as often as a standby does.

At the end, it counts records without an event (lost), records with events of two ids, and events that arrived twice. It
fails if there are any of the first two.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from aiohttp import web

from notifier.daemon.standby import TRY_EVERY_SECONDS
from notifier.sandbox.account import Account
from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.benchmarks.common import report
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.program import Receiver, served
from tests.support.servers import serving
from tests.support.standby_pair import Member

DEADLINE_SECONDS: Final = 60.0

_HOLD: Final = """
import psycopg, sys, time
connection = psycopg.connect(sys.argv[1], autocommit=True)
connection.execute("SELECT pg_advisory_lock(1, 1)")
print("held", flush=True)
time.sleep(600)
"""


@dataclass
class TimedReceiver(Receiver):
    """A receiver that records when each event arrived."""

    arrived: list[float] = field(default_factory=list)

    async def hook(self, request: web.Request) -> web.Response:
        """Receive an event."""
        answer = await super().hook(request)
        self.arrived.append(time.monotonic())
        return answer


def bare_takeover(server: PostgresServer) -> float:
    """Return the seconds from the kill of a process that holds a lock until another process has the lock."""
    command = [sys.executable, "-c", _HOLD, server.url()]
    with (
        psycopg.connect(server.url(), autocommit=True) as connection,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        began = time.monotonic()
        time.sleep(random.random() * TRY_EVERY_SECONDS)
        holder.kill()
        killed = time.monotonic()
        for attempt in itertools.count(1):
            time.sleep(max(0.0, began + attempt * TRY_EVERY_SECONDS - time.monotonic()))
            row = connection.execute("SELECT pg_try_advisory_lock(1, 1)").fetchone()
            if row is not None and row[0]:
                return time.monotonic() - killed
    raise AssertionError


async def until_state(member: Member, state: str) -> None:
    """Wait until a member `holds` or `stands_by`."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await asyncio.to_thread(getattr, member, state):
        if time.monotonic() > deadline:
            raise TimeoutError(member.said()[-3000:])
        await asyncio.sleep(0.02)


async def kill_again_and_again(
    members: Sequence[Member], receiver: TimedReceiver, kills: int, moments: random.Random
) -> list[float]:
    """Kill the holder repeatedly; return the seconds until the next event arrived for each kill."""
    taken = []
    holder, other = members
    for _ in range(kills):
        await until_state(holder, "holds")
        await until_state(other, "stands_by")
        await asyncio.sleep(moments.random())
        holder.kill()
        killed = time.monotonic()
        # Requests of the killed daemon may still arrive.
        already = 0.05
        while not receiver.arrived or receiver.arrived[-1] < killed + already:
            if time.monotonic() > killed + DEADLINE_SECONDS:
                raise TimeoutError(other.said()[-3000:])
            await asyncio.sleep(0.005)
        taken.append(next(at for at in receiver.arrived if at >= killed + already) - killed)
        holder.start()
        holder, other = other, holder
    return taken


def numbers(account: Account) -> set[str]:
    """Return the ids of all records."""
    return {str(record.id) for record in account.records()}


async def measure(server: PostgresServer, options: argparse.Namespace, folder: Path) -> bool:
    """Measure, print the figures, and return whether no record is lost or has two ids."""
    account, receiver = build_account(200), TimedReceiver()
    app = web.Application()
    app.add_routes([web.post("/hook", receiver.hook)])
    members = Member(folder / "one"), Member(folder / "other")
    async with served(account) as api, serving(app, shutdown_timeout=1.0) as receiver.url:
        try:
            for member in members:
                member.configure_for(server.url(), api, receiver.url)
                member.start()
                await until_state(member, "holds" if member is members[0] else "stands_by")
            while "sweep has read the whole list" not in members[0].said():
                await asyncio.sleep(0.1)
            history = numbers(account)
            growing = asyncio.create_task(Growth(account, seed=options.seed).run(options.rate))
            taken = await kill_again_and_again(members, receiver, options.kills, random.Random(options.seed))
            growing.cancel()
            entered = numbers(account) - history
            deadline = time.monotonic() + DEADLINE_SECONDS
            while not entered <= set(receiver.subjects) and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
        finally:
            for member in members:
                if member.process is not None and member.process.poll() is None:
                    await asyncio.to_thread(member.kill)
    minimum = [bare_takeover(server) for _ in range(options.kills)]
    return print_results(receiver.events, entered, minimum, taken)


def print_results(
    events: Sequence[dict[str, Any]], entered: set[str], minimum: Sequence[float], taken: Sequence[float]
) -> bool:
    """Print the figures, and return whether no record is lost or has two ids."""
    report("bare lock, from the kill until it is taken", minimum, "s", f"99 %: {percentile_99(minimum):.3f} s")
    report("takeover, from the kill to the next event", taken, "s", f"99 %: {percentile_99(taken):.3f} s")
    report("takeover beyond the minimum", [statistics.median(taken) - statistics.median(minimum)], "s")
    lost = entered - {event["subject"] for event in events}
    ids = Counter(subject for subject, _ in {(event["subject"], event["id"]) for event in events})
    second = [subject for subject, count in ids.items() if count > 1]
    times = Counter(event["id"] for event in events)
    doubled = [id_ for id_, count in times.items() if count > 1]
    report("records lost", [len(lost)], "", f"of {len(entered)} that have events, with {len(times)} ids")
    report("records with two ids", [len(second)], "")
    report("events that arrived more than once", [len(doubled)], "", f"at {len(taken)} kills")
    return not lost and not second


def percentile_99(figures: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return sorted(figures)[min(len(figures) - 1, round(len(figures) * 0.99))]


def main() -> None:
    """Measure, and exit with 1 if a record is lost or has two ids."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rate", type=float, default=40.0, help="new records a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with running_postgres(durable=True) as server, tempfile.TemporaryDirectory() as folder:
        is_well = asyncio.run(measure(server, options, Path(folder)))
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
