"""Opening a state file: what it recovers from, what it refuses, and with which messages."""

import errno
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.backup import back_up
from notifier.store.file.connection import FileDatabase, open_file_read_only, use_write_ahead_log
from notifier.store.file.files import ESSENTIALS, sibling_path
from notifier.store.reader import StoreReader
from notifier.store.recovery import compare, essentials, exchange
from notifier.store.recovery.compare import RebuildKind
from notifier.store.recovery.opener import (
    REBUILDS_WITHIN_MS,
    _wait_until_unchanged,
    needed_recovery,
    open_state_file,
    open_store,
)
from notifier.store.tables import sources
from tests.support.used_state_file import (
    HISTORY,
    HOUR,
    NEWS,
    NOW,
    PAGE,
    Place,
    check_guarantees,
    read_all_records,
    waiting,
    write_essentials,
    zero_header,
)

REPOSITORY = Path(__file__).parents[4]

OPENS = re.compile(r"\bFileStore\(|\b(?:open_database|open_state_file)\b|connection import [^\n]*\bconnect\b")


def test_only_known_modules_open_the_state_file() -> None:
    """The store defines what the opener uses, a restore reads what it replaces, copying has no daemon."""
    texts = {path: path.read_text(encoding="utf-8") for path in (REPOSITORY / "notifier").rglob("*.py")}
    found = {path.stem for path, text in texts.items() if OPENS.search(text.replace("class FileStore(", ""))}
    assert found == {"connection", "store", "backup", "opener", "copying"}


