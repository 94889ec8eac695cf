"""A state file is copied into a schema and back, and its content stays the same."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from notifier.events import Change, DetectedBy, EventType
from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.backup import BackupError
from notifier.store.file.connection import open_database, open_file_read_only
from notifier.store.postgres import copying
from notifier.store.postgres.copying import back_up_schema, restore_into_schema
from notifier.store.postgres.holders import SKIPPED_EVENT_NUMBERS
from notifier.store.postgres.location import Location
from notifier.store.postgres.reading import open_schema_read_only
from notifier.store.postgres.store import PostgresStore
from notifier.store.queries import feed
from notifier.store.recovery import essentials
from notifier.store.recovery.snapshot import Snapshot
from notifier.store.subscriptions import Subscription
from notifier.store.tables import names, records, sources, sweeps
from notifier.store.tables.names import PersonName
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.settlements import Settlement, store_settlements
from notifier.store.tables.sweeps import SweptPage
from tests.integration.store.conftest import MakeCompletion, WriteEvents
from tests.support.postgres_server import PostgresServer
from tests.support.table_rows import STORE_TABLES, table_rows

NOW = 1_795_280_400_000
COPIED = [table for table in STORE_TABLES if table != "essentials_stamps"]


@pytest.fixture
def location(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Location]:
    name = f"copy-{abs(hash(request.node.nodeid)) % 10**9}"
    yield postgres_server.location(name)
    postgres_server.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')


@pytest.fixture
def used_file(path: Path, write_events: WriteEvents, completion: MakeCompletion) -> Path:
    """A state file with values of many kinds: large numbers, unusual characters, NULLs, binary marks."""
    with closing(open_database(path)) as db, db.atomic():
        sources.read_or_create(db, "acme")
        sources.write(db, "acme", first_contact_ms=2**63 - 1, last_success_ms=5)
        write_events(db, "1", "2", to=("hr", "gate"))
        odd = completion("\U0001f9ef'\"", {"notes": "\x00\\u0000 \ud83e\uddef"}, notes="\x00", completed_on=None)
        learned = [SilentRecord(odd, DetectedBy.SWEEP, "history")]
        gone = Change(EventType.REMOVED, completion("2"), 2, DetectedBy.SWEEP, "gone")
        found = Findings("acme", "acme", learned, [gone])
        records.write(db, found, [Subscription("hr", frozenset(EventType))], 7)
        store_settlements(
            db, [Settlement((1,), "hr", DeliveryState.DEAD, "d", "r", 400, "no", 5, 9, 0, detected_ms=(1,))]
        )
        names.store_people(db, "acme", [PersonName("1", "Zo\u00eb \U0001f9ef", None)])
        sweep = sweeps.resume_or_start(db, "acme", 5)
        sweeps.advance(db, SweptPage(sweep.id, 1, None, 3, 0, marks=True), changes=0, ids=bytes(range(256)))
    return path


def ignore_progress(_done: int, _total: int) -> None:
    pass


def test_restore_and_back_up_of_a_schema_keep_all_rows(used_file: Path, location: Location, tmp_path: Path) -> None:
    copy = restore_into_schema(location, used_file, ignore_progress, NOW).copy
    assert (copy.last_success_ms, copy.pending) == (5, 4)
    back = tmp_path / "back.db"
    assert back_up_schema(location, back, ignore_progress).pending == 4
    assert back.stat().st_mode & 0o777 == 0o600
    with (
        closing(open_file_read_only(used_file)) as one,
        closing(open_schema_read_only(location)) as there,
        closing(open_file_read_only(back)) as other,
    ):
        for table in COPIED:
            assert table_rows(one, table) == table_rows(there, table) == table_rows(other, table), table
        assert feed.highest_sequence(one) == 3
        assert feed.highest_sequence(there) == 3 + SKIPPED_EVENT_NUMBERS
        assert feed.highest_sequence(other) == 3 + 2 * SKIPPED_EVENT_NUMBERS
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_restored_schema_can_be_used_by_a_daemon(
    used_file: Path, location: Location, write_events: WriteEvents
) -> None:
    restore_into_schema(location, used_file, ignore_progress, NOW)
    store = PostgresStore(location, lambda: 9)
    await store.open()
    assert await store.run(write_events, "3") == [4 + SKIPPED_EVENT_NUMBERS]
    sweep = await store.run(sweeps.latest, "acme")
    assert sweep is not None
    assert sweep.next_page == 2
    with pytest.raises(StoreError, match="a daemon holds it") as caught:
        restore_into_schema(location, used_file, ignore_progress, NOW)
    assert caught.value.reason is StoreReason.HELD_ELSEWHERE
    await store.close()


def test_restore_into_a_schema_with_a_state_is_refused(used_file: Path, location: Location) -> None:
    restore_into_schema(location, used_file, ignore_progress, NOW)
    with pytest.raises(StoreError, match="has a state already"):
        restore_into_schema(location, used_file, ignore_progress, NOW)


async def deliver_new_events(location: Location, write_events: WriteEvents, *keys: str) -> list[str]:
    """Let a daemon write events for these records into the schema, and deliver them; return their ids."""
    store = PostgresStore(location, lambda: NOW)
    await store.open()

    def work(db: Database) -> list[str]:
        sequences = tuple(write_events(db, *keys))
        sources.write(db, "acme", last_success_ms=50)
        store_settlements(
            db, [Settlement(sequences, "hr", DeliveryState.DELIVERED, "d", "r", 200, "", 5, 9, 0, detected_ms=(1,))]
        )
        return [id_ for (id_,) in db.execute("SELECT id FROM events ORDER BY sequence DESC LIMIT ?", [len(keys)])]

    ids = await store.run(work)
    await store.close()
    return ids


async def test_restore_with_replace_keeps_the_old_schema_and_remembers_its_events(
    used_file: Path, location: Location, write_events: WriteEvents, postgres_server: PostgresServer
) -> None:
    restore_into_schema(location, used_file, ignore_progress, NOW)
    ids = await deliver_new_events(location, write_events, "8", "9")
    done = restore_into_schema(location, used_file, ignore_progress, NOW, replace=True)
    assert (done.replaced, done.read_error) == (f"{location.schema}_replaced_20261121t170000", None)
    assert postgres_server.execute(f'SELECT count(*) FROM "{done.replaced}".events') == [(5,)]
    assert postgres_server.execute(f'SELECT count(*) FROM "{location.schema}".events') == [(3,)]
    # They were delivered, so they must not be sent again when their records are found again.
    known = postgres_server.execute(f'SELECT id FROM "{location.schema}".told_before')
    assert {id_ for (id_,) in known} >= set(ids)
    with closing(open_schema_read_only(location.with_schema(done.replaced or ""))) as old:
        before = feed.highest_sequence(old)
    with closing(open_schema_read_only(location)) as there:
        assert feed.highest_sequence(there) > before
    postgres_server.execute(f'DROP SCHEMA "{done.replaced}" CASCADE')


def test_restore_with_replace_adds_nothing_of_a_state_older_than_the_file(
    used_file: Path, location: Location, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    restore_into_schema(location, used_file, ignore_progress, NOW)
    newer = tmp_path / "newer.db"
    shutil.copy(used_file, newer)
    with closing(open_database(newer)) as db, db.atomic():
        sources.write(db, "acme", last_success_ms=6)
        db.execute("DELETE FROM deliveries")
        db.execute("DELETE FROM events")
    done = restore_into_schema(location, newer, ignore_progress, NOW, replace=True)
    assert done.replaced is not None
    assert postgres_server.execute(f'SELECT count(*) FROM "{location.schema}".deliveries') == [(0,)]
    postgres_server.execute(f'DROP SCHEMA "{done.replaced}" CASCADE')


def test_restore_with_replace_works_on_a_schema_with_changed_tables(
    used_file: Path, location: Location, postgres_server: PostgresServer
) -> None:
    restore_into_schema(location, used_file, ignore_progress, NOW)
    postgres_server.execute(f'DROP TABLE "{location.schema}".sources CASCADE')
    done = restore_into_schema(location, used_file, ignore_progress, NOW, replace=True)
    assert done.read_error is not None
    assert done.read_error.reason is StoreReason.TABLES_CHANGED
    assert postgres_server.execute(f'SELECT count(*) FROM "{location.schema}".events') == [(3,)]
    postgres_server.execute(f'DROP SCHEMA "{done.replaced}" CASCADE')


def test_failed_restore_with_replace_leaves_all_schemas_unchanged(
    used_file: Path, location: Location, monkeypatch: pytest.MonkeyPatch, postgres_server: PostgresServer
) -> None:
    restore_into_schema(location, used_file, ignore_progress, NOW)
    schemas = postgres_server.execute("SELECT nspname FROM pg_namespace ORDER BY 1")

    def fail(*_: object) -> None:
        raise psycopg.errors.DiskFull

    monkeypatch.setattr("notifier.store.postgres.copying._copy_in", fail)
    with pytest.raises(StoreError, match="disk is full"):
        restore_into_schema(location, used_file, ignore_progress, NOW, replace=True)
    assert postgres_server.execute("SELECT nspname FROM pg_namespace ORDER BY 1") == schemas


def test_restore_of_a_file_that_is_no_state_file_creates_no_schema(
    location: Location, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    other = tmp_path / "other.db"
    other.write_text("no database")
    with pytest.raises(BackupError):
        restore_into_schema(location, other, ignore_progress, NOW)
    there = "SELECT count(*) FROM pg_namespace WHERE nspname = %s"
    assert postgres_server.execute(there, location.schema) == [(0,)]


def test_back_up_schema_overwrites_a_file_only_on_request(used_file: Path, location: Location, tmp_path: Path) -> None:
    restore_into_schema(location, used_file, ignore_progress, NOW)
    target = tmp_path / "there.db"
    target.write_text("mine")
    with pytest.raises(BackupError, match="exists"):
        back_up_schema(location, target, ignore_progress)
    assert target.read_text() == "mine"
    back_up_schema(location, target, ignore_progress, overwrite=True)
    assert [it.name for it in tmp_path.iterdir() if it.name.startswith(".")] == []


def test_full_disk_is_reported_by_backup_and_restore(
    used_file: Path, location: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore_into_schema(location, used_file, ignore_progress, NOW)

    def fill_disk(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(copying, "_copy_all_out", fill_disk)
    with pytest.raises(BackupError, match="free some space"):
        back_up_schema(location, tmp_path / "there.db", ignore_progress)
    with pytest.raises(BackupError, match="free some space"):
        restore_into_schema(location, used_file, ignore_progress, NOW, replace=True)
    assert [it.name for it in tmp_path.iterdir() if not it.name.startswith(used_file.name)] == []


def test_restore_without_a_temporary_folder_is_refused(
    used_file: Path, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(BackupError, match="no temporary file can be created"):
        restore_into_schema(location, used_file, ignore_progress, NOW)


def test_back_up_schema_refuses_the_path_of_an_earlier_state_file(used_file: Path, location: Location) -> None:
    restore_into_schema(location, used_file, ignore_progress, NOW)
    essentials.write(used_file, Snapshot(NOW, 3))
    with pytest.raises(BackupError, match="use `notifier restore`"):
        back_up_schema(location, used_file, ignore_progress, overwrite=True)


def test_back_up_schema_without_a_store_is_refused(location: Location, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="start `notifier run`"):
        back_up_schema(location, tmp_path / "x.db", ignore_progress)
