"""A state file in use for years: tables that grow besides events and records, the write-ahead log, statistics."""

import _sqlite3
import ctypes
import re
import sqlite3
from contextlib import closing

from notifier.store import pruning
from notifier.store.database import Database
from notifier.store.file import maintenance
from notifier.store.file.connection import FileDatabase
from notifier.store.file.maintenance import log_size
from notifier.store.file.store import FileStore
from notifier.store.pruning import REBUILDS_KEPT, SWEEPS_KEPT
from notifier.store.tables import outbox, sources, sweeps
from notifier.store.tables.sweeps import SweptPage
from tests.integration.store.conftest import WriteEvents
from tests.support.memory import fill

LIMIT = 8_000_000


def sweep_once(db: Database, source: str, *, finish: bool = True) -> int:
    sweep = sweeps.resume_or_start(db, source, 0)
    sweeps.advance(db, SweptPage(sweep.id, 1, 1, 10, 0, marks=True), changes=0, ids=b"12345678")
    if finish:
        sweeps.finish(db, sweep, 0)
    return sweep.id


def test_prune_deletes_old_sweeps_but_keeps_the_pages_of_an_unfinished_one(db: Database) -> None:
    sources.read_or_create(db, "globex")
    acme = [sweep_once(db, "acme") for _ in range(SWEEPS_KEPT + 5)]
    globex = [sweep_once(db, "globex"), sweep_once(db, "globex", finish=False)]
    db.execute("INSERT INTO sweep_pages (sweep, page, unreadable, ids) VALUES (?, 9, 0, ?)", [acme[0], b""])
    pruning.prune(db, 0)
    assert [row[0] for row in db.execute("SELECT id FROM sweeps ORDER BY id")] == [*acme[-SWEEPS_KEPT:], *globex]
    assert [row[0] for row in db.execute("SELECT sweep FROM sweep_pages")] == [globex[-1]]
    latest = sweeps.latest(db, "acme")
    assert latest is not None
    assert latest.id == acme[-1]


def test_prune_keeps_the_latest_rebuilds(db: Database) -> None:
    db.executemany("INSERT INTO rebuilds (at, problem, lost) VALUES (?, '', '')", [(at,) for at in range(50)])
    pruning.prune(db, 0)
    kept = [row[0] for row in db.execute("SELECT at FROM rebuilds ORDER BY at")]
    assert kept == [*range(50 - REBUILDS_KEPT, 50)]


async def test_write_ahead_log_stays_small_under_many_writes(store: FileStore) -> None:
    largest = 0
    for _ in range(10):
        await store.run(fill, 4)
        largest = max(largest, log_size(store.path))
    # Four megabytes at which SQLite begins to write into the file, and a transaction's own four.
    assert 0 < largest < 10_000_000
    await store.run_without_transaction(maintenance.checkpoint)
    assert log_size(store.path) == 0


async def test_checkpoint_truncates_the_write_ahead_log_once_a_long_reader_has_ended(store: FileStore) -> None:
    await store.run(fill, 1)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM people").fetchone()
        for _ in range(10):
            await store.run(fill, 3)
        assert log_size(store.path) > 25_000_000
        # The checkpoint does not wait for the reader.
        await store.run_without_transaction(maintenance.checkpoint)
        reader.execute("COMMIT")
    await store.run_without_transaction(maintenance.checkpoint)
    assert log_size(store.path) == 0
    assert await store.run(lambda db: db.execute("PRAGMA busy_timeout").fetchone()[0]) == 5000


async def test_read_due_uses_the_right_indexes_after_analyze(store: FileStore, write_events: WriteEvents) -> None:
    def live(db: Database) -> None:
        sources.read_or_create(db, "acme")
        write_events(db, *(str(number) for number in range(3_000)))
        db.execute("UPDATE deliveries SET state = 'delivered' WHERE sequence < 2950")

    await store.run(live)
    await store.run_without_transaction(lambda db: db.execute("ANALYZE").fetchall())
    await store.run_without_transaction(maintenance.optimize)

    def plans(db: FileDatabase) -> list[str]:
        seen: list[str] = []
        db.conn.set_trace_callback(seen.append)
        outbox.read_due(db, "hr", now_ms=1, horizon_ms=2, limit=10, in_flight=())
        db.conn.set_trace_callback(None)
        return ["\n".join(str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {query}")) for query in seen]

    delayed, *due = await store.run_without_transaction(plans)
    assert "INDEX deliveries_delayed" in delayed
    assert len(due) == 2
    for part in due:
        assert re.search(r"SEARCH d USING (COVERING )?INDEX deliveries_unfinished", part), part


def test_release_memory_frees_cached_pages(file_db: FileDatabase) -> None:
    used_bytes = ctypes.CDLL(_sqlite3.__file__).sqlite3_memory_used
    used_bytes.restype = ctypes.c_int64
    fill(file_db, 4)
    filled = used_bytes()
    maintenance.release_memory(file_db)
    assert used_bytes() < filled - 1_000_000
