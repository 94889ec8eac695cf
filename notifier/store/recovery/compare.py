"""Compares a state file with the essentials beside it at every opening, and adds what the file lacks.

The file may be intact, new, made from a damaged one, or too old. All cases are handled in the same way. An undamaged
file with the stamp of the essentials lacks nothing. Otherwise, sources, undelivered events, last successful polls and
event numbers are compared. One transaction adds:

- sources with their first contact and other values, except the values that describe their lost records
- undelivered events with ids, numbers and deliveries (of some, only the identity is kept: see `announced_events`)
- the ids of announced events, so that they are not announced again (table `told_before`)
- if records were lost, a time of entry (`told_until`): unknown records from before that time are not announced
- an event number above every number that receivers may have seen

If the file is too old, it may contain waiting deliveries that were finished later. These are not sent again. Unfinished
replays and releases in such a file are ended.

The table `rebuilds` stores the result for two conditions: `state_rebuilt` if the file was damaged or gone, and
`state_behind` if it was too old. Both say since when changes may be missing. Delivered events cannot be recovered. The
essentials may lack the latest events: undelivered updates and removals of the last second, and delivered updates and
removals of the last half minute.
"""

from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from notifier.store.database import Database, json_list
from notifier.store.queries.feed import highest_sequence
from notifier.store.recovery.snapshot import MARGIN_MS, Row, Snapshot, add_stamp, columns, has_stamp, read_until_ms
from notifier.store.tables import holds, replays, sweeps

SKIPPED_EVENT_NUMBERS: Final = 1_000_000
"""How far the next event's number is above the highest known one, because higher numbers may have been used."""

_RECORD_COLUMNS: Final = frozenset(
    {
        "records",
        "swept_at",
        "head_key",
        "head_day",
        "count_offset",
        "unreadable",
        "unreadable_known",
        "unreadable_key",
        "unreadable_field",
        "unreadable_problem",
        "unexplained",
        "unexplained_since",
        "left_over",
        "held",
        "held_arrivals",
        "held_changes",
        "held_field",
        "release_removals",
        "release_changes",
        "renumbered",
        "renumbered_at",
    }
)
"""Columns of the table `sources` that describe the records in the same file. A source from the essentials comes without
records, so if it is added to a file, these columns keep their default values."""

_ORPHANED_ROWS: Final = (
    "deliveries WHERE sequence NOT IN (SELECT sequence FROM events)",
    (
        "attempt_runs WHERE NOT EXISTS (SELECT 1 FROM deliveries"
        " WHERE sequence BETWEEN first_sequence AND last_sequence AND destination = attempt_runs.destination)"
    ),
    (
        "request_log WHERE NOT EXISTS (SELECT 1 FROM events"
        " WHERE sequence BETWEEN request_log.first_sequence AND request_log.last_sequence)"
    ),
    "replay_parts WHERE replay NOT IN (SELECT id FROM replays)",
)
"""The rows to delete because they refer to rows that were lost."""


class RebuildKind(StrEnum):
    """Why a comparison is stored (column `rebuilds.kind`): the file was rebuilt, or was older than the essentials."""

    REBUILT = "rebuilt"
    BEHIND = "behind"


class Loss(Struct, frozen=True):
    """What could not be read of a damaged file: some rows of these `tables`, or `everything`."""

    tables: tuple[str, ...] = ()
    everything: bool = False

    def includes(self, table: str) -> bool:
        """Return whether rows of a table were lost."""
        return self.everything or table in self.tables

    def __str__(self) -> str:
        """Return the loss as text."""
        return "everything" if self.everything else ", ".join(self.tables) or "nothing"


class Rebuild(Struct, frozen=True):
    """How a file was made from the readable parts of a damaged one."""

    problem: str
    """What was wrong with the damaged file."""
    loss: Loss
    """What could not be read."""
    kept_as: str | None
    """The path at which the damaged file is kept; None if there was no file."""


