"""The feed: events in the order of their detection, from any place on, a page at a time."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import orjson
from sqlite_utils import Database

from notifier.completions import Event

LOOK: Final = 2000
"""Events looked at in one transaction, so that nobody waits long for the ledger."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are asked for: of one of these sources and of one of these types; an empty set means any."""

    sources: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    def admits(self, source: str, type_: str) -> bool:
        """Tell whether events of a source and a type are asked for."""
        return (not self.sources or source in self.sources) and (not self.types or type_ in self.types)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events in order; the next page begins behind number `next`, and `ended` says that it has nothing yet."""

    events: tuple[Event, ...]
    next: int
    ended: bool


def position(db: Database) -> int:
    """Return the highest number that an event of this state file was ever given, forgotten ones included; 0: none."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return row[0] if row else 0


def page_after(db: Database, after: int, chosen: EventFilter, limit: int, most_bytes: int) -> EventPage:
    """Return the chosen ones among the next LOOK events behind number `after`, as far as they go on a page.

    A page ends with `limit` events, or with the one whose data brings it to `most_bytes`.
    """
    looked_at, last = _end_of_look(db, after)
    rows = db.execute(
        "SELECT sequence, id, type, source, subject, detected_at, data FROM events"
        " WHERE sequence > :after AND sequence <= :last"
        " AND (:sources = '[]' OR source IN (SELECT value FROM json_each(:sources)))"
        " AND (:types = '[]' OR type IN (SELECT value FROM json_each(:types)))"
        " ORDER BY sequence",
        {"after": after, "last": last, "sources": _json(chosen.sources), "types": _json(chosen.types)},
    )
    events: list[Event] = []
    size = 0
    for number, id_, type_, source, subject, at, data in rows:
        events.append(Event(number, id_, type_, source, subject, at, data.encode()))
        size += len(data)
        if len(events) == limit or size >= most_bytes:
            return EventPage(tuple(events), number, ended=number == last and looked_at < LOOK)
    return EventPage(tuple(events), last, ended=looked_at < LOOK)


def sources_heard_of(db: Database) -> frozenset[str]:
    """Return the names of all sources that the file knows, those that the configuration has dropped included."""
    return frozenset(name for (name,) in db.execute("SELECT name FROM sources"))


def _end_of_look(db: Database, after: int) -> tuple[int, int]:
    """Return how many of the next LOOK events behind `after` there are, and the number of the last of them."""
    numbers = "SELECT sequence FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"
    found, last = db.execute(
        f"SELECT count(*), coalesce(max(sequence), ?) FROM ({numbers})", [after, after, LOOK]
    ).fetchone()
    return found, last


def _json(values: Collection[str]) -> str:
    return orjson.dumps(sorted(values)).decode()
