"""The log of events: the newest first, a page at a time, with filters. Nothing here writes.

One call examines about EXAMINED_AT_ONCE events at most. Depending on the filter, these are the events about a person,
the events with an unfinished delivery, or simply the next events. If few of them match, the page has fewer events than
requested, although older events may match. Every page says where to continue.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Any, Final

from msgspec import Struct

from notifier.store.database import NUMBERS, Database, json_list
from notifier.store.queries import search
from notifier.store.queries.dashboard import SELECT_LINE, EventLine, to_event_line
from notifier.store.queries.orphans import unfinished_destinations
from notifier.store.queries.record_history import can_be_stored
from notifier.store.tables import records_by_person
from notifier.store.tables.outbox import DeliveryState

EXAMINED_AT_ONCE: Final = 5_000
"""Maximum number of events that one call examines, so that it ends soon, whatever the filter."""

_HIGHEST: Final = 2**63 - 1
_LONGEST: Final = 200
_MAX_PEOPLE: Final = 10_000
_MAX_TRAININGS: Final = 1_000
_MAX_PEOPLE_BY_INDEX: Final = 50
"""For up to this many people, events are found by the keys of the people's records; for more, all are examined."""

_CLOCK_WINDOW: Final = 200
"""How many events next to a date are examined: after the clock was set back, their times may be out of order."""


class EventLogFilter(Struct, frozen=True):
    """The requested events; empty values and None mean any."""

    person: str = ""
    """An id, an employee number or parts of a name."""
    training: str = ""
    """An id or parts of a title."""
    types: frozenset[str] = frozenset()
    source: str = ""
    destination: str = ""
    state: DeliveryState | None = None
    """The state of a delivery to `destination`."""
    since_ms: int | None = None
    """The earliest time of detection (Unix ms)."""
    until_ms: int | None = None
    """The time before which events were detected (Unix ms)."""


class LoggedEvent(Struct, frozen=True):
    """An event with the number of its deliveries by state.

    If the filter names a destination, only deliveries to that destination are counted. If exactly one delivery is
    counted, `destination` and `state` are its values; otherwise both are None.
    """

    event: EventLine
    deliveries: Counter[DeliveryState]
    destination: str | None
    state: DeliveryState | None


class EventLogPage(Struct, frozen=True):
    """A page of requested events, newest first."""

    events: tuple[LoggedEvent, ...]
    next: int | None
    """The next page begins below this event number; None without a next page."""
    searched_ms: int | None = None
    """When the oldest examined event was detected (Unix ms); None if the page is full or no older events are left."""


class _Candidates(Struct, frozen=True):
    """The events to examine: all with a number above `floor`; if `numbers` is given, only those among `numbers`."""

    floor: int
    numbers: Sequence[int] | None = None


def read_page(
    db: Database, chosen: EventLogFilter, before: int | None, limit: int, *, max_examined: int = EXAMINED_AT_ONCE
) -> EventLogPage:
    """Return the newest events that match the filter, up to `limit`, with numbers below `before` (None: any number)."""
    numbers, following = numbers_before(db, chosen, before, limit, max_examined=max_examined)
    events = _events(db, numbers, chosen.destination)
    searched_ms = None
    if following is not None and len(numbers) < limit:
        row = db.execute("SELECT detected_at FROM events WHERE sequence >= ? ORDER BY sequence LIMIT 1", [following])
        searched_ms = next((at for (at,) in row.fetchall()), None)
    return EventLogPage(events, following, searched_ms)


def numbers_before(
    db: Database, chosen: EventLogFilter, before: int | None, limit: int, *, max_examined: int = EXAMINED_AT_ONCE
) -> tuple[list[int], int | None]:
    """Return the numbers of one page's events, newest first, and the value of `before` for the next page.

    The page has up to `limit` events that match the filter and have numbers below `before` (None: any number). If there
    is no next page, the second value is None.
    """
    if not (can_be_stored(chosen.person) and can_be_stored(chosen.training)):
        return [], None
    top, bottom = _bounds(db, chosen, before)
    people = _matching_people(db, chosen.person[:_LONGEST].strip())
    trainings = _matching_trainings(db, chosen.training[:_LONGEST].strip())
    if top <= bottom + 1:
        return [], None
    area = _choose_candidates(db, chosen, people, top, bottom, max_examined)
    terms, values = _conditions(chosen, people, trainings)
    among = "events e"
    if area.numbers is not None:
        # The few numbers come first, because their range may contain all events.
        listed = "SELECT CAST(value AS BIGINT) AS number FROM json_each(:numbers)"
        among = f"({listed}) n CROSS JOIN events e ON e.sequence = n.number"
        values["numbers"] = json_list(area.numbers)
    rows = db.execute(
        f"SELECT e.sequence FROM {among} WHERE {' AND '.join(['e.sequence > :floor', 'e.sequence < :top', *terms])}"
        " ORDER BY e.sequence DESC LIMIT :limit",
        {**values, "floor": area.floor, "top": top, "limit": limit + 1},
    ).fetchall()
    found = [number for (number,) in rows]
    if len(found) > limit:
        return found[:limit], found[limit - 1]
    return found, area.floor + 1 if area.floor > bottom else None


