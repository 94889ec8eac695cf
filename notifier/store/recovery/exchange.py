"""Replaces the state file with a new one: the last step of every first start, rebuild, restore and rescue.

The new file is made as `<state file>.exchange`, while the state file's lock is held. The last thing written to it is a
header (the table `_exchange`), which makes it valid. The header identifies the old file (device, inode, size, time of
the last change). It also contains the name under which the old file is kept, and the reason for the replacement. Then
`finish_exchange` follows these steps:

1. The old file gets its second name as a hard link, and keeps its first one.
2. SQLite's log and journal move to the second name, because SQLite would use them for the new file.
3. One rename gives the new file the state file's name, and the folder is synced.

A kill at any moment does no harm: the next opening repeats the steps. On a file system without hard links, step 1
renames the old file. Then there is no state file until step 3.

A new file without a header is unfinished, and is removed. If the header identifies another file than the present state
file, the new file is removed, too, and this is logged.
"""

import contextlib
import errno
import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import Struct

from notifier.store.file.connection import FileDatabase, use_write_ahead_log
from notifier.store.file.files import (
    EARLIER_FINISHED,
    EARLIER_UNFINISHED,
    EXCHANGE,
    SQLITE_PARTS,
    give_to_state_file_owner,
    remove_database,
    replace_durably,
    sibling_path,
    sync,
    sync_folder,
)

_log = logging.getLogger(__name__)

HEADER: Final = "_exchange"
"""The table with the new file's header; the next opening removes it."""

DAMAGED: Final = "damaged"
REPLACED: Final = "replaced"
"""The word in the name of an old file that a restore keeps. The name of a damaged file has DAMAGED instead."""

COPIES_KEPT: Final = 3
"""Number of copies of damaged files that are kept; when there are more, the oldest is removed."""

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
_STAMP: Final = "%Y%m%dT%H%M%SZ"


class Identity(Struct, frozen=True):
    """The identity of a file, to distinguish it from other files with the same name; `changed_ns` is in nanoseconds."""

    device: int
    inode: int
    size: int
    changed_ns: int


class Header(Struct, frozen=True):
    """Describes a new state file that is complete, but has not replaced the old one yet."""

    replaces: Identity | None
    """The identity of the old file; None if there was none."""
    kept_name: str | None
    """The name under which the old file is kept; None if it is not kept."""
    reason: str
    """Why the old file is replaced."""


