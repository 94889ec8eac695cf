"""Opens the state file for the daemon, and for every command that writes to it.

`FileStore` takes the lock first. Then these steps follow. After a kill, the next opening begins again with step 1:

1. An interrupted exchange is finished or discarded.
2. SQLite recovers the work of a killed process, from the journal or log beside the file.
3. A file that is damaged, or gone while its essentials exist, is rebuilt from what can be read.
4. The file is compared with the essentials, and data that it lacks is added.

Rules:

- A file that is gone or empty counts as lost if its essentials name a source. To start from scratch, the operator
  deletes both the file and the essentials.
- If the file is gone or empty and its essentials cannot be used, the start is refused. Otherwise, the daemon would
  report old completions as new, or lose waiting deliveries. Essentials cannot be used if they are of a newer version,
  or if they and the previous ones are unreadable. Beside an intact file, such essentials are set aside.
- Two rebuilds within an hour mean that the disk is failing. The start is then refused until the hour is over. The
  newest COPIES_KEPT copies of damaged files are kept.
- If the disk cannot read the file's first page, the start is refused. The content may become readable again.
"""

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.connection import (
    FileDatabase,
    connect,
    is_empty,
    make_empty,
    not_writable,
    note_damage,
    refuse_foreign_or_newer,
    set_up,
)
from notifier.store.file.errors import ErrorConversion, as_store_error
from notifier.store.file.files import ESSENTIALS, open_private, real_path, restrict_permissions
from notifier.store.file.store import FileStore
from notifier.store.migrations import migrations
from notifier.store.recovery import essentials, exchange, snapshot
from notifier.store.recovery.compare import Loss, Missing, Rebuild, add_missing_data
from notifier.store.recovery.detect import (
    UNREADABLE,
    delete_damage_marker,
    find_damage,
    has_application_id,
    is_damage,
    is_header_damage,
)
from notifier.store.recovery.essentials import EssentialsReading, EssentialsState
from notifier.store.recovery.snapshot import Snapshot

if TYPE_CHECKING:
    from notifier.store.recovery.salvage import SchemaSource

_log = logging.getLogger(__name__)

_COPY_PAUSE_SECONDS: Final = 1.0
_LONGEST_COPY_SECONDS: Final = 30.0
"""How long to wait for the end of a copy over the open state file, and how often the file is examined."""

MAX_REBUILDS: Final = 2
"""The number of rebuilds within REBUILDS_WITHIN_MS after which the disk counts as failing."""

REBUILDS_WITHIN_MS: Final = 3_600_000

_GONE: Final = "it is missing"
_EMPTY: Final = "it is empty"


def open_store(path: Path, now_ms: Callable[[], int]) -> FileStore:
    """Return a store that opens the state file with `open_state_file`; nothing is opened yet."""
    return FileStore(path, lambda file: open_state_file(file, now_ms()), lambda db, file: rescue(db, file, now_ms()))


def open_state_file(path: Path, now_ms: int) -> FileDatabase:
    """Open the state file for writing; create, recover, rebuild and migrate it as needed.

    The caller holds the lock. Raises StoreError; all recoverable data is then still in files beside this path.
    """
    real = real_path(path)
    try:
        with ErrorConversion(path):
            restrict_permissions(real)
            exchange.finish_exchange(real)
            reading = essentials.read(real)
            db = _open_checked(real, path, reading, now_ms)
            with ExitStack() as on_failure:
                on_failure.callback(db.close)
                delete_damage_marker(real)
                exchange.delete_header(db)
                _set_unreadable_aside(real, reading)
                if reading.snapshot is not None:
                    _log_missing(add_missing_data(db, reading.snapshot, now_ms), path)
                on_failure.pop_all()
                return db
    except OSError as error:
        raise StoreError(
            StoreReason.NOT_WRITABLE,
            f"the folder of state file {path} cannot be used ({error.strerror}): check it and its disk",
        ) from error
    except StoreError as error:
        if error.reason is StoreReason.CORRUPT:
            # The check at the beginning has not found this damage. The next opening checks everything, and repairs it.
            note_damage(path)
        raise


def needed_recovery(path: Path) -> str | None:
    """Return why the state file must be recovered before it can be read; None if it can be read as it is.

    Changes nothing. It is for commands that only read the file, even while a daemon runs.
    """
    real = real_path(path)
    try:
        if exchange.is_pending(real):
            return "a restored or rebuilt state file is ready to replace the old one"
        if not real.exists() or real.stat().st_size == 0:
            return (
                None
                if essentials.read(real).state is EssentialsState.NONE
                else "the state file is missing, and can be rebuilt"
            )
    except OSError:
        return None
    return None


