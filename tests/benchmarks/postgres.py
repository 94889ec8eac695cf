"""Compares the daemon's work on a store in PostgreSQL with plain psycopg doing the same work in the same run.

    python -m tests.benchmarks.postgres [--events 10000] [--records 100000] [--seconds 60] [--only WORD ...]

Starts a private server, which waits for the disk (fsync) like one in production. WORD is `deliveries`, `sweep`,
`polls`, `standby` or `move`. `tests.benchmarks.takeover` measures takeovers.
"""

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from notifier.clock import SystemClock
from notifier.config import HttpSettings, load
from notifier.daemon.standby import TRY_EVERY_SECONDS
from notifier.daemon.watcher_factory import build_watcher
from notifier.destinations.webhook.envelope import single
from notifier.http.exchange import new_session
from notifier.store.file.connection import open_database
from notifier.store.file.store import FileStore
from notifier.store.postgres.connection import connect
from notifier.store.postgres.copying import back_up_schema, restore_into_schema
from notifier.store.postgres.database import Connection, PostgresDatabase
from notifier.store.postgres.location import Location
from notifier.store.postgres.store import PostgresStore
from notifier.store.queries import history
from tests.benchmarks.common import beside, report
from tests.benchmarks.delivery import SECRET, Times, notifier
from tests.benchmarks.idle import processor_seconds, resident_mb
from tests.benchmarks.sweep import fetch_pages, minimum, sweep
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.standby_pair import Member

if TYPE_CHECKING:
    from notifier.events import Event

POLLS: Final = 300
SETTLED_EVERY: Final = 0.05
"""Seconds between two transactions with outcomes in the bare loop."""

_BARE_STANDBY: Final = f"""
import psycopg, sys, time
connection = psycopg.connect(sys.argv[1], autocommit=True)
print("ready", flush=True)
while True:
    connection.execute("SELECT pg_try_advisory_lock(1, 1)")
    time.sleep({TRY_EVERY_SECONDS})
"""


@contextmanager
def schema_of(server: PostgresServer, name: str) -> Iterator[Location]:
    """Yield the URL of a new schema."""
    yield server.location(name)
    server.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')


def now_ms() -> int:
    """Return the time in Unix milliseconds."""
    return SystemClock().now_ms()


def print_comparison(what: str, unit: str, bare: Sequence[float], ours: Sequence[float], *, is_rate: bool) -> None:
    """Print the minimum, the notifier's figure, and their ratio."""
    report(f"bare psycopg, {what}", bare, unit)
    report(f"notifier, {what}", ours, unit)
    pairs = list(zip(bare, ours, strict=True))
    report(f"ratio, {what}", [mine / least for least, mine in pairs], "", "of the minimum" if is_rate else "times")


async def deliveries(server: PostgresServer, options: argparse.Namespace) -> None:
    """Compare the delivery of single events with POSTs whose outcomes are written by executemany."""
    bare, ours = [], []
    with beside("receiver.py") as port:
        url = f"http://127.0.0.1:{port}/hook"
        settings = HttpSettings.model_validate({"type": "http", "url": url, "secret": SECRET})
        for _ in range(options.rounds):
            with schema_of(server, "deliveries") as location:
                ours.append(await notifier(options.events, settings, PostgresStore(location, now_ms)))
                bare.append(await _bare_deliveries(location, url, settings))
    for figure, unit in (("passed", "events/s"), ("processor", "events/s of processor time")):
        rates = [[options.events / getattr(it, figure) for it in taken] for taken in (bare, ours)]
        print_comparison(f"deliveries, {figure}", unit, *rates, is_rate=True)


async def _bare_deliveries(location: Location, url: str, settings: HttpSettings) -> Times:
    connection = connect(location)
    db = PostgresDatabase(connection)
    events: list[Event] = []
    while page := history.events_after(db, events[-1].sequence if events else 0, 1000):
        events += page
    waiting, sent = iter(events), list[int]()

    async def loop(session: aiohttp.ClientSession) -> None:
        for event in waiting:
            async with session.post(url, data=single(event, settings.format).body) as response:
                await response.read()
            sent.append(event.sequence)

    def settle(sequences: Sequence[int]) -> None:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE deliveries SET attempts = attempts + 1, status = 200 WHERE sequence = %s",
                [(sequence,) for sequence in sequences],
            )

    async with aiohttp.ClientSession() as session:
        started = Times.now()
        loops = asyncio.gather(*(loop(session) for _ in range(settings.concurrency)))
        while not loops.done() or sent:
            await asyncio.sleep(SETTLED_EVERY)
            settled, sent[:] = list(sent), []
            await asyncio.to_thread(settle, settled)
        taken = Times.since(started)
    connection.close()
    return taken


