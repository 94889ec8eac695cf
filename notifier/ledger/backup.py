"""A copy of the state file, made while it is in use, and such a copy put back into its place.

The copy is made by whoever wants it, over a connection of its own that only reads, in one read transaction: what it
holds is the file at one moment. So no path and no file of the daemon's is handed to it to be written (under systemd it
sees another, mostly read-only file system, and should), nobody waits for the copy, and it is the same with and without
a daemon. There is still one process that writes: what only reads neither writes nor checkpoints, and cannot meet the
WAL-reset bug that two writers of older SQLites can. Its price is that the write-ahead log grows by what is written
meanwhile; the daemon cuts it off afterwards.
"""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from notifier.ledger.ledger import APPLICATION_ID
from notifier.ledger.lock import FileLock
from notifier.ledger.rebuilding import essentials
from notifier.ledger.rebuilding.aside import put_in_place, real_path, remove_all, set_aside
from notifier.ledger.rebuilding.damage import forget_damage, is_damage
from notifier.ledger.rebuilding.essentials import essentials_file, highest_sequence
from notifier.ledger.rebuilding.reconciling import leap
from notifier.ledger.schema import unknown_steps

Progress = Callable[[int, int], None]
"""Takes how many pages are copied, and of how many."""

_PAGES_AT_ONCE: Final = 1000
_PATIENCE: Final = 30.0


class BackupError(Exception):
    """A copy could not be made or put back; the message is a sentence that says why and what to do."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that is whole: its size in bytes, and until when (Unix ms) it knows of successful polls."""

    size: int
    last_success_ms: int | None
    pending: int


@dataclass(frozen=True, slots=True)
class Restored:
    """A copy that took the state file's place, and where the old one lies now; None when there was none."""

    copy: Copy
    replaced: Path | None


def back_up(state_file: Path, target: Path, progress: Progress, *, overwrite: bool = False) -> Copy:
    """Copy the state file as it is at this moment, and check the copy (this blocks). The owner alone may read it.

    The copy gets its name when it is whole and on the disk. Raises BackupError, with nothing changed.
    """
    target = _looked_for(target)
    if not state_file.exists():
        raise BackupError(f"there is no state file {state_file} yet: there is nothing to back up")
    _refuse_target(real_path(state_file), target, overwrite=overwrite)
    with _made_beside(target) as fresh:
        copy = _copy(state_file, fresh, progress)
        if not overwrite and target.exists():
            raise BackupError(f"{target} has come into being meanwhile: name another file, or overwrite it (--force)")
        _put(fresh, target)
    return copy


def restore(state_file: Path, source: Path, progress: Progress, now_ms: int) -> Restored:
    """Put a copy into the state file's place; the old file is kept under a dated name (this blocks).

    What has happened since the copy was made is found again under the same ids. Its events get numbers beyond all that
    readers may have seen. Raises BackupError, with nothing changed, and LedgerError: in use.
    """
    path = real_path(state_file)
    if _looked_for(source) == path:
        raise BackupError(f"{source} is the state file itself: name a backup of it")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    lock.acquire()
    try:
        with _made_beside(path) as fresh:
            copy = _copy(source, fresh, progress, refuse_newer=True)
            with closing(Database(sqlite3.connect(fresh, isolation_level=None))) as db:
                leap(db, max(highest_sequence(db), _highest_known(path)))
            _give_to_the_owner(path, fresh, lock.path)
            try:
                replaced = set_aside(path, "replaced", now_ms)
            except OSError as error:
                raise BackupError(f"{path} cannot be set aside ({error.strerror}): make its folder writable") from error
            _put(fresh, path)
            forget_damage(path)
    finally:
        lock.release()
    return Restored(copy, replaced)


def _looked_for(path: Path) -> Path:
    """Return where a file is, or would be."""
    try:
        path.exists()
    except OSError as error:
        raise BackupError(f"{path} can be no file ({error.strerror}): name another one") from error
    return real_path(path)


def _refuse_target(state_file: Path, target: Path, *, overwrite: bool) -> None:
    if target.is_dir():
        raise BackupError(f"{target} is a folder: name a file in it")
    if (
        target.name.startswith(state_file.name)
        and target.parent == state_file.parent
        and (target == state_file or target.name[len(state_file.name) :] in _PARTS_OF_THE_STATE)
    ):
        raise BackupError(f"{target} is part of the state file itself: name another file")
    if target.exists() and not overwrite:
        raise BackupError(f"{target} exists: name another file, or overwrite it (--force)")


