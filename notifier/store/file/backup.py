"""Copies the state file while it is in use, and restores it from a copy.

The backup command makes the copy itself, with or without a daemon, in one read transaction. The command neither writes
to the state file nor checkpoints it. So the file keeps one writer, which avoids the WAL-reset bug of older SQLite
versions. The write-ahead log grows during the backup, and the daemon truncates it afterwards.
"""

import contextlib
import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from notifier.store.file.connection import APPLICATION_ID, FileDatabase, connect
from notifier.store.file.files import (
    ESSENTIALS,
    SQLITE_PARTS,
    belongs_to_state_file,
    open_private,
    real_path,
    replace_durably,
)
from notifier.store.file.lock import FileLock
from notifier.store.migrations import migrations, unknown_steps
from notifier.store.queries.feed import highest_sequence
from notifier.store.recovery import essentials, snapshot
from notifier.store.recovery.compare import is_newer, skip_event_numbers
from notifier.store.recovery.detect import UNREADABLE, delete_damage_marker, find_damage, is_damage
from notifier.store.recovery.exchange import REPLACED, finish_exchange, replace_state_file

Progress = Callable[[int, int], None]
"""A function called with the number of copied pages and the total number of pages."""

_PAGES_AT_ONCE: Final = 1000
_BUSY_TIMEOUT_SECONDS: Final = 30.0


class BackupError(Exception):
    """A backup could not be made or restored; the message says why, and what to do."""


class Copy(Struct, frozen=True):
    """A finished copy of a state file.

    `size` is in bytes. `last_success_ms` is when a poll last succeeded, according to the copy (Unix ms; None: never).
    `pending` is the number of waiting deliveries in the copy.
    """

    size: int
    last_success_ms: int | None
    pending: int


class RestoreResult(Struct, frozen=True):
    """The result of `restore`."""

    copy: Copy
    """The copy that is now the state file."""
    replaced: Path | None
    """The new path of the old state file; None if there was none."""
    read_error: str | None = None
    """Why the old state file could not be read; None if it could, or if there was none."""


def back_up(state_file: Path, target: Path, progress: Progress, *, overwrite: bool = False) -> Copy:
    """Copy the state file to `target`, and check the copy. Blocks.

    The copy gets the name `target` only when it is complete and on the disk. Other users cannot read it. If BackupError
    is raised, `target` is unchanged.
    """
    target = resolve_path(target)
    try:
        if not state_file.exists():
            raise BackupError(f"there is no state file {state_file} yet: there is nothing to back up")
    except OSError as error:
        raise BackupError(
            f"state file {state_file} cannot be read ({error.strerror}): give this user access to it, or run this"
            " command as the user that runs the daemon"
        ) from error
    refuse_target(target, real_path(state_file), overwrite=overwrite)
    with temporary_backup(target, real_path(state_file)) as fresh:
        copy = copy_and_check(state_file, fresh, progress)
        finish_backup(fresh, target, overwrite=overwrite)
    return copy


def restore(state_file: Path, source: Path, progress: Progress, now_ms: int) -> RestoreResult:
    """Replace the state file with a copy of `source`, and keep the old file under a dated name. Blocks.

    The old file may have undelivered events that `source` lacks. The restore keeps these events in the essentials, and
    the next opening adds them. Other changes since the backup are found again through the API, with the same event ids.

    Raises StoreError if the state file is in use. Raises BackupError if `source` is no good backup, or if the state
    file cannot be replaced. After an error, the state file is unchanged.
    """
    path = real_path(state_file)
    if resolve_path(source) == path:
        raise BackupError(f"{source} is the state file itself: name a backup of it")
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(path)
    lock.acquire()
    copies: list[Copy] = []
    read_errors: list[str] = []

    def fill(fresh: Path, _aside: Path | None) -> None:
        copies.append(copy_and_check(source, fresh, progress, refuse_newer=True))
        with closing(sqlite3.connect(fresh, isolation_level=None)) as copy:
            db = FileDatabase(copy)
            try:
                highest = highest_sequence(db)
                # Readers of the feed may know later numbers than the backup, and would miss new events with the same
                # numbers.
                skip_event_numbers(db, highest)
                # If the old file is damaged or from an older version, its existing essentials are used as they are.
                try:
                    _write_essentials_of_replaced_file(path, now_ms)
                except Exception as error:  # noqa: BLE001 - reported; damage can cause any error, and must not prevent this
                    read_errors.append(str(error))
                known = essentials.read(path).snapshot
                # A backup of an older version has other tables, so it cannot be compared yet.
                if known is not None and known.stamp and not migrations.pending(db) and is_newer(db, known):
                    snapshot.add_stamp(db, known.stamp, now_ms)
                    skip_event_numbers(db, max(highest, known.sequence))
            except sqlite3.Error as error:
                raise as_backup_error(error, source, fresh.parent) from error

    try:
        finish_exchange(path)
        replaced = replace_state_file(path, fill, REPLACED, now_ms, keep_as=REPLACED)
        delete_damage_marker(path)
    except OSError as error:
        raise BackupError(f"{path} cannot be replaced ({error.strerror}): make its folder writable") from error
    finally:
        lock.release()
    return RestoreResult(copies[0], replaced, read_errors[0] if read_errors else None)


