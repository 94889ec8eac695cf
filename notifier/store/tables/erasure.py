"""Erases the personal data of records that were removed long ago and, if an operator requests it, of one person.

A record's key, dates, revision and fingerprint are kept, so that no event is reported twice. SQLite overwrites the
erased content (`secure_delete`).
"""

import json
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from notifier.store.database import Database
from notifier.store.tables import expiries, request_log

CHUNK: Final = 500
"""The most records erased in one transaction, so that other work does not wait long for the store."""

ERASED: Final = "{}"
"""The JSON of a record whose content was erased."""

_EXAMINED_AT_ONCE: Final = 2000


class KnownPerson(Struct, frozen=True):
    """A person in a source's data; `name` is None if neither the list of people nor an event contains it."""

    source: str
    id: str
    name: str | None


class Erased(Struct, frozen=True):
    """The numbers of rows erased for a person; `living` counts the kept records, which the account still contains."""

    events: int = 0
    deliveries: int = 0
    records: int = 0
    names: int = 0
    living: int = 0


class ErasedEvents(Struct, frozen=True):
    """The numbers of rows erased; `behind` is the number of the last event examined (None: no events are left)."""

    events: int
    deliveries: int
    behind: int | None


def erase_removed(db: Database, before_ms: int) -> int:
    """Erase the content of up to CHUNK records that were removed before `before_ms`; return how many were erased."""
    rows = db.execute(
        "UPDATE records SET record = '{}', user_id = '' WHERE id IN (SELECT id FROM records"
        " WHERE removed_at < ? AND removed_at IS NOT NULL AND record <> '{}' ORDER BY removed_at LIMIT ?)"
        " RETURNING source, key",
        [before_ms, CHUNK],
    ).fetchall()
    expiries.erase_people(db, rows)
    return len(rows)


def delete_names(db: Database, source: str, users: Sequence[str]) -> int:
    """Delete the names of people who are not in `users` and have no present record; return how many were deleted."""
    gone = [
        id_
        for (id_,) in db.execute(
            "SELECT id FROM people WHERE source = ? AND id NOT IN (SELECT value FROM json_each(?))",
            [source, json.dumps([*users])],
        )
    ]
    if not gone:
        return 0
    return int(
        db.execute(
            "DELETE FROM people WHERE source = :source AND id IN (SELECT value FROM json_each(:gone)) AND id NOT IN"
            " (SELECT user_id FROM records WHERE source = :source AND removed_at IS NULL"
            " AND user_id IN (SELECT value FROM json_each(:gone)))",
            {"source": source, "gone": json.dumps(gone)},
        ).rowcount
    )


def find_people(db: Database, text: str) -> list[KnownPerson]:
    """Return the people of all sources whose id, or else employee number, or else name is exactly `text`.

    If the lists of people contain no such person, the records and the events are searched.
    """
    for column in ("id", "employee_number", "name"):
        found = db.execute(f"SELECT source, id, name FROM people WHERE {column} = ? ORDER BY source, id", [text])
        if people := [KnownPerson(*row) for row in found]:
            return people
    known = db.execute(
        "SELECT source, user_id, CAST(NULL AS TEXT) FROM records WHERE user_id = :text UNION SELECT source,"
        " json_extract(data, '$.completion.user_id'), json_extract(data, '$.completion.user_name') FROM events"
        " WHERE :text IN (json_extract(data, '$.completion.user_id'), json_extract(data, '$.completion.user_name'),"
        " json_extract(data, '$.completion.user_employee_number'))",
        {"text": text},
    )
    people = [KnownPerson(*row) for row in known]
    named = {(person.source, person.id) for person in people if person.name is not None}
    return [person for person in people if person.name is not None or (person.source, person.id) not in named]


def erase_events(db: Database, person: KnownPerson, behind: int = 0) -> ErasedEvents:
    """Delete a person's events and their deliveries, and remove the person as instructor from other people's events.

    Each call examines a limited number of events with numbers above `behind`, so it must be repeated until no events
    are left.
    """
    rows = db.execute(
        "SELECT sequence, json_extract(data, '$.completion.user_id'), json_extract(data, '$.completion.instructor_id')"
        " FROM events WHERE sequence > ? AND source = ? ORDER BY sequence LIMIT ?",
        [behind, person.source, _EXAMINED_AT_ONCE],
    ).fetchall()
    own = [(sequence,) for sequence, user, _ in rows if user == person.id]
    deliveries = db.executemany("DELETE FROM deliveries WHERE sequence = ?", own).rowcount if own else 0
    # An answer about other people's events may name the person, too, if they shared a request.
    request_log.delete_for_events(
        db, [sequence for sequence, user, instructor in rows if person.id in (user, instructor)]
    )
    for table, column in (("events", "sequence"), ("attempt_runs", "first_sequence")):
        # A run of attempts that also covers other people's events stays; it contains only numbers.
        where = " AND last_sequence = first_sequence" if table == "attempt_runs" else ""
        db.executemany(f"DELETE FROM {table} WHERE {column} = ?{where}", own)
    for sequence, user, instructor in rows:
        if instructor == person.id and user != person.id:
            (data,) = db.execute("SELECT data FROM events WHERE sequence = ?", [sequence]).fetchone()
            db.execute("UPDATE events SET data = ? WHERE sequence = ?", [_without_instructor(data), sequence])
    return ErasedEvents(len(own), max(0, deliveries), rows[-1][0] if len(rows) == _EXAMINED_AT_ONCE else None)


def _without_instructor(data: str) -> str:
    """Return an event's JSON with null in all fields about the instructor; everything else stays the same."""
    event = json.loads(data)
    for part, names in _INSTRUCTOR_FIELDS.items():
        if isinstance(event.get(part), dict):
            event[part] |= {name: None for name in names if name in event[part]}
    return json.dumps(event, separators=(",", ":"))


_INSTRUCTOR_FIELDS: Final = {
    "completion": ("instructor_id", "instructor_name", "instructor_employee_number"),
    "record": ("m_instructor_id", "instructor_id"),
}


def erase_records(db: Database, person: KnownPerson) -> Erased:
    """Erase a person's name and facts, and the content of the person's removed records; count the other records.

    The other records are those that the account still has, and are kept. If they were erased, the next poll would read
    their content again, and their next change would be reported wrongly.
    """
    here = [person.source, person.id]
    records = db.execute(
        "UPDATE records SET record = '{}', user_id = '' WHERE source = ? AND user_id = ? AND removed_at IS NOT NULL",
        here,
    ).rowcount
    expiries.delete_person(db, person.source, person.id)
    names = db.execute("DELETE FROM people WHERE source = ? AND id = ?", here).rowcount
    (living,) = db.execute(
        "SELECT count(*) FROM records WHERE source = ? AND user_id = ? AND removed_at IS NULL", here
    ).fetchone()
    return Erased(records=records, names=names, living=living)
