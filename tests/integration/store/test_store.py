"""The state file as a file: who may open it, what else may be in its place, and what a full disk does to it."""

import asyncio
import errno
import fcntl
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.connection import APPLICATION_ID, FileDatabase, open_file_read_only
from notifier.store.file.errors import as_store_error
from notifier.store.file.store import FileStore
from notifier.store.migrations import migrations
from notifier.store.tables import sources

REPOSITORY = Path(__file__).parents[3]

HOLDER = """
import asyncio, pathlib, sys
from notifier.store.file.store import FileStore
async def hold():
    await FileStore(pathlib.Path(sys.argv[1])).open()
    print("open", flush=True)
    await asyncio.sleep(60)
asyncio.run(hold())
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator[int]:
    """Keep the state file open elsewhere; the other process ends by SIGKILL."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "open\n"
            yield holder.pid
        finally:
            holder.send_signal(signal.SIGKILL)


async def refusal(path: Path) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await FileStore(path).open()
    return caught.value


def pragma(db: Database, name: str) -> Any:
    return db.execute(f"PRAGMA {name}").fetchone()[0]


def remember_names(db: Database, count: int) -> None:
    """Write some kilobytes for each of so many sources."""
    for number in range(count):
        db.execute("INSERT INTO sources (name, error_message) VALUES (?, ?)", [f"s{number}", "x" * 5000])


def count_sources(db: Database) -> int:
    found: int = db.execute("SELECT count(*) FROM sources").fetchone()[0]
    return found


async def test_new_state_file_is_accessible_only_to_its_owner(path: Path) -> None:
    before = os.umask(0)
    try:
        store = FileStore(path)
        await store.open()
        await store.run(sources.read_or_create, "acme")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        await store.close()
    finally:
        os.umask(before)
    assert modes == {
        "notifier.db": 0o600,
        "notifier.db-wal": 0o600,
        "notifier.db-shm": 0o600,
        "notifier.db.lock": 0o600,
    }


async def test_open_sets_wal_full_sync_foreign_keys_and_auto_vacuum(store: FileStore) -> None:
    assert await store.run(pragma, "journal_mode") == "wal"
    assert await store.run(pragma, "synchronous") == 2  # FULL
    assert await store.run(pragma, "foreign_keys") == 1
    assert await store.run(pragma, "auto_vacuum") == 2  # INCREMENTAL


async def test_open_creates_missing_folders(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "state" / "notifier" / "notifier.db")
    await store.open()
    await store.close()


async def test_written_data_is_read_after_reopening(path: Path) -> None:
    for expected in (0, 1, 2):
        store = FileStore(path)
        await store.open()
        assert await store.run(count_sources) == expected
        await store.run(sources.read_or_create, f"source-{expected}")
        await store.close()


async def test_open_refuses_a_file_in_use_and_names_the_process(path: Path) -> None:
    with held_by_another_process(path) as pid:
        error = await refusal(path)
    assert error.reason is StoreReason.IN_USE
    assert f"in use by process {pid}:" in error.message


async def test_open_succeeds_after_the_holder_was_killed(path: Path) -> None:
    with held_by_another_process(path):
        pass
    store = FileStore(path)
    await store.open()
    await store.close()


async def test_open_refuses_a_file_in_use_by_the_same_process(store: FileStore) -> None:
    error = await refusal(store.path)
    assert error.reason is StoreReason.IN_USE
    assert f"process {os.getpid()}:" in error.message
    await store.run(sources.read_or_create, "acme")


async def test_open_refuses_a_file_in_use_through_a_linked_folder(store: FileStore, tmp_path: Path) -> None:
    other_name = tmp_path / "elsewhere"
    other_name.symlink_to(store.path.parent)
    assert (await refusal(other_name / store.path.name)).reason is StoreReason.IN_USE


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal", ".lock"])
async def test_open_refuses_symbolic_links(path: Path, tmp_path: Path, suffix: str) -> None:
    precious = tmp_path / "elsewhere"
    precious.write_text("something dear")
    if suffix not in {"", ".lock"}:
        store = FileStore(path)
        await store.open()
        await store.close()
    path.with_name(path.name + suffix).symlink_to(precious)
    error = await refusal(path)
    assert error.reason is StoreReason.LINKED
    assert f"notifier.db{suffix}: it is a symbolic link, and links are not followed" in error.message
    assert precious.read_text() == "something dear"