def rescue(db: FileDatabase | None, path: Path, now_ms: int) -> None:
    """Save the content of an open state file after it or its write-ahead log was removed or replaced.

    Writes the essentials. If no file has the state file's name now, a new state file is made, too. Failures are logged.
    After a failure, the next opening uses the essentials.

    If `db` is None, another database was copied over the open file. In this case, that database is saved: it is copied
    to a new file, which becomes the state file. Without the copy, SQLite would write the open file's log into that
    database.
    """
    real = real_path(path)
    try:
        if db is None:
            _wait_until_unchanged(real)
            exchange.replace_state_file(real, lambda fresh, _: _copy(real, fresh), "overwritten", now_ms, keep_as=None)
            return
        with db.atomic():
            known = snapshot.take_snapshot(db, now_ms)
        essentials.write(real, known)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if not real.exists():
            exchange.replace_state_file(
                real, lambda fresh, _: _copy_content(db, fresh), "rescued", now_ms, keep_as=None
            )
    except (*UNREADABLE, OSError, StoreError):
        _log.exception("the contents of the open state file could not be saved", extra={"path": str(path)})


def _wait_until_unchanged(file: Path) -> None:
    """Wait until no program writes to a file any more, for at most _LONGEST_COPY_SECONDS. Raises OSError."""
    end, before = time.monotonic() + _LONGEST_COPY_SECONDS, None
    while time.monotonic() < end:
        found = file.stat()
        now = found.st_size, found.st_mtime_ns
        if now == before:
            return
        before = now
        time.sleep(_COPY_PAUSE_SECONDS)


def _copy(file: Path, fresh: Path) -> None:
    shutil.copyfile(file, fresh)


def _copy_content(db: FileDatabase, fresh: Path) -> None:
    with closing(sqlite3.connect(fresh)) as copy:
        db.conn.backup(copy)


def _open_checked(real: Path, path: Path, reading: EssentialsReading, now_ms: int) -> FileDatabase:
    """Open the file; create it first if it does not exist yet, and rebuild it first if it is damaged or lost."""
    problem = _loss_reason(real, reading)
    if problem is None and _has_content(real):
        opened = _open_if_intact(real, path, is_ours=reading.state is not EssentialsState.NONE)
        if isinstance(opened, FileDatabase):
            return opened
        problem = opened
    elif problem is None:
        # The file never existed, so there is nothing to keep or compare.
        exchange.replace_state_file(real, _fill_new, "new", now_ms, keep_as=None)
        return _open_or_raise(real, path)
    _refuse_repeated_rebuild(real, path, now_ms)
    _log.critical(
        "the state file is damaged; it is renamed, and a new one is made from the data that can be read",
        extra={"path": str(path), "detail": problem},
    )
    _rebuild(real, path, reading, problem, now_ms)
    return _open_or_raise(real, path)


def _has_content(real: Path) -> bool:
    try:
        return real.stat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError as error:
        raise not_writable(real, error) from error


def _loss_reason(real: Path, reading: EssentialsReading) -> str | None:
    """Return why the state file counts as lost; None if it has content, or never had any. Raises StoreError."""
    if _has_content(real) or reading.state is EssentialsState.NONE:
        return None
    problem = _EMPTY if real.exists() else _GONE
    if reading.snapshot is None:
        raise _unreadable_essentials_error(real, problem, reading)
    return problem if reading.snapshot.sources else None


def _unreadable_essentials_error(real: Path, problem: str, reading: EssentialsReading) -> StoreError:
    side_file = f"{real}{ESSENTIALS}"
    if reading.state is EssentialsState.NEWER:
        return StoreError(
            StoreReason.NEWER_VERSION,
            f"state file {real}: {problem}, and a file beside it was written by a newer version of notifier"
            f" ({side_file}, {reading.detail}): install that version again, or restore a backup",
        )
    return StoreError(
        StoreReason.ESSENTIALS_UNREADABLE,
        f"state file {real}: {problem}, and {side_file} cannot be read ({reading.detail}), so it is unknown which"
        " events were sent: restore a backup, or delete both to start over",
    )


def _open_if_intact(real: Path, path: Path, *, is_ours: bool) -> FileDatabase | str:
    """Open an existing file, or return a description of its damage. Raises StoreError, sqlite3.Error.

    An unreadable header counts as damage if the file has essentials (`is_ours`) or a state file's application id.
    Otherwise the file counts as another program's.
    """
    if real.is_dir() or not os.access(real, os.R_OK | os.W_OK):
        return _open_or_raise(real, path)
    marked = has_application_id(real)
    with ExitStack() as on_failure:
        try:
            db = connect(real)
            on_failure.callback(db.close)
            empty = is_empty(db)
            problem = None if empty else find_damage(db, real)
        except UNREADABLE as error:
            if not is_header_damage(error) or not (is_ours or marked):
                raise
            return str(error)
        if problem is not None:
            return problem
        try:
            if empty:
                make_empty(db)
            else:
                refuse_foreign_or_newer(db, path)
            set_up(db, path)
        except UNREADABLE as error:
            if not is_damage(error):
                raise
            return "its tables cannot be updated to this version"
        on_failure.pop_all()
        return db