async def sweeps(server: PostgresServer, options: argparse.Namespace) -> None:
    """Compare a first sweep with COPY of the same records, page by page, and with the minimum for a state file."""
    with beside("api.py", str(options.records)) as url, tempfile.TemporaryDirectory() as folder:
        pages = await fetch_pages(url)
        with schema_of(server, "sweep") as location:
            seconds, processor, records = await sweep(url, Path(folder), PostgresStore(location, now_ms))
        with schema_of(server, "copy") as location:
            store = PostgresStore(location, now_ms)
            await store.open()
            await store.close()
            bare, bare_processor = await asyncio.to_thread(_copy_pages, location, pages)
        in_file, _ = await asyncio.to_thread(minimum, pages, Path(folder))
    print_comparison("first sweep", "records/s", [records / bare], [records / seconds], is_rate=True)
    report("ratio of processor time, first sweep", [bare_processor / processor], "")
    report("orjson and executemany into a file", [records / in_file], "records/s")


def _copy_pages(location: Location, pages: Sequence[bytes]) -> tuple[float, float]:
    connection = connect(location)
    connection.execute("INSERT INTO sources (name) VALUES ('acme')")
    started = Times.now()
    statement = (
        "COPY records (source, key, revision, user_id, training_id, completed_on, recorded_at, seen_at, net, reason,"
        " fingerprint, record) FROM STDIN"
    )
    for page in pages:
        with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
            for record in orjson.loads(page)["completedtrainings"]:
                copy.write_row(
                    ("acme", str(record["id"]), 1, record["m_user_id"], str(record["training_id"]), "2020-02-27",
                     record["created"], 0, "sweep", "history", record["id"], orjson.dumps(record).decode())
                )  # fmt: skip
    taken = Times.since(started)
    connection.close()
    return taken


class _Recorded(PostgresDatabase):
    """A connection that records each transaction's statements."""

    def __init__(self, connection: Connection, turn: str | None = None) -> None:
        super().__init__(connection, turn)
        self.statements: list[tuple[Any, Any]] = []
        execute = connection.execute

        def noted(text: Any, values: Any = None, **options: Any) -> Any:
            self.statements.append((text, values))
            return execute(text, values, **options)

        connection.execute = noted  # type: ignore[method-assign, assignment]


async def polls(server: PostgresServer, options: argparse.Namespace) -> None:
    """Compare polls without changes with the mere statements of these polls, and with polls that use a state file."""
    with beside("api.py", "5000") as url, schema_of(server, "polls") as location, tempfile.TemporaryDirectory() as name:
        store, file_store = PostgresStore(location, now_ms), FileStore(Path(name) / "notifier.db")
        async with _watched(url, Path(name), store) as poll, _watched(url, Path(name), file_store) as poll_file:
            assert store._db is not None
            recorded = _Recorded(store._db.connection, str(store._epoch))
            before, store._db = store._db, recorded
            await poll()
            store._db = before
            del recorded.connection.execute
            bare, ours, of_file = [], [], []
            with closing(connect(location)) as connection:
                connection.execute("SELECT set_config('notifier.turn', %s, false)", [str(store._epoch)])
                for _ in range(options.rounds):
                    ours.append(await _taken(poll))
                    bare.append(await asyncio.to_thread(_replay, connection, recorded.statements))
                    of_file.append(await _taken(poll_file))
    for figure in ("passed", "processor"):
        of = [[getattr(it, figure) * 1000 for it in taken] for taken in (bare, ours, of_file)]
        report(f"bare psycopg, the {len(recorded.statements)} statements of a poll, {figure}", of[0], "ms")
        report(f"notifier, a poll, {figure}", of[1], "ms")
        report(f"notifier, a poll with a state file, {figure}", of[2], "ms")


@contextlib.asynccontextmanager
async def _watched(url: str, folder: Path, store: PostgresStore | FileStore) -> AsyncIterator[Callable[[], Any]]:
    environ = {
        "NOTIFIER_STORE__PATH": str(folder / "notifier.db"),
        "NOTIFIER_SOURCES__ACME__BASE_URL": url,
        "NOTIFIER_SOURCES__ACME__TOKEN": "sandbox",
        "NOTIFIER_SOURCES__ACME__REQUESTS_PER_MINUTE": "10000000",
    }
    settings = load(environ=environ, cwd=folder)
    await store.open()
    async with new_session() as session:
        watcher = build_watcher(settings, "acme", session, store, SystemClock(), tuple, lambda _events: None)
        await watcher.start()
        for _ in range(3):
            await watcher.poll()
        yield watcher.poll
        await watcher.stop()
    await store.close()