async def test_open_refuses_a_lock_file_with_a_hard_link_and_leaves_it_unchanged(path: Path, tmp_path: Path) -> None:
    precious = tmp_path / "elsewhere"
    precious.write_text("something dear")
    path.with_name("notifier.db.lock").hardlink_to(precious)
    assert "it has a second name" in (await refusal(path)).message
    assert precious.read_text() == "something dear"


@pytest.mark.parametrize("left", [b"", b"\xff", b"99999999999999999999999\n"])
async def test_open_ignores_the_earlier_content_of_the_lock_file(path: Path, left: bytes) -> None:
    path.with_name("notifier.db.lock").write_bytes(left)
    store = FileStore(path)
    await store.open()
    assert f"process {os.getpid()}:" in (await refusal(path)).message
    await store.close()


async def test_open_refuses_a_file_of_a_newer_version_and_leaves_it_unchanged(path: Path, store: FileStore) -> None:
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('notifier', 'holograms', '')"
        )
    content = path.read_bytes()
    error = await refusal(path)
    assert error.reason is StoreReason.NEWER_VERSION
    assert "written by a newer version of notifier (it knows holograms): install that version again" in error.message
    assert path.read_bytes() == content
    with pytest.raises(StoreError, match="newer version"):
        open_file_read_only(path)


