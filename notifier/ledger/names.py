"""Names of people and trainings: only what a message needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import orjson
from sqlite_utils import Database

from notifier.completions import Names


class NameList(StrEnum):
    """The two lists of the API that hold names."""

    PEOPLE = "people"
    TRAININGS = "trainings"


@dataclass(frozen=True, slots=True)
class PersonName:
    """A person as far as a message needs it."""

    id: str
    name: str
    employee_number: str | None


def find(db: Database, source: str, people: Iterable[str], trainings: Iterable[str]) -> Names:
    """Return the names known of these ids."""
    return Names(
        dict(
            db.execute(
                "SELECT id, name FROM people WHERE source = ? AND id IN (SELECT value FROM json_each(?))",
                [source, orjson.dumps(list(people)).decode()],
            ).fetchall()
        ),
        dict(
            db.execute(
                "SELECT id, title FROM trainings WHERE source = ? AND id IN (SELECT value FROM json_each(?))",
                [source, orjson.dumps(list(trainings)).decode()],
            ).fetchall()
        ),
    )


# Of the many names that are fetched again every day, hardly any has changed: nothing is written for the others.


def learn_people(db: Database, source: str, people: Iterable[PersonName]) -> None:
    """Learn some names of a source's people; all others keep the last known name, gone or not."""
    db.conn.executemany(
        "INSERT INTO people (source, id, name, employee_number) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET name = excluded.name, employee_number = excluded.employee_number"
        " WHERE (name, employee_number) IS NOT (excluded.name, excluded.employee_number)",
        ((source, person.id, person.name, person.employee_number) for person in people),
    )


def learn_trainings(db: Database, source: str, titles: Iterable[tuple[str, str]]) -> None:
    """Learn some names (id, title) of a source's trainings; all others keep the last known title, gone or not."""
    db.conn.executemany(
        "INSERT INTO trainings (source, id, title) VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
        " SET title = excluded.title WHERE title <> excluded.title",
        ((source, id_, title) for id_, title in titles),
    )


def note_fetch(db: Database, source: str, names: NameList, now_ms: int, outcome: str) -> str | None:
    """Remember when a list of names was last asked for, and with what outcome (`ok` or a reason).

    Returns the outcome of the time before; None when this was the first.
    """
    before = db.execute("SELECT outcome FROM names_fetched WHERE source = ? AND list = ?", [source, names]).fetchone()
    db.execute(
        "INSERT INTO names_fetched (source, list, fetched_at, outcome) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET fetched_at = excluded.fetched_at, outcome = excluded.outcome",
        [source, names, now_ms, outcome],
    )
    return before[0] if before else None


def fetched(db: Database, source: str) -> dict[NameList, int]:
    """Return when each list of names was last asked for (Unix ms)."""
    rows = db.execute("SELECT list, fetched_at FROM names_fetched WHERE source = ?", [source])
    return {NameList(name): at for name, at in rows}