def identity(path: Path) -> Identity | None:
    """Return the identity of the file with this name; None if there is none. Raises OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def replace_state_file(
    path: Path, fill: Callable[[Path, Path | None], None], reason: str, now_ms: int, *, keep_as: str | None
) -> Path | None:
    """Replace the state file with a new file.

    Returns the path at which the old file is kept; None if the old file is not kept. `path` is the real path of the
    state file, whose lock the caller holds. `fill` writes the new file; its parameters are the new file's path and the
    path at which the old file will be kept. `keep_as` is a word in the name of the kept file; if it is None, the old
    file is not kept. Raises OSError and the errors of `fill`. After an error, the old file is still in place.
    """
    fresh = sibling_path(path, EXCHANGE)
    remove_database(fresh)
    kept_path = _kept_path(path, keep_as, now_ms) if keep_as is not None and path.exists() else None
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        fill(fresh, kept_path)
        give_to_state_file_owner(path, fresh)
        sync(fresh)
        if kept_path is not None:
            # Syncing may fail on a failing disk, which may be the reason for the exchange. The file's time may then
            # differ after a power cut, so that the exchange is repeated.
            with contextlib.suppress(OSError):
                sync(path)
        _write_header(fresh, Header(identity(path), kept_path.name if kept_path else None, reason))
    except BaseException:
        remove_database(fresh)
        raise
    finish_exchange(path)
    return kept_path


def finish_exchange(path: Path) -> None:
    """If there is a finished new file, put it in place; remove an unfinished one. Raises OSError.

    A finished new file is removed, too, if it was made to replace a file other than the present one.
    """
    _finish_rebuild_of_earlier_version(path)
    fresh = sibling_path(path, EXCHANGE)
    if not fresh.exists():
        remove_database(fresh)
        return
    header = _read_header(fresh)
    if header is None:
        remove_database(fresh)
    elif _replaces_present_file(path, header):
        _replace(path, fresh, header)
    else:
        _discard(path, fresh, header)


def is_pending(path: Path) -> bool:
    """Return whether there is a finished new file, which the next opening will put in place. Only reads."""
    fresh = sibling_path(path, EXCHANGE)
    header = _read_header(fresh) if fresh.exists() else None
    return header is not None and _replaces_present_file(path, header)


def delete_header(db: FileDatabase) -> None:
    """Remove the header from a new file that has replaced the state file."""
    if db.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", [HEADER]).fetchone()[0]:
        db.execute(f"DROP TABLE {HEADER}")


def damaged_copies(path: Path) -> list[Path]:
    """Return the copies of damaged files beside a state file, oldest first."""
    found = path.parent.glob(f"{path.name}.{DAMAGED}-*Z*")
    return sorted(copy for copy in found if not copy.name.endswith(SQLITE_PARTS))


def set_aside_at_ms(copy: Path) -> int | None:
    """Return when a copy of a damaged file was made (Unix ms), according to its name; None if the name has no time."""
    stamp = copy.name.rpartition(f".{DAMAGED}-")[2].partition("Z")[0] + "Z"
    try:
        return round(datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None


def _kept_path(path: Path, word: str, now_ms: int) -> Path:
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime(_STAMP)
    kept_path = path.with_name(f"{path.name}.{word}-{stamp}")
    names = (kept_path.with_name(f"{kept_path.name}-{number}") for number in range(2, 10_000))
    return kept_path if not kept_path.exists() else next(name for name in names if not name.exists())


def _write_header(fresh: Path, header: Header) -> None:
    """Write the header into the new file, whose content is already on the disk. The header makes the file valid."""
    old = header.replaces
    with closing(FileDatabase(sqlite3.connect(fresh, isolation_level=None))) as db:
        use_write_ahead_log(db, fresh)
        db.execute("PRAGMA synchronous = FULL")
        # `_read_header` ignores the log, so the file has no header until the checkpoint at the end.
        with db.atomic():
            delete_header(db)
            db.execute(f"CREATE TABLE {HEADER} (device, inode, size, changed, aside, why)")
            # Stored as text, because the numbers may be larger than SQLite's integers.
            values = (old.device, old.inode, old.size, old.changed_ns) if old else (None,) * 4
            db.execute(
                f"INSERT INTO {HEADER} VALUES (?, ?, ?, ?, ?, ?)",
                [*(None if value is None else str(value) for value in values), header.kept_name, header.reason],
            )
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    sync(fresh)
    sync_folder(fresh.parent)


def _read_header(fresh: Path) -> Header | None:
    """Return the header of a new file, read without SQLite's log; None if the file has no header."""
    try:
        with closing(sqlite3.connect(f"{fresh.absolute().as_uri()}?immutable=1", uri=True)) as db:
            *old, kept_name, reason = db.execute(f"SELECT * FROM {HEADER}").fetchone()
        return Header(None if old[0] is None else Identity(*(int(value) for value in old)), kept_name, reason)
    except (sqlite3.Error, UnicodeError, TypeError, ValueError):
        return None


def _replaces_present_file(path: Path, header: Header) -> bool:
    """Return whether the present state file is the one that the new file was made to replace."""
    lies_there = identity(path)
    if lies_there == header.replaces:
        return True
    # Without hard links, the old file may have been renamed already.
    moved = header.kept_name is not None and identity(path.with_name(header.kept_name)) == header.replaces
    return lies_there is None and moved


def _replace(path: Path, fresh: Path, header: Header) -> None:
    if header.kept_name is not None and path.exists():
        _keep_old_file(path, path.with_name(header.kept_name))
    for part in SQLITE_PARTS:
        left = path.with_name(path.name + part)
        if header.kept_name is None or part == "-shm":
            left.unlink(missing_ok=True)
        elif left.exists():
            replace_durably(left, path.with_name(header.kept_name + part))
    replace_durably(fresh, path)
    if header.reason == DAMAGED:
        for copy in damaged_copies(path)[:-COPIES_KEPT]:
            _log.info("the oldest copy of a damaged state file is removed", extra={"path": str(copy)})
            remove_database(copy)


def _keep_old_file(path: Path, kept_path: Path) -> None:
    """Give the old file its second name."""
    if not (kept_path.exists() and kept_path.samefile(path)):
        try:
            os.link(path, kept_path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            path.rename(kept_path)
    sync_folder(path.parent)


def _discard(path: Path, fresh: Path, header: Header) -> None:
    """Remove a new file that was made to replace a file other than the present one."""
    _log.warning(
        "a prepared new state file is discarded: the file that it was made to replace is gone",
        extra={"path": str(fresh), "detail": header.reason},
    )
    kept_path = path.with_name(header.kept_name) if header.kept_name else None
    if kept_path is not None and kept_path.exists() and path.exists() and kept_path.samefile(path):
        # This is only a second name of the present file. A state file with two names would be refused.
        remove_database(kept_path)
    remove_database(fresh)


def _finish_rebuild_of_earlier_version(path: Path) -> None:
    """Remove the files of a rebuild during which an earlier version of the program was killed.

    If the rebuilt file is finished and there is no state file, the rebuilt file becomes the state file.
    """
    remove_database(sibling_path(path, EARLIER_UNFINISHED))
    made = sibling_path(path, EARLIER_FINISHED)
    if made.exists() and not path.exists():
        replace_durably(made, path)
    remove_database(made)
