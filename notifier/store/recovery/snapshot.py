"""The essentials: data that must survive the loss of the whole state file. They are stored beside it.

If the state file is gone or too old, only the essentials show what is missing:

- the first contact of each source, and the time of entry before which no record is news
- up to MAX_UNDELIVERED undelivered events; those that cannot be found again (updates, removals, alerts) come first
- the identity of up to MAX_OWED further `created` events, to announce them when their records are found again
- the ids of announced events

Rows have the names of their columns, so that columns of a later version are included. The stamp of the essentials, a
random id, is also stored in the state file. A file with the stamp is at least as new as the essentials.

`essentials.py` reads and writes the essentials file; `compare.py` compares it with the state file.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from msgspec import Struct, field

from notifier.store.database import Database, json_list
from notifier.store.queries.feed import highest_sequence

MAX_UNDELIVERED: Final = 5_000
"""Maximum number of undelivered events that are kept whole; they take a few megabytes."""

MAX_OWED: Final = 100_000
"""Maximum number of further `created` events of which only the identity is kept; each takes about 100 bytes."""

MAX_ANNOUNCED: Final = 10_000
"""Maximum number of ids of announced events that are kept (the newest); they take just under a megabyte."""

STAMPS_KEPT: Final = 100
"""Number of stamps (ids of essentials files) that the state file keeps. Fewer would do: only two such files exist."""

MARGIN_MS: Final = 600_000
"""An upper bound in milliseconds for the difference between the server's clock and the local one."""

_DAY_MS: Final = 86_400_000

Row = Mapping[str, Any]
"""A row of a table, by column name."""


class AnnouncedEvent(NamedTuple):
    """An announced event; essentials of the first format contain only its `id`, and the other fields are None."""

    id: str
    source: str | None = None
    key: str | None = None
    revision: int | None = None


class OwedEvent(NamedTuple):
    """A `created` event that the essentials keep without its content, and the destinations that still wait for it."""

    id: str
    source: str
    key: str
    revision: int
    destinations: tuple[str, ...]


class KnownSource(Struct, frozen=True):
    """A source's row. No record with a time of entry before `read_ms` (Unix ms) is news; see `read_until_ms`."""

    row: Row
    read_ms: int

    @property
    def first_contact_ms(self) -> int:
        """The time of the first contact, by the server's clock; records entered later are new."""
        return int(self.row["met_at"])

    @property
    def last_success_ms(self) -> int | None:
        """The time of the last successful round (Unix ms); None if there was none."""
        success: int | None = self.row["last_success"]
        return success


class UndeliveredEvent(Struct, frozen=True):
    """An event that some of its destinations have not received, with its undelivered deliveries."""

    event: Row
    deliveries: tuple[Row, ...]

    @property
    def id(self) -> str:
        """The event's id."""
        return str(self.event["id"])


class Snapshot(Struct, frozen=True):
    """The essentials; times in Unix milliseconds."""

    written_ms: int
    sequence: int
    """The highest number that an event ever had."""
    stamp: str = ""
    sources: Mapping[str, KnownSource] = field(default_factory=dict)
    disabled: Mapping[str, tuple[str | None, int | None]] = field(default_factory=dict)
    """The disabled destinations, each with the reason and the time when it was disabled."""
    undelivered: tuple[UndeliveredEvent, ...] = ()
    owed: tuple[OwedEvent, ...] = ()
    left_out: int = 0
    """The number of undelivered events that are in neither `undelivered` nor `owed`."""
    announced: tuple[AnnouncedEvent, ...] = ()
    """The events detected since `announced_since_ms`.

    Not included: alerts, the events in `owed`, and the events that `left_out` counts.
    """
    announced_since_ms: int = 0
    """`announced` has all events that were detected since this time; 0 means all events ever detected."""


def has_stamp(db: Database, stamp: str) -> bool:
    """Return whether the state file contains this stamp of essentials, and so is at least as new as they are."""
    return db.execute("SELECT 1 FROM essentials_stamps WHERE stamp = ?", [stamp]).fetchone() is not None


def add_stamp(db: Database, stamp: str, now_ms: int) -> None:
    """Store the stamp of essentials in a state file that already contains all their data."""
    db.execute("INSERT INTO essentials_stamps (stamp, at) VALUES (?, ?) ON CONFLICT DO NOTHING", [stamp, now_ms])


def columns(db: Database, table: str) -> tuple[str, ...]:
    """Return the names of a table's columns, except BLOB columns, which JSON cannot hold."""
    rows = db.execute(f"PRAGMA table_info('{table}')").fetchall()
    return tuple(row[1] for row in rows if row[2].upper() != "BLOB")


def change_signature(db: Database) -> tuple[Any, ...]:
    """Return a value that changes when the essentials have to be written again. Fast.

    It depends on the newest event, the undelivered deliveries, the disabled destinations, and the first contact and
    last sweep of each source.
    """
    (newest,) = db.execute("SELECT max(sequence) FROM events").fetchone()
    unfinished = db.execute(
        "SELECT count(*), total(sequence), total(state = 'dead') FROM deliveries WHERE state <> 'delivered'"
    ).fetchone()
    sources = db.execute("SELECT name, met_at, swept_at FROM sources ORDER BY name").fetchall()
    disabled = db.execute("SELECT name, since FROM destinations WHERE state = 'disabled' ORDER BY name").fetchall()
    return (newest, *unfinished, *sources, *disabled)


def has_urgent_events(db: Database, after: int) -> bool:
    """Return whether an update or removal with an event number above `after` is undelivered.

    Unlike a `created` event, such an event could not be found again through the API.
    """
    row = db.execute(
        "SELECT 1 FROM events WHERE sequence > ? AND type IN ('completion.updated', 'completion.removed')"
        " AND EXISTS (SELECT 1 FROM deliveries WHERE deliveries.sequence = events.sequence AND state <> 'delivered')"
        " LIMIT 1",
        [after],
    ).fetchone()
    return row is not None