class Missing(Struct, frozen=True):
    """What the essentials have and a state file lacks."""

    unknown_sources: tuple[str, ...]
    """Sources without a first contact in the file."""
    outdated_sources: tuple[str, ...]
    """Sources whose last success in the file is earlier than in the essentials."""
    number_gap: int
    """The last event number in the essentials minus that in the file; 0 if negative."""
    undelivered: int
    """The number of undelivered events that the file lacks."""
    since_ms: int | None
    """The latest success of any source in the file (Unix ms); None if there is none."""

    def __bool__(self) -> bool:
        """Return whether anything is missing."""
        return bool(self.unknown_sources or self.outdated_sources or self.number_gap or self.undelivered)

    def __str__(self) -> str:
        """Return what is missing as text."""
        sentences = [f"source {name} was unknown" for name in self.unknown_sources]
        sentences += [f"source {name} was last read more recently than the file says" for name in self.outdated_sources]
        if self.undelivered:
            sentences.append(f"{self.undelivered} undelivered events were missing")
        if self.number_gap:
            sentences.append("events with higher numbers had been created")
        return ", ".join(sentences)


class Comparison(Struct, frozen=True):
    """The result of a comparison, stored because the file lacked something. Only the newest result counts."""

    at_ms: int
    """The time of the comparison (Unix ms)."""
    problem: str
    set_aside: str | None
    """The path at which a damaged file is kept; None if no file was replaced."""
    lost: str
    """What was missing or could not be read."""
    since_ms: int | None = None
    """Updates and removals may be missing since then (Unix ms; None: unknown)."""
    kind: RebuildKind = RebuildKind.REBUILT


def add_missing_data(db: Database, known: Snapshot, now_ms: int, rebuild: Rebuild | None = None) -> Missing | None:
    """Add what a file lacks compared with the essentials (`known`), in one transaction.

    Returns what was missing, or None if nothing was missing and nothing was rebuilt. `rebuild` is given if the file was
    made from a damaged one.
    """
    if rebuild is None and has_stamp(db, known.stamp):
        return None
    missing = find_missing(db, known)
    with db.atomic():
        if rebuild is not None or missing:
            _write_missing_data(db, known, missing, now_ms, rebuild)
        if known.stamp:
            add_stamp(db, known.stamp, now_ms)
    return missing if missing or rebuild is not None else None


def find_missing(db: Database, known: Snapshot) -> Missing:
    """Return what the essentials have and a file lacks."""
    rows = {name: (met, success) for name, met, success in db.execute("SELECT name, met_at, last_success FROM sources")}
    unknown_sources = tuple(name for name in known.sources if rows.get(name, (None, None))[0] is None)
    earlier = tuple(
        name
        for name, source in known.sources.items()
        if name not in unknown_sources and (rows[name][1] or 0) < (source.last_success_ms or 0)
    )
    ids = [*(it.id for it in known.undelivered), *(it.id for it in known.owed)]
    (undelivered,) = db.execute(
        "SELECT count(*) FROM json_each(?) WHERE value NOT IN (SELECT id FROM events)"
        " AND value NOT IN (SELECT id FROM told_before) AND value NOT IN (SELECT id FROM owed)",
        [json_list(ids)],
    ).fetchone()
    # Announced events that only the essentials have are not missing: the retention may have deleted them from the file.
    return Missing(
        unknown_sources,
        earlier,
        max(0, known.sequence - highest_sequence(db)),
        undelivered,
        max((success for _, success in rows.values() if success is not None), default=None),
    )


def is_newer(db: Database, known: Snapshot) -> bool:
    """Return whether a file is a later state of the file that these essentials were read from.

    Only the first contacts and the last successes of the sources are compared. Undelivered events prove nothing: if a
    newer file lacks them, they were delivered or dropped, and then deleted. Event numbers prove nothing either, because
    each restore skips some.
    """
    found = {row[:2]: row[2] for row in db.execute("SELECT name, met_at, coalesce(last_success, 0) FROM sources")}
    expected = {(name, it.first_contact_ms): it.last_success_ms or 0 for name, it in known.sources.items()}
    later_ms = [found.get(key, -1) - success_ms for key, success_ms in expected.items()]
    return min(later_ms, default=0) >= 0 and max(later_ms, default=0) > 0


def latest_comparison(db: Database) -> Comparison | None:
    """Return the newest of the stored comparisons that are not marked as ended; None if there is none."""
    row = db.execute(
        "SELECT at, problem, set_aside, lost, since, kind FROM rebuilds WHERE ended_at IS NULL ORDER BY at DESC LIMIT 1"
    ).fetchone()
    return None if row is None else Comparison(row[0], row[1], row[2], row[3], row[4], RebuildKind(row[5]))


def end_comparison(db: Database, now_ms: int) -> None:
    """Mark all stored comparisons as ended, because all data that the file lacked is known again."""
    db.execute("UPDATE rebuilds SET ended_at = ? WHERE ended_at IS NULL", [now_ms])