def _write_essentials_of_replaced_file(path: Path, now_ms: int) -> None:
    """Write the essentials of the state file that will be replaced, and checkpoint its write-ahead log.

    Existing essentials are kept if they are newer than the state file, or if the state file is damaged.
    """
    if not path.exists():
        return
    known = essentials.read(path).snapshot
    with closing(connect(path)) as db:
        if known is None or (snapshot.has_stamp(db, known.stamp) and find_damage(db, path) is None):
            with db.atomic():
                gathered = snapshot.take_snapshot(db, now_ms)
            essentials.write(path, gathered)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def resolve_path(path: Path) -> Path:
    """Return the real path of a file, which need not exist. Raises BackupError if no file can have this path."""
    try:
        path.exists()
    except OSError as error:
        raise BackupError(f"{path} cannot be a file ({error.strerror}): name another one") from error
    return real_path(path)


def refuse_target(target: Path, state_file: Path | None = None, *, overwrite: bool) -> None:
    """Raise BackupError if a backup must not be written to `target`.

    `state_file`, if given, is the file to be backed up. `target` must not be this file, or one that belongs to it.
    """
    if target.is_symlink():
        raise BackupError(f"{target} is a symbolic link, and links are not followed: give the path of the file itself")
    if target.is_dir():
        raise BackupError(f"{target} is a folder: name a file in it")
    if state_file is not None and belongs_to_state_file(state_file, target):
        raise BackupError(f"{target} is part of the state file itself: name another file")
    if target.exists() and not target.is_file():
        # Root could replace even /dev/null.
        raise BackupError(f"{target} is not a regular file: name another one")
    if target.exists() and not overwrite:
        raise BackupError(f"{target} exists: name another file, or overwrite it (--force)")
    # They would be used for the backup if it were opened there: a log of other content, and events of another time.
    beside = (target.with_name(target.name + part) for part in (*SQLITE_PARTS, ESSENTIALS))
    if left := next((file for file in beside if os.path.lexists(file)), None):
        raise BackupError(
            f"{target} is or was the path of a state file, of which {left.name} is left: name another file, and use"
            " `notifier restore` to put it there"
        )


@contextmanager
def temporary_backup(target: Path, state_file: Path) -> Iterator[Path]:
    """Provide a temporary file in the folder of `target`, and remove it at the end unless it was renamed.

    All backups of this state file into this folder use one temporary name. So the file of a killed backup is
    overwritten, and a second backup at the same time is refused.
    """
    fresh = target.with_name(f".{_temporary_name(state_file)}")
    try:
        descriptor = _create_locked(fresh)
    except BlockingIOError as error:
        raise BackupError(
            f"another backup is being written into {target.parent}: wait until it has finished, or name another folder"
        ) from error
    except OSError as error:
        raise BackupError(
            f"nothing can be written into {target.parent} ({error.strerror}): create that folder, or choose another"
            " path"
        ) from error
    try:
        yield fresh
    finally:
        with contextlib.suppress(OSError):
            if not _was_renamed(descriptor, fresh):
                fresh.unlink(missing_ok=True)
            for part in SQLITE_PARTS:
                fresh.with_name(fresh.name + part).unlink(missing_ok=True)
        # This must come after SQLite has closed the file, because closing a descriptor drops SQLite's locks too.
        os.close(descriptor)


