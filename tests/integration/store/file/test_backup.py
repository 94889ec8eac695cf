"""Backup of a state file in use, and restore: the copy is complete and checked, and no other file is overwritten."""

import asyncio
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file import backup
from notifier.store.file.backup import BackupError, Copy, back_up, restore
from notifier.store.file.connection import open_database, open_file_read_only
from notifier.store.file.store import FileStore
from notifier.store.queries.feed import highest_sequence
from notifier.store.recovery import essentials
from notifier.store.recovery.compare import SKIPPED_EVENT_NUMBERS
from notifier.store.recovery.opener import open_state_file
from notifier.store.recovery.snapshot import Snapshot
from notifier.store.tables import sources
from tests.integration.store.conftest import WriteEvents

NOW = 1_795_280_400_000


def ignore_progress(_done: int, _of: int) -> None:
    pass


@pytest.fixture
async def used(store: FileStore, write_events: WriteEvents) -> FileStore:
    """A state file in use, with some megabytes and a few events."""

    def live(db: Database) -> None:
        sources.read_or_create(db, "acme")
        write_events(db, *(str(number) for number in range(20)))
        sources.record_success(db, "acme", NOW)
        for number in range(300):
            db.execute(
                "INSERT INTO people (source, id, name, employee_number) VALUES ('acme', ?, ?, NULL)",
                [str(number), "x" * 20_000],
            )

    await store.run(live)
    return store


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "copy.db"


async def copied(store: FileStore, target: Path, **options: bool) -> Copy:
    return await asyncio.to_thread(back_up, store.path, target, ignore_progress, **options)


def events(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])


