"""Erases the personal data in records that were removed long ago and, at an operator's request, that of one person.

A record's key, dates, revision and fingerprint stay, so that no event is reported twice. SQLite overwrites the erased
content (`secure_delete`).
"""

import json
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from notifier.store.database import Database
from notifier.store.tables import expiries, request_log
from notifier.store.tables.settlements import LONGEST_RUN

CHUNK: Final = 500
"""Maximum number of records erased in one transaction, so that other work does not wait long for the store."""

_EXAMINED_AT_ONCE: Final = 2000


class KnownPerson(Struct, frozen=True):
    """A person in a source's data; `name` is None if it is in neither the list of people nor an event."""

    source: str
    id: str
    name: str | None


class Erased(Struct, frozen=True):
    """The numbers of rows erased for a person; `living` counts the records kept because the account still has them."""

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
    """Return the people of all sources whose id is exactly `text`.

    If nobody has this id, employee numbers are compared, then names. If the lists of people contain no such person, the
    records and the events are searched, which also finds instructors.
    """
    for column in ("id", "employee_number", "name"):
        found = db.execute(f"SELECT source, id, name FROM people WHERE {column} = ? ORDER BY source, id", [text])
        if people := [KnownPerson(*row) for row in found]:
            return people
    in_events = "".join(
        f" UNION SELECT source, json_extract(data, '$.completion.{role}_id'),"
        f" json_extract(data, '$.completion.{role}_name') FROM events WHERE :text IN"
        f" (json_extract(data, '$.completion.{role}_id'), json_extract(data, '$.completion.{role}_name'),"
        f" json_extract(data, '$.completion.{role}_employee_number'))"
        for role in ("user", "instructor")
    )
    known = db.execute(
        f"SELECT source, user_id, CAST(NULL AS TEXT) FROM records WHERE user_id = :text{in_events}"
        " UNION SELECT source, CAST(:text AS TEXT), CAST(NULL AS TEXT) FROM events WHERE type = 'completion.updated'"
        " AND :text IN (json_extract(data, '$.previous.user_id'), json_extract(data, '$.previous.instructor_id'))",
        {"text": text},
    )
    people = [KnownPerson(*row) for row in known]
    named = {(person.source, person.id) for person in people if person.name is not None}
    return [person for person in people if person.name is not None or (person.source, person.id) not in named]


def erase_events(db: Database, person: KnownPerson, behind: int = 0) -> ErasedEvents:
    """Delete a person's events and their deliveries, and remove the person from other people's events.

    The receivers' answers to these events are erased, too. A call examines a limited number of events above `behind`;
    repeat it until none are left.
    """
    ids = ", ".join(f"json_extract(data, '$.{part}.{name}')" for part, name in _FIELDS_ABOUT)
    rows = db.execute(
        f"SELECT sequence, json_extract(data, '$.completion.user_id'), {ids}"
        " FROM events WHERE sequence > ? AND source = ? ORDER BY sequence LIMIT ?",
        [behind, person.source, _EXAMINED_AT_ONCE],
    ).fetchall()
    own = [(sequence,) for sequence, user, *_ in rows if user == person.id]
    others = [(sequence,) for sequence, user, *about in rows if user != person.id and person.id in about]
    if own or others:
        _erase_answers(db, [sequence for (sequence,) in own + others])
    deliveries = db.executemany("DELETE FROM deliveries WHERE sequence = ?", own).rowcount if own else 0
    for table, column in (("events", "sequence"), ("attempt_runs", "first_sequence")):
        # A run of attempts that also covers other people's events stays; it contains only numbers now.
        where = " AND last_sequence = first_sequence" if table == "attempt_runs" else ""
        db.executemany(f"DELETE FROM {table} WHERE {column} = ?{where}", own)
    for (sequence,) in others:
        (data,) = db.execute("SELECT data FROM events WHERE sequence = ?", [sequence]).fetchone()
        db.execute(
            "UPDATE events SET data = ?, moved_from = nullif(moved_from, ?) WHERE sequence = ?",
            [_without_person(data, person.id), person.id, sequence],
        )
    return ErasedEvents(len(own), max(0, deliveries), rows[-1][0] if len(rows) == _EXAMINED_AT_ONCE else None)


