"""A damaged state file set aside, and a new one made of what can be read of it: nothing lost, nothing told twice.

What the promise needs, and where it comes from:

- *When each source was met* (what was entered since is news): from its row, else from the essentials beside the file.
- *What was told*: the events themselves. Of those that cannot be read, the essentials know the ids: should such an
  event be found again, it is not told again.
- *What was not delivered*: the rows; else the essentials, which hold such events whole.
- *What was read*: the records. Those that cannot be read are met again, as unknown ones, by the sweep that follows.
  Entered before `told_until` they are history, for up to there everything had been read; entered since, they are news:
  told under the ids that they had, so that what was told is not told again (above), and what was not is.
- *Numbers that only grow*: the highest one that is known, and a leap beyond: readers' cursors stay behind what is new.

A `told_until` is only set where records were lost; with them whole, what is unknown is new as ever. Where nothing at
all is known of a source it is met anew: its records are history. `rebuilds` remembers all this for the condition
`state_rebuilt`, which tells people what was lost.

What cannot be had back: the state of a record between two changes, if the page with the record is lost. Its next change
is told as an update of the content that the sweep finds, and its revisions begin again at 1.
"""

import logging
import os
import sqlite3
from collections.abc import Collection
from contextlib import closing
from enum import Enum, auto
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from notifier.ledger.errors import LedgerError, LedgerReason, as_ledger_error
from notifier.ledger.ledger import APPLICATION_ID, open_database
from notifier.ledger.rebuilding import essentials, salvage
from notifier.ledger.rebuilding.aside import put_in_place, real_path, remove_all, set_aside
from notifier.ledger.rebuilding.damage import UNREADABLE, damage_in, forget_damage, is_damage
from notifier.ledger.rebuilding.essentials import Essentials, essentials_file, highest_sequence
from notifier.ledger.rebuilding.reconciling import Loss, leap, reconcile
from notifier.ledger.schema import migrations, steps

_log = logging.getLogger(__name__)

_MIGRATIONS: Final = "_sqlite_migrations"

_NOT_SALVAGED: Final = frozenset({"sweeps", "sweep_pages", _MIGRATIONS})
"""A sweep begins anew: it is what finds out what is missing. Which steps the file has taken is looked at otherwise."""


def open_or_rebuild(path: Path, now_ms: int) -> Database:
    """Open the state file; a damaged one, or one that is gone, is set aside and rebuilt. The caller holds the lock.

    Raises LedgerError, with the damaged file in its place, when there is no room for a new one or it cannot be written.
    """
    real = real_path(path)
    try:
        _finish_exchange(real, now_ms)
        known = essentials.read(essentials_file(real))
        problem = _problem(real, known)
        if problem is None:
            try:
                db = open_database(path)
            except (LedgerError, *UNREADABLE) as error:
                if not _says_damage(error):
                    raise
                problem = "its tables cannot be brought up to date"
            else:
                forget_damage(real)
                _overtake(db, known)
                return db
        _log.critical(
            "the state file is damaged; it is set aside, and a new one is made of what can be read of it",
            extra={"path": str(path), "detail": problem},
        )
        _rebuild(real, known or Essentials(now_ms, 0), problem, now_ms)
        return open_database(path)
    except OSError as error:
        raise LedgerError(
            LedgerReason.NOT_WRITABLE,
            f"the folder of state file {path} cannot be worked in ({error.strerror}): check it and its disk",
        ) from error
    except sqlite3.Error as error:
        named = as_ledger_error(error, path)
        if named is None:
            raise
        raise named from error


def _problem(path: Path, known: Essentials | None) -> str | None:
    """Say what is wrong with the state file; None when nothing is, or when it is no matter of ours."""
    met = known is not None and bool(known.sources)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return "it is gone" if met else None
    except OSError:
        return None
    if size == 0:
        return "it is empty" if met else None
    if not path.is_file():
        return None
    return damage_in(path, APPLICATION_ID, is_ours=known is not None)


