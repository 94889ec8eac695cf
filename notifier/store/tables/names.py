"""Names of people and trainings, and only the parts that a message needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import orjson

from notifier.events import Names
from notifier.store.database import Database, Spelled


class NameList(StrEnum):
    """The API's two lists that contain names."""

    PEOPLE = "people"
    TRAININGS = "trainings"


@dataclass(frozen=True, slots=True)
class PersonName:
    """The parts of a person that a message needs."""

    id: str
    name: str
    employee_number: str | None


def find(db: Database, source: str, people: Iterable[str], trainings: Iterable[str]) -> Names:
    """Return the known names for these ids."""
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


# Many names are fetched every day but hardly any has changed, so unchanged ones are not written.


_DIFFERS = Spelled(sqlite="IS NOT", postgres="IS DISTINCT FROM")


def learn_people(db: Database, source: str, people: Iterable[PersonName]) -> None:
    """Store names of a source's people; people who are not among them keep their last known name."""
    db.executemany(
        "INSERT INTO people (source, id, name, employee_number) VALUES (?, ?, ?, ?) ON CONFLICT (source, id) DO UPDATE"
        " SET name = excluded.name, employee_number = excluded.employee_number"
        f" WHERE people.name <> excluded.name OR people.employee_number {_DIFFERS.on(db)} excluded.employee_number",
        ((source, person.id, person.name, person.employee_number) for person in people),
    )


def learn_trainings(db: Database, source: str, titles: Iterable[tuple[str, str]]) -> None:
    """Store titles (id, title) of a source's trainings; trainings not among them keep their last known title."""
    db.executemany(
        "INSERT INTO trainings (source, id, title) VALUES (?, ?, ?) ON CONFLICT (source, id) DO UPDATE"
        " SET title = excluded.title WHERE trainings.title <> excluded.title",
        ((source, id_, title) for id_, title in titles),
    )


def note_fetch(db: Database, source: str, names: NameList, now_ms: int, outcome: str) -> str | None:
    """Store when a list of names was requested, and with what outcome (`ok` or a reason).

    Return the previous outcome, None if this is the first.
    """
    before = db.execute("SELECT outcome FROM names_fetched WHERE source = ? AND list = ?", [source, names]).fetchone()
    db.execute(
        "INSERT INTO names_fetched (source, list, fetched_at, outcome) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (source, list) DO UPDATE"
        " SET fetched_at = excluded.fetched_at, outcome = excluded.outcome",
        [source, names, now_ms, outcome],
    )
    return before[0] if before else None


def fetched(db: Database, source: str) -> dict[NameList, int]:
    """Return when each list of names was last requested (Unix ms)."""
    rows = db.execute("SELECT list, fetched_at FROM names_fetched WHERE source = ?", [source])
    return {NameList(name): at for name, at in rows}


def outcomes(db: Database, source: str) -> dict[NameList, str]:
    """Return the outcome of the last fetch of each list: `ok` or a reason."""
    rows = db.execute("SELECT list, outcome FROM names_fetched WHERE source = ?", [source])
    return {NameList(name): outcome for name, outcome in rows}