def _bounds(db: Database, chosen: EventLogFilter, before: int | None) -> tuple[int, int]:
    """Return an upper and a lower event number (both exclusive) between which all matching events lie."""
    top, bottom = _HIGHEST if before is None else before, 0
    if chosen.until_ms is not None:
        (last,) = db.execute(
            "SELECT max(sequence) FROM (SELECT sequence FROM events WHERE detected_at < ?"
            " ORDER BY detected_at DESC, sequence DESC LIMIT ?) AS nearest",
            [chosen.until_ms, _CLOCK_WINDOW],
        ).fetchone()
        top = min(top, 0 if last is None else last + 1)
    if chosen.since_ms is not None:
        (first,) = db.execute(
            "SELECT min(sequence) FROM (SELECT sequence FROM events WHERE detected_at >= ?"
            " ORDER BY detected_at, sequence LIMIT ?) AS nearest",
            [chosen.since_ms, _CLOCK_WINDOW],
        ).fetchone()
        bottom = _HIGHEST - 1 if first is None else first - 1
    return top, bottom


def _choose_candidates(
    db: Database, chosen: EventLogFilter, people: Collection[str] | None, top: int, bottom: int, max_examined: int
) -> _Candidates:
    """Choose about `max_examined` events to examine, with the most selective index."""
    if people is not None and (keys := _keys_of(db, people)) is not None:
        return _candidates_of_rows(
            db.execute(
                "SELECT sequence FROM events WHERE subject IN (SELECT value FROM json_each(?)) AND sequence < ?"
                " AND sequence > ? ORDER BY sequence DESC LIMIT ?",
                [json_list(keys), top, bottom, max_examined + 1],
            ).fetchall(),
            max_examined,
            bottom,
        )
    if chosen.state in (DeliveryState.PENDING, DeliveryState.DEAD):
        return _unfinished_candidates(db, chosen, top, bottom, max_examined)
    floor = db.execute(
        "SELECT sequence FROM events WHERE sequence < ? AND sequence > ? ORDER BY sequence DESC LIMIT 1 OFFSET ?",
        [top, bottom, max_examined],
    ).fetchone()
    return _Candidates(bottom if floor is None else floor[0])


def _candidates_of_rows(rows: Sequence[tuple[int]], max_examined: int, bottom: int) -> _Candidates:
    """Return the first `max_examined` of the `rows` (event numbers, descending) as candidates.

    `floor` of the result is the next number in `rows`. If there is no next number, `floor` is `bottom`.
    """
    return _Candidates(
        rows[max_examined][0] if len(rows) > max_examined else bottom, [number for (number,) in rows[:max_examined]]
    )