def finish_backup(fresh: Path, target: Path, *, overwrite: bool) -> None:
    """Give a complete backup its name `target`, durably. Raises BackupError."""
    if not overwrite and os.path.lexists(target):
        raise BackupError(f"{target} was created in the meantime: name another file, or overwrite it (--force)")
    try:
        replace_durably(fresh, target)
    except OSError as error:
        raise BackupError(f"{target} cannot be written ({error.strerror}): choose another path") from error


def _temporary_name(state_file: Path) -> str:
    """Return the file name for an unfinished backup; it depends on the whole path of the state file."""
    return f"{state_file.name}-{hashlib.blake2b(os.fsencode(state_file), digest_size=4).hexdigest()}.backup"


def _create_locked(fresh: Path) -> int:
    """Open, lock and empty the file for an unfinished backup, and return its descriptor.

    The file of a killed backup is used again. Raises BlockingIOError if another backup uses the file, and OSError if it
    cannot be opened or locked.
    """
    while True:
        descriptor = open_private(fresh, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another backup may have finished and renamed this file before it was locked.
            if not _was_renamed(descriptor, fresh):
                os.ftruncate(descriptor, 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _was_renamed(descriptor: int, fresh: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(descriptor), fresh.stat())
    except FileNotFoundError:
        return True


def copy_and_check(source: Path, fresh: Path, progress: Progress, *, refuse_newer: bool = False) -> Copy:
    """Copy a state file to `fresh`, check the copy, and return its properties. Raises BackupError.

    A state file of a newer version of the program is copied too, unless `refuse_newer` is set.
    """
    with closing(_open_source(source)) as old, closing(sqlite3.connect(fresh, isolation_level=None)) as copy:
        try:
            _refuse_foreign_or_newer(old, source, refuse_newer=refuse_newer)
            # One read transaction for the whole copy: otherwise the copy starts again at each write by the daemon,
            # and may never end.
            old.execute("BEGIN")
            old.execute("SELECT count(*) FROM sqlite_master").fetchone()
            copy.execute("PRAGMA synchronous = OFF")
            old.backup(copy, pages=_PAGES_AT_ONCE, progress=lambda _, left, total: progress(total - left, total))
            # Without a write-ahead log the copy is a single file, which can be read from a read-only folder.
            copy.execute("PRAGMA journal_mode = DELETE").fetchone()
            found = check_copy(copy, source)
        except UNREADABLE as error:
            raise as_backup_error(error, source, fresh.parent) from error
    return Copy(fresh.stat().st_size, *found)


def _open_source(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise BackupError(f"there is no file {path}" if not path.exists() else f"{path} is not a regular file")
    try:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT_SECONDS
        )
    except sqlite3.Error as error:
        raise as_backup_error(error, path, path.parent) from error


def _refuse_foreign_or_newer(db: sqlite3.Connection, path: Path, *, refuse_newer: bool) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise BackupError(f"{path} is not a state file of this program: name another one")
    if refuse_newer and (steps := unknown_steps(FileDatabase(db))):
        raise BackupError(
            f"{path} was written by a newer version of notifier (it knows {', '.join(steps)}): install that version"
        )


def check_copy(copy: sqlite3.Connection, source: Path) -> tuple[int | None, int]:
    """Check that a copy is intact; return the values `last_success_ms` and `pending` of `Copy`. Raises BackupError."""
    (result,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise BackupError(
            f"{source} is damaged ({result.splitlines()[-1]}), so a backup would be damaged too: {_REPAIR_ADVICE}"
        )
    (success,) = copy.execute("SELECT max(last_success) FROM sources").fetchone()
    (pending,) = copy.execute(
        "SELECT count(*) FROM deliveries WHERE state = 'pending' AND state <> 'delivered'"
    ).fetchone()
    return success, pending


_REPAIR_ADVICE: Final = (
    "`notifier run` sets a damaged state file aside when it starts and recovers what can be read; or use a backup"
)


def as_backup_error(error: Exception, source: Path, folder: Path) -> BackupError:
    """Return the BackupError for an SQLite error that occurred while `source` was copied into `folder`."""
    if is_damage(error):
        return BackupError(f"{source} is not a state file, or is damaged ({error}): {_REPAIR_ADVICE}")
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return BackupError(
                f"the copy cannot be written into {folder} ({error}): free some space there, and check its disk"
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_READONLY:
            return BackupError(f"{source} cannot be read ({error}): run this as the user that runs the daemon")
        case _:
            return BackupError(f"{source} cannot be copied: {error}")
