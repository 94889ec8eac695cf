"""Replaces the state file by a new one: the last step of every first start, rebuild, restore and rescue.

The new file is made under a fixed name, `<state file>.exchange`, while the state file's lock is held. If the process is
killed, the next process finishes the exchange or removes the new file. When the content is complete and on the disk,
the file gets a header, the table `_exchange`. The header says which file it replaces (device, inode, size, time of the
last change), under which second name that file is kept, and why. From then on the new file is valid, and `finish` can
be called again after a kill at any moment:

1. The old file gets its second name as a hard link, and keeps its first one.
2. SQLite's log and journal move to the second name, because SQLite would use them for the new file.
3. One rename gives the new file the state file's name, and the folder is synced.

At every moment either the old or the new file has the state file's name. There is one exception: on a file system
without hard links, the old file is renamed in step 1, so after a kill before step 3 no file has the name until the next
opening finishes the exchange. A new file without a header is unfinished, and is removed. A new file whose header names
a file other than the present one is out of date, and is removed with a log message.
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
    EARLIER_MADE,
    EARLIER_MAKING,
    EXCHANGE,
    SQLITE_PARTS,
    give_to_the_owner,
    put_in_place,
    remove_all,
    sibling_path,
    sync,
    sync_folder,
)

_log = logging.getLogger(__name__)

HEADER: Final = "_exchange"
"""The table with the new file's header; the next opening removes it."""

DAMAGED: Final = "damaged"
REPLACED: Final = "replaced"
"""The word in the new name of the old file after a restore; DAMAGED is the word for a damaged file."""

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
    """The header of a finished new file: which file it replaces (None: no file), why, and that file's second name."""

    replaces: Identity | None
    aside: str | None
    why: str


def identity(path: Path) -> Identity | None:
    """Return the identity of the file with this name; None if there is none. Raises OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def exchange(
    path: Path, fill: Callable[[Path, Path | None], None], why: str, now_ms: int, *, keep_as: str | None
) -> Path | None:
    """Make a new file and replace the state file by it; return the path at which the old file is kept, None if nowhere.

    `path` is the real path, and its lock is held. `fill` writes the new file; it gets that file's path, and the future
    path of the old file. `keep_as` is a word for the old file's new name; with None, that file is not kept. Raises
    OSError and the errors of `fill`; the old file is then still in place.
    """
    fresh = sibling_path(path, EXCHANGE)
    remove_all(fresh)
    aside = _second_name(path, keep_as, now_ms) if keep_as is not None and path.exists() else None
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        fill(fresh, aside)
        give_to_the_owner(path, fresh)
        sync(fresh)
        if aside is not None:
            # This may fail on a failing disk, which may be the reason for the exchange. Without it, the file's time may
            # differ after a power cut, so that the exchange is repeated.
            with contextlib.suppress(OSError):
                sync(path)
        _seal(fresh, Header(identity(path), aside.name if aside else None, why))
    except BaseException:
        remove_all(fresh)
        raise
    finish(path)
    return aside


def finish(path: Path) -> None:
    """Finish the exchange of a killed process, or discard its new file. Raises OSError."""
    _take_over_from_an_earlier_version(path)
    fresh = sibling_path(path, EXCHANGE)
    if not fresh.exists():
        remove_all(fresh)
        return
    header = _read_header(fresh)
    if header is None:
        remove_all(fresh)
    elif _fits(path, header):
        _put(path, fresh, header)
    else:
        _discard(path, fresh, header)


def is_pending(path: Path) -> bool:
    """Return whether there is a finished new file, which the next opening will put in place. Only reads."""
    fresh = sibling_path(path, EXCHANGE)
    header = _read_header(fresh) if fresh.exists() else None
    return header is not None and _fits(path, header)


def forget_header(db: FileDatabase) -> None:
    """Remove the header from a new file that has replaced the state file."""
    if db.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", [HEADER]).fetchone()[0]:
        db.execute(f"DROP TABLE {HEADER}")


def copies(path: Path) -> list[Path]:
    """Return the copies of damaged files beside a state file, oldest first."""
    found = path.parent.glob(f"{path.name}.{DAMAGED}-*Z*")
    return sorted(copy for copy in found if not copy.name.endswith(SQLITE_PARTS))


def copied_at_ms(copy: Path) -> int | None:
    """Return when a file was set aside, according to its name; None if the name does not say."""
    stamp = copy.name.rpartition(f".{DAMAGED}-")[2].partition("Z")[0] + "Z"
    try:
        return round(datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None


def _second_name(path: Path, word: str, now_ms: int) -> Path:
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime(_STAMP)
    aside = path.with_name(f"{path.name}.{word}-{stamp}")
    names = (aside.with_name(f"{aside.name}-{number}") for number in range(2, 10_000))
    return aside if not aside.exists() else next(name for name in names if not name.exists())


def _seal(fresh: Path, header: Header) -> None:
    """Write the header into the new file, whose content is on the disk; from then on the file is valid."""
    old = header.replaces
    with closing(FileDatabase(sqlite3.connect(fresh, isolation_level=None))) as db:
        use_write_ahead_log(db, fresh)
        db.execute("PRAGMA synchronous = FULL")
        # `_read_header` ignores the log, so the file has no header until the checkpoint at the end.
        with db.atomic():
            forget_header(db)
            db.execute(f"CREATE TABLE {HEADER} (device, inode, size, changed, aside, why)")
            # Stored as text, because the numbers may be larger than SQLite's integers.
            values = (old.device, old.inode, old.size, old.changed_ns) if old else (None,) * 4
            db.execute(
                f"INSERT INTO {HEADER} VALUES (?, ?, ?, ?, ?, ?)",
                [*(None if value is None else str(value) for value in values), header.aside, header.why],
            )
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    sync(fresh)
    sync_folder(fresh.parent)


def _read_header(fresh: Path) -> Header | None:
    """Return the header of a new file, read without SQLite's log; None if the file has no header."""
    try:
        with closing(sqlite3.connect(f"{fresh.absolute().as_uri()}?immutable=1", uri=True)) as db:
            *old, aside, why = db.execute(f"SELECT * FROM {HEADER}").fetchone()
        return Header(None if old[0] is None else Identity(*(int(value) for value in old)), aside, why)
    except (sqlite3.Error, UnicodeError, TypeError, ValueError):
        return None