_PARTS_OF_THE_STATE: Final = frozenset({"-wal", "-shm", "-journal", ".lock", ".sock", ".essentials"})


@contextmanager
def _made_beside(target: Path) -> Iterator[Path]:
    """Give room for a file that gets its name when it is finished; what is left of it otherwise is removed."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise BackupError(
            f"nothing can be written into {target.parent} ({error.strerror}): make that folder, or name another place"
        ) from error
    os.close(descriptor)
    fresh = Path(name)
    try:
        yield fresh
    finally:
        with contextlib.suppress(OSError):
            remove_all(fresh)


def _copy(source: Path, fresh: Path, progress: Progress, *, refuse_newer: bool = False) -> Copy:
    """Copy one state file to another, and check what has become of it."""
    with closing(_open_to_read(source)) as old, closing(sqlite3.connect(fresh, isolation_level=None)) as copy:
        try:
            _refuse_foreign(old, source, refuse_newer=refuse_newer)
            # One moment for all of it: what is written meanwhile would else make it begin again, for ever perhaps.
            old.execute("BEGIN")
            old.execute("SELECT count(*) FROM sqlite_master").fetchone()
            copy.execute("PRAGMA synchronous = OFF")
            old.backup(copy, pages=_PAGES_AT_ONCE, progress=lambda _, left, total: progress(total - left, total))
            # A single file, that can also be read where nothing can be written beside it.
            copy.execute("PRAGMA journal_mode = DELETE").fetchone()
            found = _checked(copy, source)
        except sqlite3.Error as error:
            raise _as_backup_error(error, source, fresh.parent) from error
    return Copy(fresh.stat().st_size, *found)


def _open_to_read(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise BackupError(f"there is no file {path}" if not path.exists() else f"{path} is no file")
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=_PATIENCE)
    except sqlite3.Error as error:
        raise _as_backup_error(error, path, path.parent) from error


def _refuse_foreign(db: sqlite3.Connection, path: Path, *, refuse_newer: bool) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise BackupError(f"{path} is no state file of this program: name another one")
    if refuse_newer and (steps := unknown_steps(Database(db))):
        raise BackupError(
            f"{path} was written by a newer version of notifier (it knows {', '.join(steps)}): install that version"
        )


def _checked(copy: sqlite3.Connection, source: Path) -> tuple[int | None, int]:
    """Check that a copy is whole, and return until when it knows of successful polls, and how much waits in it."""
    (said,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise BackupError(f"{source} is damaged ({said.splitlines()[-1]}), and so would be a copy of it: {_MEND}")
    (success,) = copy.execute("SELECT max(last_success) FROM sources").fetchone()
    (pending,) = copy.execute(
        "SELECT count(*) FROM deliveries WHERE state = 'pending' AND state <> 'delivered'"
    ).fetchone()
    return success, pending


_MEND: Final = (
    "`notifier run` sets a damaged state file aside when it starts and saves what can be read; or use a backup"
)


def _as_backup_error(error: sqlite3.Error, source: Path, folder: Path) -> BackupError:
    if is_damage(error):
        return BackupError(f"{source} is no state file, or damaged ({error}): {_MEND}")
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return BackupError(
                f"the copy cannot be written into {folder} ({error}): make room there, and check its disk"
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_READONLY:
            return BackupError(f"{source} cannot be read ({error}): run this as the user whom the daemon runs as")
        case _:
            return BackupError(f"{source} cannot be copied: {error}")


def _highest_known(path: Path) -> int:
    """Return the highest number that the file which is to be replaced, or its essentials, have given to an event."""
    known = essentials.read(essentials_file(path))
    highest = known.sequence if known else 0
    with contextlib.suppress(BackupError, sqlite3.Error), closing(Database(_open_to_read(path))) as db:
        highest = max(highest, highest_sequence(db))
    return highest


def _give_to_the_owner(path: Path, *files: Path) -> None:
    """Let the state file stay its owner's when root puts it back: the daemon is somebody else."""
    if os.geteuid() == 0:
        owner = (path if path.exists() else path.parent).stat()
        for file in files:
            os.chown(file, owner.st_uid, owner.st_gid)


def _put(fresh: Path, target: Path) -> None:
    try:
        put_in_place(fresh, target)
    except OSError as error:
        raise BackupError(f"{target} cannot be written ({error.strerror}): name another place") from error