def _unfinished_candidates(
    db: Database, chosen: EventLogFilter, top: int, bottom: int, max_examined: int
) -> _Candidates:
    """Choose events to examine among those with a delivery in the filter's state, which must be pending or dead."""
    names = [chosen.destination] if chosen.destination else unfinished_destinations(db)
    share = max(1, max_examined // max(1, len(names)))
    parts = [
        _candidates_of_rows(
            db.execute(
                "SELECT sequence FROM deliveries WHERE destination = ? AND state = ? AND state <> 'delivered'"
                " AND sequence < ? AND sequence > ? ORDER BY sequence DESC LIMIT ?",
                [name, chosen.state, top, bottom, share + 1],
            ).fetchall(),
            share,
            bottom,
        )
        for name in names
    ]
    numbers = {number for part in parts for number in part.numbers or ()}
    return _Candidates(max((part.floor for part in parts), default=bottom), sorted(numbers, reverse=True))


def _matching_people(db: Database, text: str) -> list[str] | None:
    """Return the people whom a search text matches, each as "source id"; None if the text is empty."""
    if not text:
        return None
    return [*(f"{it.source} {it.id}" for it in search.find_people(db, text, _MAX_PEOPLE)), *_at_each_source(db, text)]


def _matching_trainings(db: Database, text: str) -> list[str] | None:
    """Return the trainings that a search text matches, each as "source id"; None if the text is empty."""
    if not text:
        return None
    condition, values = search.contains_words("title", text)
    rows = db.execute(
        f"SELECT source, id FROM trainings WHERE {condition} ORDER BY source, id LIMIT ?", [*values, _MAX_TRAININGS]
    ).fetchall()
    return [*(f"{source} {id_}" for source, id_ in rows), *_at_each_source(db, text)]


def _at_each_source(db: Database, id_: str) -> list[str]:
    return [f"{name} {id_}" for (name,) in db.execute("SELECT name FROM sources").fetchall()]


def _keys_of(db: Database, people: Collection[str]) -> list[str] | None:
    """Return the keys of these people's records, including records that have since moved to other people.

    Return None if finding them would mean reading too many records.
    """
    ids = {person.partition(" ")[2] for person in people}
    if len(ids) > _MAX_PEOPLE_BY_INDEX or records_by_person.index_hint(db) is None:
        return None
    rows = db.execute(
        "SELECT key FROM records WHERE user_id IN (SELECT value FROM json_each(:ids)) UNION SELECT subject FROM events"
        " WHERE moved_from IN (SELECT value FROM json_each(:ids)) AND moved_from IS NOT NULL",
        {"ids": json_list(sorted(ids))},
    ).fetchall()
    return [key for (key,) in rows]


def _conditions(
    chosen: EventLogFilter, people: Collection[str] | None, trainings: Collection[str] | None
) -> tuple[list[str], dict[str, Any]]:
    """Return the SQL conditions that an event `e` must meet, and the values of their named parameters."""
    terms: list[str] = []
    values: dict[str, Any] = {}
    # The cheap conditions come first: SQLite evaluates them in this order, and the last ones parse the event's data.
    for term, value in (("e.detected_at >= :since", chosen.since_ms), ("e.detected_at < :until", chosen.until_ms)):
        if value is not None:
            terms.append(term)
            values[term.partition(":")[2]] = value
    if chosen.source:
        terms.append("e.source = :source")
        values["source"] = chosen.source
    if chosen.types:
        terms.append("e.type IN (SELECT value FROM json_each(:types))")
        values["types"] = json_list(sorted(chosen.types))
    wanted = [f"d.{name} = :{name}" for name in ("destination", "state") if getattr(chosen, name)]
    if wanted:
        terms.append(f"EXISTS (SELECT 1 FROM deliveries d WHERE {' AND '.join(['d.sequence = e.sequence', *wanted])})")
        values |= {name: getattr(chosen, name) for name in ("destination", "state") if getattr(chosen, name)}
    for what, ids in (("user", people), ("training", trainings)):
        if ids is not None:
            terms.append(
                f"e.source || ' ' || json_extract(e.data, '$.completion.{what}_id')"
                f" IN (SELECT value FROM json_each(:{what}))"
            )
            values[what] = json_list(ids)
    return terms, values


def _events(db: Database, numbers: Sequence[int], destination: str) -> tuple[LoggedEvent, ...]:
    wanted = json_list(numbers)
    rows = db.execute(
        f"{SELECT_LINE} WHERE sequence IN {NUMBERS} ORDER BY sequence DESC",
        [wanted],
    ).fetchall()
    counts: defaultdict[int, Counter[DeliveryState]] = defaultdict(Counter)
    named: defaultdict[int, list[tuple[str, DeliveryState]]] = defaultdict(list)
    for number, state, count, first in db.execute(
        "SELECT sequence, state, count(*), min(destination) FROM deliveries"
        f" WHERE sequence IN {NUMBERS} AND (? = '' OR destination = ?) GROUP BY sequence, state",
        [wanted, destination, destination],
    ).fetchall():
        counts[number][DeliveryState(state)] = count
        named[number].append((first, DeliveryState(state)))
    return tuple(_logged(line, counts[line.sequence], named[line.sequence]) for line in map(to_event_line, rows))


def _logged(line: EventLine, counts: Counter[DeliveryState], named: Sequence[tuple[str, DeliveryState]]) -> LoggedEvent:
    if counts.total() != 1:
        return LoggedEvent(line, counts, None, None)
    ((destination, state),) = named
    return LoggedEvent(line, counts, destination, state)