def _erase_answers(db: Database, sequences: Sequence[int]) -> None:
    """Erase the texts of the answers to the requests that carried these events.

    A text is erased for all events of its request, including other events that were sent in the same request.
    """
    request_log.delete_for_events(db, sequences)
    requests = db.execute(
        "SELECT DISTINCT r.destination || ' ' || r.attempted_at FROM (SELECT CAST(value AS BIGINT) AS number"
        " FROM json_each(?)) n CROSS JOIN attempt_runs r ON r.first_sequence BETWEEN n.number - ? AND n.number"
        " AND r.last_sequence >= n.number WHERE r.detail IS NOT NULL",
        [json.dumps(sequences), LONGEST_RUN - 1],
    ).fetchall()
    for table, time in (("attempt_runs", "attempted_at"), ("deliveries", "last_attempt_at")) if requests else ():
        db.execute(
            f"UPDATE {table} SET detail = NULL WHERE detail IS NOT NULL"
            f" AND destination || ' ' || {time} IN (SELECT value FROM json_each(?))",
            [json.dumps([request for (request,) in requests])],
        )


def _without_person(data: str, id_: str) -> str:
    """Return an event's JSON with null in all fields about this person; everything else stays the same."""
    event = json.loads(data)
    about = [
        field
        for (part, name), fields in _FIELDS_ABOUT.items()
        if isinstance(event.get(part), dict) and event[part].get(name) == id_
        for field in fields
    ]
    for part, name in about:
        if isinstance(event.get(part), dict) and name in event[part]:
            event[part][name] = None
    return json.dumps(event, separators=(",", ":"))


_FIELDS_ABOUT: Final = {
    ("completion", "instructor_id"): (
        ("completion", "instructor_id"),
        ("completion", "instructor_name"),
        ("completion", "instructor_employee_number"),
        ("record", "m_instructor_id"),
        ("record", "instructor_id"),
    ),
    ("previous", "user_id"): (("previous", "user_id"), ("previous", "notes")),
    ("previous", "instructor_id"): (("previous", "instructor_id"),),
}
"""The fields of an event that may contain a person's id, each with the fields that are about that same person.

The field with the id of the person who completed the training is left out: that person's events are deleted completely.
"""


def erase_records(db: Database, person: KnownPerson, now_ms: int) -> Erased:
    """Erase a person's name and facts, the content of the person's removed records, and texts of last errors.

    Records that the account still has are only counted. If they were erased, the next poll would read their content
    again, and their next change would be reported wrongly. Records that the source's filters exclude become removed
    records, because their removal from the account cannot be detected.
    """
    here = [person.source, person.id]
    records = db.execute(
        "UPDATE records SET record = '{}', user_id = '', removed_at = coalesce(removed_at, ?), out_of_view = 0,"
        " held = 0 WHERE source = ? AND user_id = ? AND (removed_at IS NOT NULL OR out_of_view = 1)",
        [now_ms, *here],
    ).rowcount
    db.execute(
        "UPDATE sources SET held_arrivals = (SELECT count(*) FROM records WHERE source = name AND held = 1)"
        " WHERE name = ?",
        [person.source],
    )
    expiries.erase_person(db, person.source, person.id)
    # Any of these answers may name the person: the event that it is about may be deleted already.
    db.execute("UPDATE destinations SET error_message = '' WHERE error_message <> ''")
    names = db.execute("DELETE FROM people WHERE source = ? AND id = ?", here).rowcount
    (living,) = db.execute("SELECT count(*) FROM records WHERE source = ? AND user_id = ?", here).fetchone()
    return Erased(records=records, names=names, living=living)