def _write_missing_data(db: Database, known: Snapshot, missing: Missing, now_ms: int, rebuild: Rebuild | None) -> None:
    loss = rebuild.loss if rebuild else Loss()
    if highest := max(known.sequence, highest_sequence(db)):
        skip_event_numbers(db, highest)
    if rebuild is None:
        _mark_delivered(db, known)
        replays.stop(db, now_ms)
        holds.cancel_releases(db)
    for undelivered in known.undelivered:
        _add_undelivered_event(db, undelivered.event, undelivered.deliveries)
    for orphans in _ORPHANED_ROWS if rebuild else ():
        db.execute(f"DELETE FROM {orphans}")
    _add_owed_events(db, known, now_ms)
    db.executemany(
        "INSERT INTO told_before (id, source, key, revision, at) SELECT ?1, ?2, ?3, ?4, ?5"
        " WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = ?1) ON CONFLICT (id) DO NOTHING",
        [(*announced, now_ms) for announced in known.announced],
    )
    for name, (reason, since) in known.disabled.items():
        db.execute(
            "INSERT INTO destinations (name, state, reason, since) VALUES (?, 'disabled', ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET state = 'disabled', reason = excluded.reason, since = excluded.since"
            " WHERE ? AND state <> 'disabled'",
            # A file made from readable rows may be newer than the essentials, so its own values stay.
            [name, reason, since, rebuild is None],
        )
    for name in known.sources:
        db.execute("INSERT OR IGNORE INTO sources (name) VALUES (?)", [name])
        _restore_source(db, known.sources[name].row)
    _set_announcing_start(db, known, missing, loss)
    if loss.includes("events"):
        _delete_unannounced_records(db, known)
    db.execute(
        "UPDATE sources SET records = (SELECT count(*) FROM records WHERE source = sources.name"
        " AND removed_at IS NULL AND out_of_view = 0)"
    )
    _begin_sweeps(db, now_ms)
    _store_comparison(db, known, missing, now_ms, rebuild)


def _begin_sweeps(db: Database, now_ms: int) -> None:
    """Let a new sweep of every source begin at once: only sweeps find lost updates and removals again."""
    for (name,) in db.execute("SELECT name FROM sources WHERE met_at IS NOT NULL").fetchall():
        sweeps.delete_unfinished(db, name)
        sweeps.resume_or_start(db, name, now_ms)


def _store_comparison(db: Database, known: Snapshot, missing: Missing, now_ms: int, rebuild: Rebuild | None) -> None:
    lost = str(rebuild.loss) if rebuild else str(missing)
    if known.left_out:
        lost += f"; and {known.left_out} undelivered events, more than the essentials can store"
    kind = RebuildKind.REBUILT if rebuild else RebuildKind.BEHIND
    problem = rebuild.problem if rebuild else "it was older than the essentials beside it"
    since_ms = known.written_ms if known.sources else missing.since_ms
    db.execute(
        "INSERT INTO rebuilds (at, problem, set_aside, lost, kind, since)"
        " SELECT max(?1, coalesce((SELECT max(at) + 1 FROM rebuilds WHERE at >= ?1), 0)), ?2, ?3, ?4, ?5, ?6",
        [now_ms, problem, rebuild.kept_as if rebuild else None, lost, kind, since_ms],
    )


def _mark_delivered(db: Database, known: Snapshot) -> None:
    """In a file that is too old, mark as delivered those deliveries that are finished according to the essentials."""
    unfinished = {f"{it.id} {delivery['destination']}" for it in known.undelivered for delivery in it.deliveries}
    unfinished |= {f"{it.id} {destination}" for it in known.owed for destination in it.destinations}
    ids = [*(it.id for it in known.announced), *(it.id for it in known.undelivered), *(it.id for it in known.owed)]
    db.execute(
        "UPDATE deliveries SET state = 'delivered' WHERE state <> 'delivered'"
        " AND sequence IN (SELECT sequence FROM events WHERE id IN (SELECT value FROM json_each(?)))"
        " AND (SELECT id FROM events e WHERE e.sequence = deliveries.sequence) || ' ' || destination"
        " NOT IN (SELECT value FROM json_each(?))",
        [json_list(ids), json_list(unfinished)],
    )


