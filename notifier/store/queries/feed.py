"""The feed: events in the order of detection, from any position, a page at a time."""

from typing import Final

from msgspec import Struct

from notifier.events import Event
from notifier.store.database import Database, EngineSql, json_list

EXAMINED_AT_ONCE: Final = 2000
"""Number of events examined in one transaction, so that other work does not wait long for the store."""


class EventFilter(Struct, frozen=True):
    """The requested sources and types of events; an empty set means any."""

    sources: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    def admits(self, source: str, type_: str) -> bool:
        """Return whether events of this source and type are requested."""
        return (not self.sources or source in self.sources) and (not self.types or type_ in self.types)


class EventPage(Struct, frozen=True):
    """A page of events in order; the next page begins after event number `next`.

    `ended` means that there are no more events at present.
    """

    events: tuple[Event, ...]
    next: int
    ended: bool


_POSITION: Final = EngineSql(
    sqlite="SELECT seq FROM sqlite_sequence WHERE name = 'events'",
    postgres="SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM events_sequence_seq",
)


def highest_sequence(db: Database) -> int:
    """Return the highest number that any event of this store has had, deleted ones included; 0 if there was none."""
    row = db.execute(_POSITION.on(db)).fetchone()
    return row[0] if row else 0


def newest_number(db: Database) -> int:
    """Return the highest number of a stored event; 0 if there is none.

    In PostgreSQL, `highest_sequence` also includes the number of an event that is still being written.
    """
    number: int = db.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()[0]
    return number


def page_after(db: Database, after: int, chosen: EventFilter, limit: int, max_bytes: int) -> EventPage:
    """Return a page of requested events among the next EXAMINED_AT_ONCE events after number `after`.

    The page ends after `limit` events, or as soon as the data of its events reaches `max_bytes` bytes.
    """
    looked_at, last = _events_to_examine(db, after)
    rows = db.execute(
        "SELECT sequence, id, type, source, subject, detected_at, data FROM events"
        " WHERE sequence > :after AND sequence <= :last"
        " AND (:sources = '[]' OR source IN (SELECT value FROM json_each(:sources)))"
        " AND (:types = '[]' OR type IN (SELECT value FROM json_each(:types)))"
        " ORDER BY sequence",
        {"after": after, "last": last, "sources": json_list(chosen.sources), "types": json_list(chosen.types)},
    )
    events: list[Event] = []
    size = 0
    for number, id_, type_, source, subject, at, data in rows:
        events.append(Event(number, id_, type_, source, subject, at, data.encode()))
        size += len(data)
        if len(events) == limit or size >= max_bytes:
            return EventPage(tuple(events), number, ended=number == last and looked_at < EXAMINED_AT_ONCE)
    return EventPage(tuple(events), last, ended=looked_at < EXAMINED_AT_ONCE)


def known_source_names(db: Database) -> frozenset[str]:
    """Return the names of all sources in the store, including those no longer configured."""
    return frozenset(name for (name,) in db.execute("SELECT name FROM sources"))


def _events_to_examine(db: Database, after: int) -> tuple[int, int]:
    """Return how many events to examine (at most EXAMINED_AT_ONCE), and the number of the last one.

    If there are no events after `after`, the second value is `after`.
    """
    numbers = "SELECT sequence FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"
    found, last = db.execute(
        f"SELECT count(*), coalesce(max(sequence), ?) FROM ({numbers}) AS looked_at", [after, after, EXAMINED_AT_ONCE]
    ).fetchone()
    return found, last