def make_older(path: Path, *, lacks: str) -> None:
    """Make a state file of a version that did not have the migration `lacks`."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        migrations.apply(FileDatabase(connection), stop_before=lacks)


def steps() -> list[str]:
    with closing(FileDatabase(memory=True)) as empty:
        return [step.name for step in migrations.pending(empty)]


@pytest.mark.parametrize("lacks", steps())
async def test_read_only_open_refuses_an_older_file_until_it_is_migrated(path: Path, lacks: str) -> None:
    make_older(path, lacks=lacks)
    content = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        open_file_read_only(path)
    assert caught.value.reason is StoreReason.OLDER_VERSION
    assert f"state file {path} was written by an older version" in caught.value.message
    assert f"(it lacks {', '.join(steps()[steps().index(lacks) :])}): start `notifier run` once" in caught.value.message
    assert path.read_bytes() == content
    store = FileStore(path)
    await store.open()
    with closing(open_file_read_only(path)) as reader:
        assert count_sources(reader) == 0
    await store.close()


def test_migration_counts_every_earlier_attempt_as_a_suspicion() -> None:
    with closing(FileDatabase(memory=True)) as db:
        migrations.apply(db, stop_before="suspicions")
        db.execute("INSERT INTO deliveries (sequence, destination, attempts) VALUES (1, 'hr', 2), (2, 'hr', 0)")
        migrations.apply(db)
        assert db.execute("SELECT suspicions FROM deliveries").fetchall() == [(2,), (0,)]


async def test_migration_keeps_the_attempts_of_an_older_file(path: Path) -> None:
    make_older(path, lacks="attempts_in_runs")
    attempts = [
        (1, 1, "hr", 1000, 20, "retry_later", "refused", 400, "no"),
        (2, 1, "hr", 2000, 9, "delivered", "delivered", 200, None),
    ]
    with closing(sqlite3.connect(path)) as connection, connection:
        event = (1, "evt_1", "completion.created", "acme", "7", 1, "head", "test", 0, "{}")
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", event)
        connection.execute("INSERT INTO deliveries (sequence, destination) VALUES (1, 'hr')")
        connection.executemany("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", attempts)
    store = FileStore(path)
    await store.open()
    assert await store.run(lambda db: db.execute("SELECT * FROM attempts ORDER BY id").fetchall()) == attempts
    await store.close()


async def test_open_refuses_another_programs_database_and_leaves_it_unchanged(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    content = path.read_bytes()
    error = await refusal(path)
    assert error.reason is StoreReason.NOT_A_STATE_FILE
    assert "database of another program" in error.message
    assert path.read_bytes() == content


@pytest.mark.parametrize("size", [20, 100, 5000, 100_000])
async def test_open_refuses_a_file_that_is_no_database_and_leaves_it_unchanged(path: Path, size: int) -> None:
    path.write_bytes(b"<html>" * (size // 6))
    content = path.read_bytes()
    assert (await refusal(path)).reason is StoreReason.NOT_A_STATE_FILE
    assert path.read_bytes() == content


async def test_open_refuses_a_folder(path: Path) -> None:
    path.mkdir()
    error = await refusal(path)
    assert error.reason is StoreReason.NOT_A_STATE_FILE
    assert "is a folder" in error.message


async def test_open_reports_a_file_system_without_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    error = await refusal(path)
    assert error.reason is StoreReason.NOT_WRITABLE
    assert "cannot be locked (No locks available)" in error.message


async def test_open_makes_an_empty_file_a_state_file(path: Path) -> None:
    path.touch()
    store = FileStore(path)
    await store.open()
    assert await store.run(count_sources) == 0
    await store.close()


async def test_open_completes_an_interrupted_creation(path: Path, store: FileStore) -> None:
    application_id = await store.run(pragma, "application_id")
    await store.close()
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {application_id}")
    again = FileStore(path)
    await again.open()
    assert await again.run(count_sources) == 0
    await again.close()


async def test_open_reports_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = await refusal(tmp_path / "file" / "below" / "notifier.db")
    assert error.reason is StoreReason.NOT_WRITABLE
    assert f"{tmp_path}/file/below cannot be created" in error.message


@pytest.mark.parametrize("name", ["n" * 255, "n" * 252])
async def test_open_refuses_a_file_name_that_is_too_long(tmp_path: Path, name: str) -> None:
    assert (await refusal(tmp_path / name)).reason is StoreReason.NOT_WRITABLE


async def test_open_refuses_a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)
    assert (await refusal(path)).reason is StoreReason.LINKED


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_open_reports_a_folder_without_write_access(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    error = await refusal(folder / "notifier.db")
    assert error.reason is StoreReason.NOT_WRITABLE
    assert "give this user write access" in error.message


async def test_damaged_file_is_reported_as_corrupt(path: Path, store: FileStore) -> None:
    await store.run(remember_names, 20)
    await store.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xab" * (len(content) - 4096))
    damaged = FileStore(path)
    try:
        await damaged.open()
        with pytest.raises(StoreError) as caught:
            await damaged.run(count_sources)
        error = caught.value
    except StoreError as at_once:
        error = at_once
    finally:
        await damaged.close()
    assert error.reason is StoreReason.CORRUPT
    assert "restore a backup" in error.message


async def test_failed_open_releases_the_lock(path: Path) -> None:
    path.write_bytes(b"garbage, for the time being" * 50)
    failed = FileStore(path)
    with pytest.raises(StoreError):
        await failed.open()
    path.unlink()
    store = FileStore(path)
    await store.open()
    await failed.close()
    await store.run(sources.read_or_create, "acme")
    await store.close()


async def test_close_can_be_called_twice_or_without_open(path: Path) -> None:
    store = FileStore(path)
    await store.open()
    await store.close()
    await store.close()
    await FileStore(path).close()


async def test_close_finishes_the_submitted_work(path: Path) -> None:
    store = FileStore(path)
    await store.open()
    works = [asyncio.create_task(store.run(sources.read_or_create, f"s{number}")) for number in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*works)
    again = FileStore(path)
    await again.open()
    assert await again.run(count_sources) == 50
    await again.close()


async def test_failing_work_is_rolled_back(store: FileStore) -> None:
    def fail_in_the_end(db: Database) -> None:
        remember_names(db, 3)
        with db.atomic():
            sources.read_or_create(db, "acme")
        raise ValueError("on second thoughts")

    with pytest.raises(ValueError, match="second thoughts"):
        await store.run(fail_in_the_end)
    assert await store.run(count_sources) == 0
    await store.run(sources.read_or_create, "acme")
    assert await store.run(count_sources) == 1


async def test_sql_error_of_the_program_is_not_converted_to_a_store_error(store: FileStore) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await store.run(lambda db: db.execute("SELECT * FROM nonsense"))
    assert await store.run(count_sources) == 0


async def test_full_disk_rolls_back_the_transaction_and_later_writes_succeed(store: FileStore) -> None:
    await store.run(sources.read_or_create, "acme")
    pages = await store.run(pragma, "page_count")
    await store.run(pragma, f"max_page_count = {pages}")
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            await store.run(remember_names, 100)
        assert caught.value.reason is StoreReason.DISK_FULL
        assert str(store.path) in caught.value.message
        assert await store.run(count_sources) == 1
    await store.run(pragma, f"max_page_count = {pages + 1000}")
    await store.run(remember_names, 100)
    assert await store.run(count_sources) == 101
    assert await store.run(pragma, "integrity_check") == "ok"


async def test_write_to_a_read_only_database_raises_read_only(store: FileStore) -> None:
    await store.run(set_pragma, "query_only = ON")
    with pytest.raises(StoreError) as caught:
        await store.run(sources.read_or_create, "acme")
    assert caught.value.reason is StoreReason.READ_ONLY
    await store.run(set_pragma, "query_only = OFF")
    await store.run(sources.read_or_create, "acme")


def set_pragma(db: Database, setting: str) -> None:
    db.execute(f"PRAGMA {setting}")


async def test_write_while_another_program_holds_the_lock_raises_locked(store: FileStore) -> None:
    await store.run(set_pragma, "busy_timeout = 0")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            await store.run(sources.read_or_create, "acme")
    assert caught.value.reason is StoreReason.LOCKED
    await store.run(sources.read_or_create, "acme")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, StoreReason.IO_ERROR),
        (sqlite3.SQLITE_IOERR_SHMSIZE, StoreReason.DISK_FULL),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreReason.READ_ONLY),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, StoreReason.NOT_WRITABLE),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreReason.LOCKED),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, None),
        (None, None),
    ],
)
def test_extended_error_code_maps_like_its_primary_code(code: int | None, reason: StoreReason | None) -> None:
    error = sqlite3.OperationalError("as SQLite says it")
    if code is not None:
        error.sqlite_errorcode = code
    named = as_store_error(error, Path("/somewhere/notifier.db"))
    assert (named.reason if named else None) is reason


async def test_read_only_open_reads_beside_the_writer_and_cannot_write(store: FileStore) -> None:
    with closing(open_file_read_only(store.path)) as reader:
        await store.run(remember_names, 3)
        assert count_sources(reader) == 3
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            sources.read_or_create(reader, "acme")


async def test_read_only_open_reads_a_closed_state_file(store: FileStore) -> None:
    await store.run(remember_names, 3)
    await store.close()
    with closing(open_file_read_only(store.path)) as reader:
        assert count_sources(reader) == 3


def make_nothing(_: Path) -> None:
    pass


def make_folder(path: Path) -> None:
    path.mkdir()


def make_garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 100)


def make_foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")


@pytest.mark.parametrize("make", [make_nothing, make_folder, make_garbage, make_foreign_database])
def test_read_only_open_refuses_anything_but_a_state_file(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(StoreError) as caught:
        open_file_read_only(path)
    assert caught.value.reason is StoreReason.NOT_A_STATE_FILE


def test_read_only_open_reports_a_path_that_cannot_be_examined(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        open_file_read_only(tmp_path / ("n" * 300))
    assert caught.value.reason is StoreReason.NOT_WRITABLE


async def test_on_recovery_is_called_once_after_a_lost_result(tmp_path: Path) -> None:
    store, recoveries = FileStore(tmp_path / "notifier.db"), list[str]()
    store.on_recovery.append(lambda: recoveries.append("told"))
    await store.open()
    may_end = threading.Event()

    def write(db: Database) -> None:
        db.execute("INSERT INTO sources (name) VALUES ('acme')")
        may_end.wait(20)

    try:
        cancelled = asyncio.create_task(store.run(write))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert recoveries == []
        may_end.set()
        # It was written nevertheless.
        assert await store.run(lambda db: db.execute("SELECT name FROM sources").fetchall()) == [("acme",)]
        assert recoveries == ["told"]
        await store.run(lambda db: db.execute("SELECT 1"))
        assert recoveries == ["told"]
    finally:
        may_end.set()
        await store.close()