def _fits(path: Path, header: Header) -> bool:
    """Return whether the present state file is the one that the new file was made to replace."""
    lies_there = identity(path)
    if lies_there == header.replaces:
        return True
    # Without hard links, the old file may have been renamed already.
    moved = header.aside is not None and identity(path.with_name(header.aside)) == header.replaces
    return lies_there is None and moved


def _put(path: Path, fresh: Path, header: Header) -> None:
    if header.aside is not None and path.exists():
        _keep(path, path.with_name(header.aside))
    for part in SQLITE_PARTS:
        left = path.with_name(path.name + part)
        if header.aside is None or part == "-shm":
            left.unlink(missing_ok=True)
        elif left.exists():
            put_in_place(left, path.with_name(header.aside + part))
    put_in_place(fresh, path)
    if header.why == DAMAGED:
        for copy in copies(path)[:-COPIES_KEPT]:
            _log.info("the oldest copy of a damaged state file is removed", extra={"path": str(copy)})
            remove_all(copy)


def _keep(path: Path, aside: Path) -> None:
    """Give the old file its second name."""
    if not (aside.exists() and aside.samefile(path)):
        try:
            os.link(path, aside)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            path.rename(aside)
    sync_folder(path.parent)


def _discard(path: Path, fresh: Path, header: Header) -> None:
    """Remove a new file that was made to replace a file other than the present one."""
    _log.warning(
        "a prepared new state file is discarded: the file that it was made to replace is gone",
        extra={"path": str(fresh), "detail": header.why},
    )
    aside = path.with_name(header.aside) if header.aside else None
    if aside is not None and aside.exists() and path.exists() and aside.samefile(path):
        # This is only a second name of the present file. A state file with two names would be refused.
        remove_all(aside)
    remove_all(fresh)


def _take_over_from_an_earlier_version(path: Path) -> None:
    """Remove the new file of an earlier version's rebuild, or use it if there is no state file."""
    remove_all(sibling_path(path, EARLIER_MAKING))
    made = sibling_path(path, EARLIER_MADE)
    if made.exists() and not path.exists():
        put_in_place(made, path)
    remove_all(made)