def _says_damage(error: Exception) -> bool:
    """Tell whether an error of opening the file says that its content is wrong."""
    return error.reason is LedgerReason.CORRUPT if isinstance(error, LedgerError) else is_damage(error)


def _overtake(db: Database, known: Essentials | None) -> None:
    """Go beyond the numbers that events have had, should this file be an older one that was put back by hand."""
    if known is not None and known.sequence > highest_sequence(db):
        with db.atomic():
            leap(db, known.sequence)


class _Like(Enum):
    """Whose tables a new file is given; what the damaged one says of its own may be garbage."""

    ITS_OWN = auto()
    THIS_VERSION = auto()
    NOTHING_READ = auto()


def _rebuild(path: Path, known: Essentials, problem: str, now_ms: int) -> None:
    making = path.with_name(path.name + ".rebuilding")
    for like in _Like:
        try:
            loss = _make(making, path, like, known, problem, now_ms)
        except UNREADABLE as error:
            # A full disk is no better with another try; what damage has made of names and rules may be.
            of_the_content = is_damage(error) or (isinstance(error, sqlite3.Error) and not as_ledger_error(error, path))
            if like is _Like.NOTHING_READ or not of_the_content:
                raise
            _log.debug("another try to save what can be read", exc_info=True)
        else:
            break
    put_in_place(making, _finished(path))
    _finish_exchange(path, now_ms)
    _log.warning("the state file was rebuilt", extra={"path": str(path), "lost": str(loss)})


def _make(making: Path, path: Path, like: _Like, known: Essentials, problem: str, now_ms: int) -> Loss:
    """Make a new file, and say what could not be read of the damaged one."""
    remove_all(making)
    with closing(_new_file(making)) as fresh:
        loss = _fill(fresh, path, like)
        migrations.apply(fresh)
        fresh.execute("PRAGMA foreign_keys = OFF")
        with fresh.atomic():
            reconcile(fresh, known, loss, problem, now_ms)
        fresh.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        fresh.execute("PRAGMA journal_mode = DELETE")
    return loss


def _new_file(path: Path) -> Database:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    db = Database(sqlite3.connect(path, isolation_level=None))
    for setting in (
        "auto_vacuum = INCREMENTAL",
        f"application_id = {APPLICATION_ID}",
        "journal_mode = WAL",
        "synchronous = NORMAL",  # it gets its name once all of it is on the disk
        "foreign_keys = OFF",
    ):
        db.execute(f"PRAGMA {setting}")
    return db


def _finish_exchange(path: Path, now_ms: int) -> None:
    """Let a finished new file take the old one's place, be it after a process that was killed in between."""
    fresh = _finished(path)
    if not fresh.exists():
        return
    aside = set_aside(path, "damaged", now_ms)
    with closing(Database(sqlite3.connect(fresh, isolation_level=None))) as db:
        db.execute(
            "UPDATE rebuilds SET set_aside = ? WHERE set_aside IS NULL AND at = (SELECT max(at) FROM rebuilds)",
            [aside and str(aside)],
        )
    put_in_place(fresh, path)
    forget_damage(path)


def _finished(path: Path) -> Path:
    return path.with_name(path.name + ".rebuilt")


def _fill(fresh: Database, damaged: Path, like: _Like) -> Loss:
    """Copy what can be read of a damaged file, tables and all; say what could not be."""
    if like is _Like.NOTHING_READ or not damaged.exists() or damaged.stat().st_size == 0:
        return Loss(everything=True)
    with (
        closing(sqlite3.connect(f"{damaged.as_uri()}?mode=ro", uri=True, isolation_level=None)) as old,
        closing(Database(memory=True)) as present,
    ):
        migrations.apply(present)
        there = {table.name for table in salvage.tables(old)}
        taken = _steps_taken(old) if like is _Like.ITS_OWN and _MIGRATIONS in there else ()
        # Where it cannot be told which steps the file has taken, it counts as up to date.
        loss = _copy_as(old if taken else present.conn, old, there, fresh)
        _copy(fresh, present.conn, next(table for table in salvage.tables(present.conn) if table.name == _MIGRATIONS))
        if taken:
            names = ", ".join("?" * len(taken))
            fresh.execute(f"DELETE FROM {_MIGRATIONS} WHERE name NOT IN ({names})", taken)
        return loss


