"""Finds records by their key, or by a person's name, id or employee number."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from notifier.store.database import Database
from notifier.store.queries.record_history import can_be_stored
from notifier.store.tables import records_by_person

MAX_PEOPLE: Final = 20
"""Maximum number of people in a result, even if more have a matching name."""

MAX_RECORDS: Final = 100
"""Maximum number of records in a result; if there are more, those with the latest completion dates are returned."""

SHORTEST_NAME: Final = 2
"""The minimum number of characters of a name; a shorter text would match nearly everyone."""

_LONGEST: Final = 200
_MAX_WORDS: Final = 8


class FoundPerson(Struct, frozen=True):
    """A person whom a search has found by id, employee number or name."""

    source: str
    id: str
    name: str
    employee_number: str | None


class FoundRecord(Struct, frozen=True):
    """A known record of one of the people found."""

    source: str
    key: str
    person: str
    training: str
    completed_on: str | None
    removed: bool


class FoundRecords(Struct, frozen=True):
    """The result of a search: people and their records.

    If the text is the key of a record, only `is_key` is set.
    """

    is_key: bool = False
    people: tuple[FoundPerson, ...] = ()
    records: tuple[FoundRecord, ...] = ()
    too_early: bool = False
    """There are many records, and their index by person is not ready, so only people are found."""


def find(db: Database, text: str) -> FoundRecords:
    """Look for a record with this key; if there is none, look for people and their records.

    `find_people` says which people are found. If a record has the key, only `is_key` of the result is set.
    """
    text = text.strip()[:_LONGEST]
    if not text or not can_be_stored(text):
        return FoundRecords()
    known = "SELECT 1 FROM sources s CROSS JOIN records r ON r.source = s.name AND r.key = ? LIMIT 1"
    if db.execute(known, [text]).fetchone():
        return FoundRecords(is_key=True)
    people = find_people(db, text)
    by = records_by_person.index_hint(db)
    if by is None:
        return FoundRecords(people=tuple(people), too_early=True)
    return FoundRecords(people=tuple(people), records=tuple(_records(db, people, by)))


def find_people(db: Database, text: str, limit: int = MAX_PEOPLE) -> list[FoundPerson]:
    """Return up to `limit` people with this id or employee number, or whose names contain each word of the text."""
    terms, values = ["id = ?", "employee_number = ?"], [text, text]
    if len(text) >= SHORTEST_NAME:
        contained, patterns = contains_words("name", text)
        terms.append(contained)
        values += patterns
    # The text is a smaller part of a longer name, so the longest names come last.
    rows = db.execute(
        f"SELECT source, id, name, employee_number FROM people WHERE {' OR '.join(terms)}"
        " ORDER BY length(name), name, source LIMIT ?",
        [*values, limit],
    )
    return [FoundPerson(*row) for row in rows.fetchall()]


def contains_words(column: str, text: str) -> tuple[str, list[str]]:
    """Return an SQL condition that is true if a column contains each word of a text, and the condition's parameters."""
    words = [_spellings(word) for word in text.split()[:_MAX_WORDS]]
    like = rf"{column} LIKE ? ESCAPE '\'"
    condition = " AND ".join(f"({' OR '.join([like] * len(spellings))})" for spellings in words)
    return condition, [_pattern(spelling) for spellings in words for spelling in spellings]


def _spellings(word: str) -> Sequence[str]:
    """Return the spellings of a word to search for: several if it is not ASCII, as SQLite ignores only ASCII case."""
    return [word] if word.isascii() else list(dict.fromkeys([word, word.lower(), word.upper(), word.title()]))


def _pattern(word: str) -> str:
    escaped = word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return f"%{escaped}%"


def _records(db: Database, people: Sequence[FoundPerson], by: str) -> list[FoundRecord]:
    found: list[FoundRecord] = []
    for person in people:
        rows = db.execute(
            "SELECT r.source, r.key, ?, coalesce(t.title, r.training_id), r.completed_on, r.removed_at IS NOT NULL"
            f" FROM records r {by}"
            " LEFT JOIN trainings t ON t.source = r.source AND t.id = r.training_id"
            " WHERE r.user_id = ? AND r.source = ? ORDER BY r.completed_on DESC NULLS LAST, r.id DESC LIMIT ?",
            [person.name, person.id, person.source, MAX_RECORDS],
        )
        found += [
            FoundRecord(source, key, name, training, completed_on, bool(removed))
            for source, key, name, training, completed_on, removed in rows.fetchall()
        ]
    return sorted(found, key=lambda record: record.completed_on or "", reverse=True)[:MAX_RECORDS]