def _open_or_raise(real: Path, path: Path) -> FileDatabase:
    """Open a file that must be intact, such as a new one. Raises StoreError, sqlite3.Error."""
    try:
        os.close(open_private(real, os.O_RDWR))
    except OSError as error:
        raise not_writable(path, error) from error
    with ExitStack() as on_failure:
        db = connect(real)
        on_failure.callback(db.close)
        refuse_foreign_or_newer(db, path)
        set_up(db, path)
        on_failure.pop_all()
        return db


def _fill_new(fresh: Path, _aside: Path | None) -> None:
    with closing(_new_file(fresh)) as db, db.atomic():
        migrations.apply(db)


def _set_unreadable_aside(real: Path, reading: EssentialsReading) -> None:
    if reading.state in (EssentialsState.UNREADABLE, EssentialsState.NEWER):
        _log.error(
            "the essentials beside the state file cannot be read; they are set aside and written again",
            extra={"path": f"{real}{ESSENTIALS}", "detail": reading.detail},
        )
        essentials.set_unreadable_aside(real)


def _log_missing(missing: Missing | None, path: Path) -> None:
    if missing is not None:
        _log.warning(
            "the state file was older than its essentials; the missing data was added",
            extra={"path": str(path), "detail": str(missing)},
        )


def _refuse_repeated_rebuild(real: Path, path: Path, now_ms: int) -> None:
    """Raise StoreError if there were MAX_REBUILDS rebuilds in the last REBUILDS_WITHIN_MS."""
    made = [exchange.set_aside_at_ms(copy) for copy in exchange.damaged_copies(real)]
    lately = [at_ms for at_ms in made if at_ms is not None and 0 <= now_ms - at_ms < REBUILDS_WITHIN_MS]
    if len(lately) >= MAX_REBUILDS:
        raise StoreError(
            StoreReason.FAILING_DISK,
            f"state file {path} was rebuilt {len(lately)} times within an hour and is damaged again, so its disk is"
            " probably failing; move its folder to another disk, or restore a backup onto one",
        )


def _rebuild(real: Path, path: Path, reading: EssentialsReading, problem: str, now_ms: int) -> None:
    # Imported here and below, because hardly any file is ever damaged.
    from notifier.store.recovery.salvage import SchemaSource  # noqa: PLC0415

    for schema in SchemaSource:
        losses: list[Loss] = []

        def fill(
            fresh: Path, kept_path: Path | None, schema: SchemaSource = schema, losses: list[Loss] = losses
        ) -> None:
            losses.append(_fill_rebuilt(fresh, kept_path, real, schema, reading, problem, now_ms))

        try:
            exchange.replace_state_file(real, fill, exchange.DAMAGED, now_ms, keep_as=exchange.DAMAGED)
        except UNREADABLE as error:
            # A further attempt cannot help against a full disk; it may help if tables or constraints are damaged.
            of_the_content = is_damage(error) or (isinstance(error, sqlite3.Error) and not as_store_error(error, path))
            if schema is SchemaSource.NOTHING_READ or not of_the_content:
                raise
            _log.debug("another attempt to save what can be read", exc_info=True)
        else:
            _log.warning("the state file was rebuilt", extra={"path": str(path), "lost": str(losses[0])})
            return


def _fill_rebuilt(
    fresh: Path,
    kept_path: Path | None,
    real: Path,
    schema: "SchemaSource",
    reading: EssentialsReading,
    problem: str,
    now_ms: int,
) -> Loss:
    """Fill a new file with the readable parts of the damaged one and the essentials; return the loss."""
    from notifier.store.recovery.salvage import copy_readable_data  # noqa: PLC0415

    with closing(_new_file(fresh)) as db:
        loss = copy_readable_data(db, real, schema)
        if loss.everything and reading.snapshot is None and reading.state is not EssentialsState.NONE:
            raise _unreadable_essentials_error(real, "nothing of it can be read", reading)
        migrations.apply(db)
        db.execute("PRAGMA foreign_keys = OFF")
        known = reading.snapshot or Snapshot(now_ms, 0)
        add_missing_data(db, known, now_ms, Rebuild(problem, loss, str(kept_path) if kept_path else None))
    return loss


def _new_file(path: Path) -> FileDatabase:
    """Open a new file to be filled; the caller syncs it to the disk once it is complete."""
    db = connect(path)
    for setting in ("journal_mode = MEMORY", "synchronous = OFF", "foreign_keys = OFF"):
        db.execute(f"PRAGMA {setting}")
    make_empty(db)
    return db