async def test_back_up_writes_one_complete_file_that_only_its_owner_can_read(used: FileStore, target: Path) -> None:
    before = os.umask(0)
    try:
        copy = await copied(used, target)
    finally:
        os.umask(before)
    assert copy == Copy(target.stat().st_size, NOW, 20)
    assert copy.size > 6_000_000
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["copy.db"]
    with closing(open_file_read_only(target)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert events(target) == 20


async def test_back_up_copies_one_moment_and_does_not_block_writers(
    used: FileStore, target: Path, write_events: WriteEvents
) -> None:
    reached, released = threading.Event(), threading.Event()

    def progress(_done: int, _of: int) -> None:
        reached.set()
        assert released.wait(20)

    copying = asyncio.create_task(asyncio.to_thread(back_up, used.path, target, progress))
    assert await asyncio.to_thread(reached.wait, 20)
    for number in range(100, 200):
        await asyncio.wait_for(used.run(write_events, str(number)), 5)
    released.set()
    assert (await copying).pending == 20
    assert events(target) == 20
    assert events(used.path) == 120


async def test_back_up_overwrites_an_existing_file_only_on_request(used: FileStore, target: Path) -> None:
    target.write_text("something dear")
    with pytest.raises(BackupError, match=r"copy\.db exists: name another file, or overwrite it \(--force\)"):
        await copied(used, target)
    assert target.read_text() == "something dear"
    await copied(used, target, overwrite=True)
    assert events(target) == 20
    assert len([*target.parent.iterdir()]) == 1


async def test_back_up_does_not_overwrite_a_file_created_meanwhile(used: FileStore, target: Path) -> None:
    def progress(_done: int, _of: int) -> None:
        target.write_text("something dear")

    with pytest.raises(BackupError, match="was created in the meantime"):
        await asyncio.to_thread(back_up, used.path, target, progress)
    assert target.read_text() == "something dear"
    assert len([*target.parent.iterdir()]) == 1


@pytest.mark.parametrize("name", ["", "-wal", "-shm", ".lock", ".sock", ".essentials"])
async def test_back_up_rejects_the_state_file_its_parts_and_links(used: FileStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(BackupError, match="is part of the state file itself"):
        await copied(used, tmp_path / f"notifier.db{name}", overwrite=True)
    link = tmp_path / "link.db"
    link.symlink_to(used.path)
    with pytest.raises(BackupError, match="is a symbolic link, and links are not followed"):
        await copied(used, link, overwrite=True)


@pytest.mark.parametrize("part", ["-wal", ".essentials"])
async def test_back_up_rejects_a_target_beside_which_parts_of_a_state_file_remain(
    used: FileStore, target: Path, part: str
) -> None:
    target.write_bytes(b"mine")
    target.with_name(f"{target.name}{part}").touch()
    with pytest.raises(BackupError, match="use `notifier restore`"):
        await asyncio.to_thread(back_up, used.path, target, ignore_progress, overwrite=True)
    assert target.read_bytes() == b"mine"


async def test_back_up_names_an_unusable_target(used: FileStore, target: Path) -> None:
    with pytest.raises(BackupError, match="backups is a folder: name a file in it"):
        await copied(used, target.parent)
    os.mkfifo(target.parent / "pipe")
    for overwrite in (False, True):
        with pytest.raises(BackupError, match="pipe is not a regular file: name another one"):
            await copied(used, target.parent / "pipe", overwrite=overwrite)
    with pytest.raises(BackupError, match=r"nothing can be written into .*nowhere \(No such file or directory\)"):
        await copied(used, target.parent / "nowhere" / "copy.db")


async def test_interrupted_back_up_leaves_no_file(used: FileStore, target: Path) -> None:
    def interrupt(_done: int, _of: int) -> None:
        raise KeyboardInterrupt

    def cut_off() -> None:
        with pytest.raises(KeyboardInterrupt):
            back_up(used.path, target, interrupt)

    await asyncio.to_thread(cut_off)
    assert [*target.parent.iterdir()] == []


def test_back_up_rejects_a_missing_file_and_files_that_are_no_state_file(path: Path, target: Path) -> None:
    with pytest.raises(BackupError, match="there is nothing to back up"):
        back_up(path, target, ignore_progress)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(BackupError, match="is not a state file of this program"):
        back_up(path, target, ignore_progress)
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(BackupError, match="is not a state file, or is damaged"):
        back_up(path, target, ignore_progress)
    assert [*target.parent.iterdir()] == []


async def test_back_up_of_a_damaged_state_file_is_refused_and_leaves_no_file(used: FileStore, target: Path) -> None:
    await used.close()
    with used.path.open("r+b") as file:
        file.seek(4096 * 30)
        file.write(b"\xab" * 4096 * 40)
    with pytest.raises(BackupError, match="damaged"):
        await copied(used, target)
    assert [*target.parent.iterdir()] == []


async def test_restore_keeps_the_replaced_file_and_skips_used_event_numbers(
    used: FileStore, target: Path, write_events: WriteEvents
) -> None:
    await copied(used, target)
    await used.run(write_events, *(str(number) for number in range(100, 130)))
    await used.close()
    seen: list[tuple[int, int]] = []
    done = restore(used.path, target, lambda done, of: seen.append((done, of)), NOW)
    assert done.replaced == used.path.with_name("notifier.db.replaced-20261121T170000Z")
    assert (events(done.replaced), events(used.path)) == (50, 20)
    assert stat.S_IMODE(used.path.stat().st_mode) == 0o600
    assert seen[-1][0] == seen[-1][1] > 1000
    assert events(target) == 20
    with closing(open_state_file(used.path, NOW)) as db:
        assert highest_sequence(db) == 20 + 2 * SKIPPED_EVENT_NUMBERS
        assert sources.read_or_create(db, "acme").last_success_ms == NOW


async def test_restore_over_an_unreadable_file_uses_the_number_in_the_essentials(used: FileStore, target: Path) -> None:
    await copied(used, target)
    essentials.write(used.path, Snapshot(NOW, 7_000_000))
    await used.close()
    used.path.write_bytes(b"garbage" * 1000)
    restore(used.path, target, ignore_progress, NOW)
    with closing(open_state_file(used.path, NOW)) as db:
        assert highest_sequence(db) == 7_000_000 + SKIPPED_EVENT_NUMBERS


async def test_restore_creates_a_missing_file_and_skips_numbers(used: FileStore, target: Path, tmp_path: Path) -> None:
    await copied(used, target)
    elsewhere = tmp_path / "other machine" / "notifier.db"
    assert restore(elsewhere, target, ignore_progress, NOW).replaced is None
    assert events(elsewhere) == 20
    # A reader of the feed may have seen numbers that this machine does not know.
    with closing(open_state_file(elsewhere, NOW)) as db:
        assert highest_sequence(db) == 20 + SKIPPED_EVENT_NUMBERS


async def test_restore_on_a_full_disk_raises_backup_error_and_changes_nothing(
    used: FileStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await copied(used, target)
    await used.close()

    def fill_disk(_db: object, _highest: int) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(backup, "skip_event_numbers", fill_disk)
    before = used.path.read_bytes()
    with pytest.raises(BackupError):
        restore(used.path, target, ignore_progress, NOW)
    assert used.path.read_bytes() == before


async def test_restore_is_refused_while_a_daemon_holds_the_state_file(used: FileStore, target: Path) -> None:
    await copied(used, target)
    with pytest.raises(StoreError) as refused:
        restore(used.path, target, ignore_progress, NOW)
    assert refused.value.reason is StoreReason.IN_USE
    assert events(used.path) == 20


def nothing(_: Path) -> None:
    pass


def garbage(target: Path) -> None:
    target.write_bytes(b"garbage" * 1000)


def foreign(target: Path) -> None:
    with closing(sqlite3.connect(target)) as db, db:
        db.execute("CREATE TABLE recipes (name TEXT)")


def newer(target: Path) -> None:
    with closing(open_database(target)) as db, db.atomic():
        db.execute("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('notifier', 'beams', '')")


def damaged(target: Path) -> None:
    with closing(open_database(target)) as db, db.atomic():
        for number in range(100):
            db.execute(
                "INSERT INTO people (source, id, name, employee_number) VALUES ('acme', ?, ?, NULL)",
                [str(number), "x" * 20_000],
            )
    with target.open("r+b") as file:
        file.seek(4096 * 60)
        file.write(bytes(4096 * 10))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "there is no file"),
        (garbage, "is not a state file, or is damaged"),
        (foreign, "is not a state file of this program"),
        (newer, "was written by a newer version of notifier (it knows beams)"),
        (damaged, "is damaged"),
    ],
)
async def test_restore_refuses_an_unusable_backup_and_changes_nothing(
    used: FileStore, target: Path, make: Callable[[Path], None], message: str
) -> None:
    await used.close()
    make(target)
    content = used.path.read_bytes()
    with pytest.raises(BackupError) as refused:
        restore(used.path, target, ignore_progress, NOW)
    assert message in str(refused.value)
    assert used.path.read_bytes() == content
    assert not [path for path in used.path.parent.iterdir() if "replaced" in path.name or path.name.startswith(".")]


async def test_restore_refuses_the_state_file_itself_as_backup(used: FileStore) -> None:
    with pytest.raises(BackupError, match="is the state file itself"):
        restore(used.path, used.path, ignore_progress, NOW)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_restore_by_root_keeps_the_owner_of_the_state_file(used: FileStore, target: Path) -> None:
    await copied(used, target)
    await used.close()
    shutil.chown(used.path, 12345, 12345)
    restore(used.path, target, ignore_progress, NOW)
    assert (used.path.stat().st_uid, used.path.with_name("notifier.db.lock").stat().st_uid) == (12345, 12345)