def _steps_taken(old: sqlite3.Connection) -> list[str]:
    """Return the steps of the schema that the file has taken; none when that cannot be told."""
    try:
        taken = {name for (name,) in old.execute(f"SELECT name FROM {_MIGRATIONS}")}
    except UNREADABLE as error:
        if not is_damage(error):
            raise
        return []
    # The first ones, without a gap: other names are what damage has made of them.
    first = steps()[: len(taken)]
    return first if taken == set(first) else []


def _copy_as(like: sqlite3.Connection, old: sqlite3.Connection, there: Collection[str], fresh: Database) -> Loss:
    """Make the tables that one file has, and copy what can be read of those rows in another one."""
    lost = []
    for table in salvage.tables(like):
        fresh.execute(table.sql)
        if table.name in _NOT_SALVAGED:
            continue
        whole = table.name in there and _copy(fresh, old, table)
        if table.name == "deliveries" and not whole:
            _copy_unfinished(fresh, old)
        if table.name == "records" and not _keys_agree(fresh, old):
            whole = False
        if not whole:
            lost.append(table.name)
    with fresh.atomic():
        # Afterwards, so that triggers do not count twice, and indexes are built at once.
        for (statement,) in like.execute("SELECT sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL"):
            fresh.execute(statement)
    return Loss(tuple(lost))


def _copy(fresh: Database, old: sqlite3.Connection, table: salvage.Table) -> bool:
    """Copy a table's rows; tell whether all were there."""
    reader = salvage.Reader(old, table)
    places = ", ".join("?" * len(table.columns))
    copied, read = 0, 0
    for rows in reader.rows():
        read += len(rows)
        with fresh.atomic():
            # What breaks the table's own rules makes no sense either.
            statement = f"INSERT OR IGNORE INTO {table.name} ({table.names}) VALUES ({places})"
            copied += fresh.conn.executemany(statement, rows).rowcount
    return reader.is_whole and copied == read


def _keys_agree(fresh: Database, old: sqlite3.Connection) -> bool:
    """Remove the records whose key an index of its own does not have, and tell whether there were none.

    A damaged key would be looked for in the list in vain, and told as removed.
    """
    fresh.execute("CREATE TEMP TABLE keys (source TEXT, key TEXT, PRIMARY KEY (source, key)) WITHOUT ROWID")
    try:
        fresh.conn.executemany(
            "INSERT OR IGNORE INTO keys VALUES (?, ?)",
            old.execute("SELECT source, key FROM records INDEXED BY records_by_key"),
        )
        impostors = "(source, key) NOT IN (SELECT source, key FROM keys)"
        return fresh.execute(f"DELETE FROM records WHERE {impostors}").rowcount == 0
    except UNREADABLE:
        # The index is damaged too, and proves nothing.
        return True
    finally:
        fresh.execute("DROP TABLE keys")


def _copy_unfinished(fresh: Database, old: sqlite3.Connection) -> None:
    """Copy what an index of its own knows of the deliveries that wait."""
    try:
        rows = old.execute(
            "SELECT sequence, destination, state, next_attempt_at FROM deliveries INDEXED BY deliveries_unfinished"
            " WHERE state <> 'delivered'"
        ).fetchall()
    except UNREADABLE:
        return
    with fresh.atomic():
        fresh.conn.executemany(
            "INSERT OR IGNORE INTO deliveries (sequence, destination, state, next_attempt_at) VALUES (?, ?, ?, ?)", rows
        )
