"""The names of people and trainings, and the facts about them for which the configuration asks."""

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import orjson
from msgspec import Struct, field

from notifier.events import Names
from notifier.facts import FactValue, PersonFacts, PersonField, TrainingFacts
from notifier.store.database import Database, EngineSql, json_list

_NO_FACTS: Final[Mapping[str, TrainingFacts]] = MappingProxyType({})


class NameList(StrEnum):
    """The API's lists that contain names; each has a table of the same name."""

    PEOPLE = "people"
    TRAININGS = "trainings"
    JOB_TITLES = "job_titles"


class PersonName(Struct, frozen=True):
    """What is stored about a person; `employee_number` is None if there is none, or if the configuration omits it."""

    id: str
    name: str
    employee_number: str | None
    facts: PersonFacts = field(default_factory=dict)


def find_names(
    db: Database,
    source: str,
    people: Iterable[str],
    trainings: Iterable[str],
    fields: Collection[PersonField] = (),
) -> Names:
    """Return the known names for these ids, with all facts about the trainings and only the `fields` about people."""
    names: dict[str, str] = {}
    facts: dict[str, PersonFacts] = {}
    for id_, name, stored, title in db.execute(
        "SELECT p.id, p.name, p.facts, j.title FROM people p LEFT JOIN job_titles j"
        " ON j.source = p.source AND j.id = json_extract(p.facts, '$.job_title_id')"
        " WHERE p.source = ? AND p.id IN (SELECT value FROM json_each(?))",
        [source, json_list(people)],
    ):
        names[id_] = name
        facts[id_] = _selected_facts(orjson.loads(stored), title, fields)
    titles: dict[str, str] = {}
    rules: dict[str, TrainingFacts] = {}
    for id_, title, stored in db.execute(
        "SELECT id, title, facts FROM trainings WHERE source = ? AND id IN (SELECT value FROM json_each(?))",
        [source, json_list(trainings)],
    ):
        titles[id_] = title
        if stored != _NEVER_STORED:
            rules[id_] = TrainingFacts(**orjson.loads(stored))
    return Names(names, titles, facts, rules)


_NEVER_STORED: Final = "{}"
"""The value of a training whose facts were never stored, because an older program version read it last."""


def _selected_facts(stored: Mapping[str, FactValue], title: str | None, fields: Collection[PersonField]) -> PersonFacts:
    """Return the facts about a person in these `fields`.

    The job title is not in `stored`, so it is given as `title` (None: unknown).
    """
    shown = {name.value: stored[name] for name in PersonField if name in fields and name in stored}
    if PersonField.JOB_TITLE in fields and PersonField.JOB_TITLE_ID in stored:
        identifier = stored[PersonField.JOB_TITLE_ID]
        if title is not None or identifier is None:
            shown[PersonField.JOB_TITLE.value] = title
    return shown


# Many names are fetched every day but hardly any has changed, so unchanged ones are not written.


_DIFFERS = EngineSql(sqlite="IS NOT", postgres="IS DISTINCT FROM")


def store_people(db: Database, source: str, people: Iterable[PersonName]) -> None:
    """Store the names and facts of these people of a source. Other people's stored names and facts do not change."""
    db.executemany(
        "INSERT INTO people (source, id, name, employee_number, facts) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (source, id) DO UPDATE"
        " SET name = excluded.name, employee_number = excluded.employee_number, facts = excluded.facts"
        " WHERE people.name <> excluded.name OR people.facts <> excluded.facts"
        f" OR people.employee_number {_DIFFERS.on(db)} excluded.employee_number",
        ((source, person.id, person.name, person.employee_number, _json(person.facts)) for person in people),
    )


def store_trainings(
    db: Database,
    source: str,
    titles: Iterable[tuple[str, str]],
    facts: Mapping[str, TrainingFacts] = _NO_FACTS,
) -> None:
    """Store titles (id, title) and facts (by id) of trainings of a source. Trainings not among these do not change."""
    db.executemany(
        "INSERT INTO trainings (source, id, title, facts) VALUES (?, ?, ?, ?) ON CONFLICT (source, id) DO UPDATE"
        " SET title = excluded.title, facts = excluded.facts"
        " WHERE trainings.title <> excluded.title OR trainings.facts <> excluded.facts",
        ((source, id_, title, _json(facts[id_].as_json()) if id_ in facts else _NEVER_STORED) for id_, title in titles),
    )


def store_job_titles(db: Database, source: str, titles: Iterable[tuple[str, str]]) -> None:
    """Store job titles (id, title) of a source. Stored job titles with other ids do not change."""
    db.executemany(
        "INSERT INTO job_titles (source, id, title) VALUES (?, ?, ?) ON CONFLICT (source, id) DO UPDATE"
        " SET title = excluded.title WHERE job_titles.title <> excluded.title",
        ((source, id_, title) for id_, title in titles),
    )


def erase_other_facts(db: Database, source: str, fields: Collection[PersonField]) -> None:
    """Erase all facts about a source's people except these `fields`."""
    kept = {str(wanted) for wanted in fields}
    if PersonField.JOB_TITLE in fields:
        kept.add(PersonField.JOB_TITLE_ID)
    else:
        db.execute("DELETE FROM job_titles WHERE source = ?", [source])
    for unwanted in PersonField:
        if unwanted in kept:
            continue
        rows = db.execute(
            "SELECT id, facts FROM people WHERE source = ? AND facts LIKE ?", [source, f'%"{unwanted}"%']
        ).fetchall()
        less = [(orjson.loads(facts), id_) for id_, facts in rows]
        db.executemany(
            "UPDATE people SET facts = ? WHERE source = ? AND id = ?",
            [(_json({name: facts[name] for name in facts if name != unwanted}), source, id_) for facts, id_ in less],
        )
    if PersonField.EMPLOYEE_NUMBER not in fields:
        db.execute(
            "UPDATE people SET employee_number = NULL WHERE source = ? AND employee_number IS NOT NULL", [source]
        )


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def store_fetch(db: Database, source: str, names: NameList, now_ms: int, outcome: str, fields: str = "") -> str | None:
    """Store when a list of names was requested, with what outcome (`ok` or a reason), and for which facts.

    Return the outcome of the previous request, None if this is the first.
    """
    before = db.execute("SELECT outcome FROM names_fetched WHERE source = ? AND list = ?", [source, names]).fetchone()
    db.execute(
        "INSERT INTO names_fetched (source, list, fetched_at, outcome, fields) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (source, list) DO UPDATE SET fetched_at = excluded.fetched_at, outcome = excluded.outcome,"
        " fields = excluded.fields",
        [source, names, now_ms, outcome, fields],
    )
    return before[0] if before else None


def last_fetches(db: Database, source: str) -> dict[NameList, tuple[int, str]]:
    """Return when each list of names was last requested (Unix ms), and for which facts."""
    rows = db.execute("SELECT list, fetched_at, fields FROM names_fetched WHERE source = ?", [source])
    return {NameList(name): (at, fields) for name, at, fields in rows}


def last_outcomes(db: Database, source: str) -> dict[NameList, str]:
    """Return the outcome of the last fetch of each list: `ok` or a reason."""
    rows = db.execute("SELECT list, outcome FROM names_fetched WHERE source = ?", [source])
    return {NameList(name): outcome for name, outcome in rows}
