"""Finds records as people ask for them: by the key, a person's name, an employee's number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlite_utils import Database

from notifier.ledger.lives import can_be_stored

MOST_PEOPLE: Final = 20
"""So many people are shown of those whose names fit."""

MOST_RECORDS: Final = 100
"""So many records are shown of all of them, the latest completed first."""

SHORTEST_NAME: Final = 2
"""Characters that must be known of a name: fewer fit nearly everybody's."""

FEW_RECORDS: Final = 5_000
"""Among so many, somebody's are found without an index in some milliseconds."""

_INDEX: Final = "records_by_person"
_LONGEST: Final = 200
_MOST_WORDS: Final = 8


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whose name fits what was asked for."""

    source: str
    id: str
    name: str
    employee_number: str | None


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """A known record of one of these people."""

    source: str
    key: str
    person: str
    training: str
    completed_on: str | None
    removed: bool


@dataclass(frozen=True, slots=True)
class Finds:
    """What was found: whether there is a record with this key, and the people of this name with their records.

    `too_early`: there are many records, and nobody's can be found yet; the people can.
    """

    is_key: bool = False
    people: tuple[Person, ...] = ()
    records: tuple[FoundRecord, ...] = ()
    too_early: bool = False


def prepare(db: Database) -> None:
    """Make the index by which a person's records are found, once no source is being read for the first time.

    To keep it up while a million records come in takes longer than all the rest of a first sweep: each has its place on
    another page of the file. Made at once, it takes a second or so.
    """
    (met, read) = db.execute("SELECT count(met_at), count(swept_at) FROM sources WHERE met_at IS NOT NULL").fetchone()
    if met and met == read and not _is_prepared(db):
        db.execute(f"CREATE INDEX {_INDEX} ON records (user_id)")


def _is_prepared(db: Database) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [_INDEX]).fetchone() is not None


def find(db: Database, text: str) -> Finds:
    """Look for a record with this key, then for people whose name holds each of these words."""
    text = text.strip()[:_LONGEST]
    if not text or not can_be_stored(text):
        return Finds()
    known = "SELECT 1 FROM sources s CROSS JOIN records r ON r.source = s.name AND r.key = ? LIMIT 1"
    if db.execute(known, [text]).fetchone():
        return Finds(is_key=True)
    people = _people(db, text)
    if _is_prepared(db):
        return Finds(people=tuple(people), records=tuple(_records(db, people, f"INDEXED BY {_INDEX}")))
    if db.execute("SELECT total(records) FROM sources").fetchone()[0] > FEW_RECORDS:
        return Finds(people=tuple(people), too_early=True)
    return Finds(people=tuple(people), records=tuple(_records(db, people, "NOT INDEXED")))


def _people(db: Database, text: str) -> list[Person]:
    terms, values = ["employee_number = ?"], [text]
    if len(text) >= SHORTEST_NAME:
        words = [_spellings(word) for word in text.split()[:_MOST_WORDS]]
        terms.append(" AND ".join(f"({' OR '.join([_LIKE] * len(spellings))})" for spellings in words))
        values += [_pattern(spelling) for spellings in words for spelling in spellings]
    # The longest names have the least to do with what was asked for.
    rows = db.execute(
        f"SELECT source, id, name, employee_number FROM people WHERE {' OR '.join(terms)}"
        " ORDER BY length(name), name, source LIMIT ?",
        [*values, MOST_PEOPLE],
    )
    return [Person(*row) for row in rows.fetchall()]


_LIKE: Final = r"name LIKE ? ESCAPE '\'"


def _spellings(word: str) -> Sequence[str]:
    """Return the ways to write a word that SQLite tells apart: it knows the two cases of no letter but A to Z."""
    return [word] if word.isascii() else list(dict.fromkeys([word, word.lower(), word.upper(), word.title()]))


def _pattern(word: str) -> str:
    escaped = word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return f"%{escaped}%"


def _records(db: Database, people: Sequence[Person], by: str) -> list[FoundRecord]:
    found: list[FoundRecord] = []
    for person in people:
        rows = db.execute(
            "SELECT r.source, r.key, ?, coalesce(t.title, r.training_id), r.completed_on, r.removed_at IS NOT NULL"
            f" FROM records r {by}"
            " LEFT JOIN trainings t ON t.source = r.source AND t.id = r.training_id"
            " WHERE r.user_id = ? AND r.source = ? ORDER BY r.completed_on DESC, r.id DESC LIMIT ?",
            [person.name, person.id, person.source, MOST_RECORDS],
        )
        found += [
            FoundRecord(source, key, name, training, completed_on, bool(removed))
            for source, key, name, training, completed_on, removed in rows.fetchall()
        ]
    return sorted(found, key=lambda record: record.completed_on or "", reverse=True)[:MOST_RECORDS]