async def _taken(poll: Callable[[], Any]) -> Times:
    """Return the times of one poll, as the average of POLLS."""
    started = Times.now()
    for _ in range(POLLS):
        await poll()
    return Times(*(it / POLLS for it in Times.since(started)))


def _replay(connection: Connection, statements: Sequence[tuple[Any, Any]]) -> Times:
    started = Times.now()
    for _ in range(POLLS):
        for text, values in statements:
            connection.execute(text, values)
    return Times(*(it / POLLS for it in Times.since(started)))


async def standby(server: PostgresServer, options: argparse.Namespace) -> None:
    """Compare a standby with a loop that only tries a lock as often."""
    with tempfile.TemporaryDirectory() as name, beside("api.py", "5000") as api, beside("receiver.py") as port:
        members = Member(Path(name) / "one"), Member(Path(name) / "other")
        command = [sys.executable, "-c", _BARE_STANDBY, server.url()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bare:
            try:
                for member, state in zip(members, ("holds", "stands_by"), strict=True):
                    member.configure_for(server.url(), api, f"http://127.0.0.1:{port}", name="standby")
                    member.start()
                    while not await asyncio.to_thread(getattr, member, state):
                        await asyncio.sleep(0.05)
                process = members[1].process
                assert process is not None
                pids = bare.pid, process.pid
                before = [processor_seconds(pid) for pid in pids]
                await asyncio.sleep(options.seconds)
                used = [processor_seconds(pid) - took for pid, took in zip(pids, before, strict=True)]
                memory = [resident_mb(pid) for pid in pids]
            finally:
                bare.kill()
                for member in members:
                    if member.process is not None:
                        await asyncio.to_thread(member.kill)
    for who, megabytes, seconds in zip(("bare loop", "notifier"), memory, used, strict=True):
        report(f"{who}, standby: memory", [megabytes], "MB")
        report(f"{who}, standby: share of a core", [seconds / options.seconds * 100], "%")


async def move(server: PostgresServer, options: argparse.Namespace) -> None:
    """Compare copying a state file into a schema and back with COPY of only the table of records."""
    with (
        beside("api.py", str(options.records)) as url,
        tempfile.TemporaryDirectory() as name,
        schema_of(server, "moved") as location,
        schema_of(server, "bare") as other,
    ):
        file = Path(name) / "notifier.db"
        await sweep(url, Path(name), FileStore(file))
        started = time.perf_counter()
        await asyncio.to_thread(restore_into_schema, location, file, _unseen, now_ms())
        moved_in = time.perf_counter() - started
        started = time.perf_counter()
        await asyncio.to_thread(back_up_schema, location, Path(name) / "back.db", _unseen)
        moved_out = time.perf_counter() - started
        store = PostgresStore(other, now_ms)
        await store.open()
        await store.close()
        bare_in, bare_out = await asyncio.to_thread(_bare_copy, other, file)
    print_comparison(f"{options.records} records into a schema", "s", [bare_in], [moved_in], is_rate=False)
    print_comparison(f"{options.records} records out of it", "s", [bare_out], [moved_out], is_rate=False)


def _bare_copy(location: Location, file: Path) -> tuple[float, float]:
    with closing(open_database(file)) as db, closing(connect(location)) as connection:
        connection.execute("INSERT INTO sources (name) VALUES ('acme')")
        columns = ", ".join(row[1] for row in db.execute("PRAGMA table_info('records')").fetchall())
        started = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy(f"COPY records ({columns}) FROM STDIN".encode()) as copy:
            for row in db.execute(f"SELECT {columns} FROM records"):
                copy.write_row(row)
        there = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy(f"COPY records ({columns}) TO STDOUT".encode()) as copy:
            for _ in copy:
                pass
        return there - started, time.perf_counter() - there


def _unseen(_done: int, _total: int) -> None:
    pass


BENCHMARKS: Final = {"deliveries": deliveries, "sweep": sweeps, "polls": polls, "standby": standby, "move": move}


def main() -> None:
    """Run the requested measurements one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    options = parser.parse_args()
    with running_postgres(durable=True) as server:
        for word in options.only:
            asyncio.run(BENCHMARKS[word](server, options))


if __name__ == "__main__":
    main()