def _add_undelivered_event(db: Database, event: Row, deliveries: tuple[Row, ...]) -> None:
    """Add an undelivered event with its deliveries.

    If its number belongs to another event, it gets a new number. If it was announced before, nothing is added.
    If the file already contains the event, only missing deliveries are added.
    """
    there = "SELECT sequence FROM events WHERE id = ?"
    if db.execute("SELECT 1 FROM told_before WHERE id = ?", [event["id"]]).fetchone():
        return
    for row in (event, {**event, "sequence": None}):
        if db.execute(there, [event["id"]]).fetchone() is None:
            _insert(db, "events", row)
    found = db.execute(there, [event["id"]]).fetchone()
    if found is not None:
        for delivery in deliveries:
            _insert(db, "deliveries", {**delivery, "sequence": found[0]})


def _insert(db: Database, table: str, row: Row) -> None:
    """Insert a row, without columns that this version does not have; do nothing if a conflicting row exists."""
    names = [name for name in columns(db, table) if name in row]
    places = ", ".join("?" * len(names))
    db.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({places})", [row[name] for name in names])


def _add_owed_events(db: Database, known: Snapshot, now_ms: int) -> None:
    for owed in known.owed:
        if (found := db.execute("SELECT sequence FROM events WHERE id = ?", [owed.id]).fetchone()) is not None:
            for destination in owed.destinations:
                _insert(db, "deliveries", {"sequence": found[0], "destination": destination})
        else:
            db.execute(
                "INSERT OR REPLACE INTO owed (source, key, id, revision, destinations, at) VALUES (?, ?, ?, ?, ?, ?)",
                [owed.source, owed.key, owed.id, owed.revision, json_list(owed.destinations), now_ms],
            )
            # The record is deleted, so that it is found again and announced.
            db.execute(
                "DELETE FROM records WHERE source = ? AND key = ? AND revision <= ? AND removed_at IS NULL",
                [owed.source, owed.key, owed.revision],
            )


def _restore_source(db: Database, row: Row) -> None:
    """If a source has no first contact in the file, fill in its row with the values of `row`."""
    names = [name for name in columns(db, "sources") if name in row and name not in _RECORD_COLUMNS | {"name"}]
    db.execute(
        f"UPDATE sources SET {', '.join(f'{name} = ?' for name in names)} WHERE name = ? AND met_at IS NULL",
        [*(row[name] for name in names), row["name"]],
    )


def _set_announcing_start(db: Database, known: Snapshot, missing: Missing, loss: Loss) -> None:
    """For sources that lost records or ids of announced events, set the column `told_until`.

    Unknown records with a time of entry before `told_until` are not announced.
    """
    for name, met_ms, swept_ms, success_ms in db.execute(
        "SELECT name, met_at, swept_at, last_success FROM sources WHERE met_at IS NOT NULL"
    ).fetchall():
        lost = loss.includes("records") or loss.includes("sources") or name in missing.unknown_sources
        if lost and name in known.sources:
            line_ms = max(known.sources[name].read_ms, known.announced_since_ms)
        elif lost and loss.includes("events"):
            # It is not known which events were announced. A gap that is reported is better than a day's events
            # announced twice.
            line_ms = max(met_ms, (success_ms or met_ms) - MARGIN_MS)
        elif lost:
            line_ms = read_until_ms(met_ms, swept_ms, None, success_ms)
        elif name in missing.outdated_sources and known.announced_since_ms > (success_ms or 0) - MARGIN_MS:
            # More events were announced after that success than the essentials have ids for.
            db.execute("UPDATE sources SET told_until = ? WHERE name = ?", [known.announced_since_ms, name])
            continue
        else:
            continue
        db.execute(
            "UPDATE sources SET told_until = ?, swept_at = NULL, left_over = NULL, count_offset = 0 WHERE name = ?",
            [line_ms, name],
        )


def _delete_unannounced_records(db: Database, known: Snapshot) -> None:
    """Delete recent records without an event, because their events may have been lost before they were sent.

    A poll or sweep finds these records again. Each one is announced, unless an earlier announcement is known.
    """
    for name, source in known.sources.items():
        db.execute(
            "DELETE FROM records WHERE source = ? AND revision = 1 AND removed_at IS NULL AND recorded_at >= ?"
            " AND NOT EXISTS (SELECT 1 FROM events WHERE events.source = records.source AND subject = key)",
            [name, max(source.read_ms, source.first_contact_ms)],
        )


def skip_event_numbers(db: Database, highest: int) -> None:
    """Skip the SKIPPED_EVENT_NUMBERS event numbers after `highest`."""
    values: list[Any] = [highest + SKIPPED_EVENT_NUMBERS]
    if db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'events'", values).rowcount == 0:
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)", values)