KILLED_DURING_A_TRANSACTION = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = DELETE")
db.execute("PRAGMA cache_size = 10")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE records SET record = record || ' '")
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_during_a_transaction(path: Path) -> None:
    """Leave a journal that must be rolled back, as every kill does in a file that has no write-ahead log."""
    done = subprocess.run([sys.executable, "-c", KILLED_DURING_A_TRANSACTION, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name(f"{path.name}-journal").stat().st_size > PAGE


def test_open_rolls_back_the_journal_of_a_killed_process(place: Place) -> None:
    kill_during_a_transaction(place.path)
    with pytest.raises(StoreError) as refused:
        open_file_read_only(place.path).execute("SELECT count(*) FROM records")
    assert refused.value.reason is StoreReason.INTERRUPTED
    assert "start `notifier run` once" in refused.value.message
    with closing(place.open()) as db:
        assert compare.latest_comparison(db) is None
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        check_guarantees(db)


def test_use_write_ahead_log_raises_if_sqlite_keeps_another_mode(place: Place) -> None:
    """On a failing disk or a network share, SQLite returns the mode that it keeps, and raises no error."""
    shutil.copy(place.path, place.path.with_name("plain.db"))
    with closing(sqlite3.connect(place.path.with_name("plain.db"))) as plain:
        plain.execute("PRAGMA journal_mode = DELETE")
    uri = f"{place.path.with_name('plain.db').as_uri()}?vfs=unix-dotfile"
    with closing(FileDatabase(sqlite3.connect(uri, uri=True, isolation_level=None))) as db:
        with pytest.raises(StoreError, match="cannot have a write-ahead log") as refused:
            use_write_ahead_log(db, place.path)
        assert refused.value.reason is StoreReason.IO_ERROR


async def test_store_whose_files_were_deleted_leaves_a_new_state_file_alone(place: Place) -> None:
    store = open_store(place.path, lambda: NOW + HOUR)
    await store.open()
    for path in place.path.parent.iterdir():
        path.unlink()
    other = open_store(place.path, lambda: NOW + HOUR)
    await other.open()
    with pytest.raises(StoreError):
        await store.check_access()
    await store.close()
    assert await other.run(lambda db: db.execute("SELECT count(*) FROM records").fetchone()) == (0,)
    await other.check_access()
    await other.close()


def test_open_completes_a_creation_interrupted_in_an_earlier_version(tmp_path: Path) -> None:
    path = tmp_path / "notifier.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY)")
        db.execute("DROP TABLE _sqlite_migrations")
    with closing(open_state_file(path, NOW)) as opened:
        assert sources.read_all(opened) == {}


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_rebuild_of_a_truncated_file_keeps_most_records(place: Place, cut: int) -> None:
    os.truncate(place.path, (place.pages - cut) * PAGE)
    with closing(place.open()) as db:
        latest = compare.latest_comparison(db)
        assert latest is not None
        assert latest.lost != "everything"
        kept = db.execute("SELECT count(*) FROM records").fetchone()[0]
        assert kept > (len(HISTORY) + len(NEWS)) * 0.9
        check_guarantees(db)


def test_open_refuses_a_file_with_a_hard_link_and_leaves_it_unchanged(place: Place) -> None:
    os.link(place.path, place.path.with_name("other"))
    before = place.path.read_bytes()
    error = refusal(place.path)
    assert error.reason is StoreReason.LINKED
    assert "has a second name (a hard link" in error.message
    assert place.path.read_bytes() == before
    place.path.with_name("other").unlink()
    assert check_opens(place.path)


def refusal(path: Path) -> StoreError:
    import asyncio  # noqa: PLC0415

    async def attempt() -> StoreError:
        with pytest.raises(StoreError) as caught:
            await open_store(path, lambda: NOW + HOUR).open()
        return caught.value

    return asyncio.run(attempt())


def check_opens(path: Path) -> bool:
    with closing(open_state_file(path, NOW + HOUR)) as db:
        return bool(db.execute("SELECT count(*) FROM records").fetchone() == (len(HISTORY) + len(NEWS),))


async def test_open_refuses_a_hard_link_to_a_state_file_in_use(place: Place) -> None:
    store = open_store(place.path, lambda: NOW + HOUR)
    await store.open()
    elsewhere = place.path.parent / "elsewhere"
    elsewhere.mkdir()
    os.link(place.path, elsewhere / "notifier.db")
    with pytest.raises(StoreError) as refused:
        await open_store(elsewhere / "notifier.db", lambda: NOW + HOUR).open()
    assert refused.value.reason is StoreReason.IN_USE
    assert "under another name (a hard link, or a mount)" in refused.value.message
    await store.run(check_guarantees)
    await store.close()


@pytest.fixture
def mounted(place: Place) -> Iterator[Path]:
    """The state file, mounted at another place without its folder."""
    other = place.path.parent / "data" / "notifier.db"
    other.parent.mkdir()
    other.touch()
    mount = ["mount", "--bind", str(place.path), str(other)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        skip = "mounting takes root"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    yield other
    subprocess.run(["umount", "--lazy", str(other)], check=True)


def test_open_refuses_a_file_that_is_mounted_by_itself(mounted: Path) -> None:
    error = refusal(mounted)
    assert error.reason is StoreReason.LINKED
    assert "mount its folder instead" in error.message


def test_repeated_rebuilds_report_a_failing_disk_and_limit_damaged_copies(place: Place) -> None:
    moment = NOW + HOUR
    made = []
    for _ in range(2):
        zero_header(place)
        with closing(place.open(moment)) as db:
            made.append(db.execute("SELECT count(*) FROM records").fetchone()[0])
        moment += 15_000
    zero_header(place)
    with pytest.raises(StoreError) as refused:
        place.open(moment)
    assert refused.value.reason is StoreReason.FAILING_DISK
    assert "its disk is probably failing" in refused.value.message
    assert len(exchange.damaged_copies(place.path)) == 2
    for _ in range(5):
        moment += REBUILDS_WITHIN_MS
        with closing(place.open(moment)):
            pass
        zero_header(place)
    assert len(exchange.damaged_copies(place.path)) == exchange.COPIES_KEPT
    assert exchange.set_aside_at_ms(exchange.damaged_copies(place.path)[-1]) == moment


DAMAGES: dict[str, Callable[[Place], None]] = {
    "gone": lambda place: place.path.unlink(),
    "empty": lambda place: os.truncate(place.path, 0),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_needed_recovery_names_the_rebuild_and_creates_no_file(place: Place, damage: Callable[[Place], None]) -> None:
    assert needed_recovery(place.path) is None
    damage(place)
    before = sorted(place.path.parent.iterdir())
    assert needed_recovery(place.path) == "the state file is missing, and can be rebuilt"
    with pytest.raises(StoreError):
        open_file_read_only(place.path)
    assert sorted(place.path.parent.iterdir()) == before
    sibling_path(place.path, ESSENTIALS).unlink()
    assert needed_recovery(place.path) is None


@pytest.mark.parametrize("where", ["file", "log", "both", "replaced", "replaced by a rename"])
async def test_check_access_detects_a_displaced_file_and_no_event_is_lost(place: Place, where: str) -> None:
    store = open_store(place.path, lambda: NOW + HOUR)
    await store.open()
    await store.check_access()
    await store.run(read_all_records, more=(NEWS.stop,))
    log = sibling_path(place.path, "-wal")
    match where:
        case "file":
            place.path.unlink()
        case "log":
            log.unlink()
        case "both":
            place.path.unlink()
            log.unlink()
            sibling_path(place.path, "-shm").unlink()
        case "replaced":
            content = place.path.read_bytes()
            place.path.unlink()
            place.path.write_bytes(content)
        case _:
            other = place.path.with_name("other")
            other.write_bytes(place.path.read_bytes())
            other.replace(place.path)
    with pytest.raises(StoreError) as noticed:
        await store.check_access()
    assert noticed.value.reason is StoreReason.DISPLACED
    assert store.failed.is_set()
    with pytest.raises(StoreError):
        await store.run(sources.read_or_create, "acme")
    await store.close()
    with closing(place.open(NOW + 2 * HOUR)) as db:
        latest = compare.latest_comparison(db)
        if where.startswith("replaced"):
            assert latest is not None
            assert latest.kind is RebuildKind.BEHIND
        else:
            assert latest is None
        # Its event is still there, under its old number or from the essentials.
        assert db.execute("SELECT count(*) FROM events WHERE subject = '900'").fetchone() == (1,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_check_access_ignores_a_header_that_the_disk_cannot_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    store = open_store(place.path, lambda: NOW + HOUR)
    await store.open()
    with monkeypatch.context() as failing:
        failing.setattr("notifier.store.file.lock.os.pread", fail)
        await store.check_access()
    await store.close()


async def test_check_access_detects_a_backup_copied_over_the_open_file(place: Place, tmp_path: Path) -> None:
    def deliver(db: Database) -> None:
        read_all_records(db, more=(NEWS.stop,))
        db.execute("UPDATE deliveries SET state = 'delivered'")
        write_essentials(place.path, db, NOW + HOUR)

    backup = tmp_path / "backup.db"
    back_up(place.path, backup, lambda _done, _total: None)
    store = open_store(place.path, lambda: NOW + HOUR)
    await store.open()
    await store.run(deliver)
    await store.check_access()
    place.path.write_bytes(backup.read_bytes())
    with pytest.raises(StoreError, match="a backup was copied over"):
        await store.check_access()
    assert store.failed.is_set()
    await store.close()
    with closing(place.open(NOW + 2 * HOUR)) as db:
        assert place.set_aside() == []
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        latest = compare.latest_comparison(db)
        assert latest is not None
        assert latest.kind is RebuildKind.BEHIND
        assert waiting(db) == set()
        assert read_all_records(db, more=(NEWS.stop,)) == set()


def test_wait_until_unchanged_lasts_until_the_last_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.store.recovery.opener._COPY_PAUSE_SECONDS", 0.5)
    file = tmp_path / "copy"
    file.touch()

    def write() -> None:
        with file.open("wb", buffering=0) as copy:
            for _ in range(10):
                copy.write(bytes(1000))
                time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    _wait_until_unchanged(file)
    assert file.stat().st_size == 10_000
    writer.join()


@pytest.mark.parametrize("lies_there", [None, b"a file of another program"])
async def test_reader_detects_a_displaced_file_and_no_event_is_lost(place: Place, lies_there: bytes | None) -> None:
    store = open_store(place.path, lambda: NOW + HOUR)
    await store.open()
    await store.run(read_all_records, more=(NEWS.stop,))
    reader = StoreReader(store)
    place.path.unlink()
    if lies_there is not None:
        place.path.write_bytes(lies_there * 100)
    with pytest.raises(StoreError):
        await reader.run(sources.read_all)
    assert store.failed.is_set()
    assert store.fatal_error is not None
    assert store.fatal_error.reason is StoreReason.DISPLACED
    await reader.close()
    await store.close()
    if lies_there is None:
        with closing(place.open(NOW + 2 * HOUR)) as db:
            assert compare.latest_comparison(db) is None
            assert db.execute("SELECT count(*) FROM events WHERE subject = '900'").fetchone() == (1,)
            assert db.execute("SELECT count(*) FROM records").fetchone() == (len(HISTORY) + len(NEWS) + 1,)
    else:
        reading = essentials.read(place.path)
        assert reading.snapshot is not None
        assert any(it.event["subject"] == "900" for it in reading.snapshot.undelivered)


@pytest.mark.parametrize("seed", range(3))
def test_rebuild_with_a_damaged_write_ahead_log_keeps_the_guarantees(tmp_path: Path, seed: int) -> None:
    from tests.support.used_state_file import fill, write_essentials  # noqa: PLC0415

    path = tmp_path / "notifier.db"
    copy = Place(tmp_path / "copy" / "notifier.db")
    copy.path.parent.mkdir()
    with closing(open_state_file(path, NOW)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        fill(db)
        write_essentials(path, db)
        for name in ("", "-wal", ".essentials"):
            copy.path.with_name(f"notifier.db{name}").write_bytes(path.with_name(f"notifier.db{name}").read_bytes())
    log = sibling_path(copy.path, "-wal")
    with log.open("r+b") as file:
        file.seek(32 + (seed * 7 + 3) * (PAGE + 24) + 1000)
        file.write(random.Random(seed).randbytes(512))
    with closing(copy.open()) as db:
        check_guarantees(db)