def take_snapshot(db: Database, now_ms: int, *, instead_of: str = "") -> Snapshot:
    """Read the essentials from the state file, and store their stamp in that file, in the caller's transaction.

    If earlier essentials could not be written, `instead_of` is their stamp, which is deleted from the state file.
    """
    stamp = secrets.token_hex(8)
    db.execute("DELETE FROM essentials_stamps WHERE stamp = ?", [instead_of])
    add_stamp(db, stamp, now_ms)
    db.execute(
        "DELETE FROM essentials_stamps WHERE id NOT IN (SELECT id FROM essentials_stamps ORDER BY id DESC LIMIT ?)",
        [STAMPS_KEPT],
    )
    whole, owed, left_out = _undelivered(db)
    unannounced = {it.id for it in owed} | left_out
    # Ordered by number and not by time, because the times are those of the local clock, which may be wrong.
    announced = db.execute(
        "SELECT id, source, subject, revision, detected_at FROM events WHERE type <> 'notifier.alert'"
        " ORDER BY sequence DESC LIMIT ?",
        [MAX_ANNOUNCED],
    ).fetchall()
    disabled = db.execute("SELECT name, reason, since FROM destinations WHERE state = 'disabled'")
    return Snapshot(
        now_ms,
        highest_sequence(db),
        stamp,
        dict(_sources(db)),
        {name: (reason, since) for name, reason, since in disabled},
        whole,
        owed,
        len(left_out),
        tuple(AnnouncedEvent(*row[:4]) for row in announced if row[0] not in unannounced),
        announced[-1][4] if len(announced) == MAX_ANNOUNCED else 0,
    )


def read_until_ms(
    first_contact_ms: int, swept_at_ms: int | None, sweep_began_ms: int | None, success_ms: int | None
) -> int:
    """Return the time of entry before which no record is news: every such record was read or is history. Pure.

    The result is slightly before the beginning of the last finished sweep. If that beginning is unknown, a day before
    the sweep's end is used instead. Until a first sweep has finished, the result is the first contact
    (`first_contact_ms`), because the first poll reads only the top of the list.
    """
    if swept_at_ms is None or success_ms is None:
        return first_contact_ms
    began_ms = swept_at_ms - _DAY_MS if sweep_began_ms is None else sweep_began_ms
    return max(first_contact_ms, min(began_ms, success_ms) - MARGIN_MS)


def _sources(db: Database) -> Iterator[tuple[str, KnownSource]]:
    names = columns(db, "sources")
    began = "SELECT max(started_at) FROM sweeps WHERE source = sources.name AND finished_at IS NOT NULL"
    rows = db.execute(f"SELECT ({began}), {', '.join(names)} FROM sources WHERE met_at IS NOT NULL").fetchall()
    for sweep_began, *values in rows:
        row = dict(zip(names, values, strict=True))
        yield (
            row["name"],
            KnownSource(row, read_until_ms(row["met_at"], row["swept_at"], sweep_began, row["last_success"])),
        )


def _undelivered(db: Database) -> tuple[tuple[UndeliveredEvent, ...], tuple[OwedEvent, ...], set[str]]:
    """Return the undelivered events in three groups.

    The events in the first group have all their data. Those in the second have only their identity and their
    destinations. The third group contains only ids.
    """
    names = columns(db, "events")
    waiting = "SELECT DISTINCT sequence FROM deliveries WHERE state <> 'delivered'"
    (count,) = db.execute(f"SELECT count(*) FROM ({waiting})").fetchone()
    # Sorted by type only if some have to be left out, because sorting a hundred thousand events takes long.
    order = "type = 'completion.created', sequence" if count > MAX_UNDELIVERED else "sequence"
    rows = db.execute(
        f"SELECT {', '.join(names)} FROM events WHERE sequence IN ({waiting}) ORDER BY {order} LIMIT ?",
        [MAX_UNDELIVERED],
    ).fetchall()
    events = [dict(zip(names, row, strict=True)) for row in rows]
    deliveries = _deliveries_of(db, [event["sequence"] for event in events])
    whole = tuple(UndeliveredEvent(event, tuple(deliveries[event["sequence"]])) for event in events)
    if count <= MAX_UNDELIVERED:
        return whole, (), set()
    others = db.execute(
        "SELECT id, source, subject, revision, type, (SELECT json_group_array(destination) FROM deliveries"
        " WHERE deliveries.sequence = events.sequence AND state <> 'delivered')"
        f" FROM events WHERE sequence IN ({waiting}) ORDER BY {order} LIMIT -1 OFFSET ?",
        [MAX_UNDELIVERED],
    ).fetchall()
    created = [row for row in others if row[4] == "completion.created"]
    owed = tuple(
        OwedEvent(id_, source, key, revision, tuple(orjson.loads(destinations)))
        for id_, source, key, revision, _, destinations in created[:MAX_OWED]
    )
    return whole, owed, {row[0] for row in others} - {it.id for it in owed}


def _deliveries_of(db: Database, sequences: Sequence[int]) -> dict[int, list[Row]]:
    names = columns(db, "deliveries")
    rows = db.execute(
        f"SELECT {', '.join(names)} FROM deliveries WHERE state <> 'delivered'"
        " AND sequence IN (SELECT value FROM json_each(?))",
        [json_list(sequences)],
    ).fetchall()
    found: dict[int, list[Row]] = {sequence: [] for sequence in sequences}
    for values in rows:
        row = dict(zip(names, values, strict=True))
        found[row["sequence"]].append(row)
    return found
