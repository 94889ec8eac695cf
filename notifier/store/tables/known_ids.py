"""Looks up whether an id or a text from a filter occurs in the lists of names or in the records. Only reads."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

import orjson

from notifier.facts import PersonFacts, PersonField
from notifier.store.database import Database, json_list
from notifier.store.tables.names import NameList

EXAMINED_AT_ONCE: Final = 20_000
"""Number of records examined in one transaction, so that other work does not wait long for the store."""

_RECORD_COLUMNS: Final[Mapping[NameList, str]] = MappingProxyType(
    {NameList.PEOPLE: "user_id", NameList.TRAININGS: "training_id"}
)


def names_are_fetched(db: Database, sources: Collection[str], names: NameList) -> bool:
    """Return whether this list of names was fetched completely for every one of these sources."""
    count = db.execute(
        "SELECT count(*) FROM names_fetched"
        " WHERE list = ? AND outcome = 'ok' AND source IN (SELECT value FROM json_each(?))",
        [names, json_list(sources)],
    ).fetchone()[0]
    return bool(count == len(sources))


def ids_without_name(db: Database, sources: Collection[str], names: NameList, ids: Collection[str]) -> list[str]:
    """Return the `ids` that are not in the list `names` of any of these sources."""
    rows = db.execute(
        f"SELECT value FROM json_each(?) WHERE value NOT IN"
        f" (SELECT id FROM {names} WHERE source IN (SELECT value FROM json_each(?))"
        f" AND id IN (SELECT value FROM json_each(?)))",
        [json_list(ids), json_list(sources), json_list(ids)],
    )
    return [id_ for (id_,) in rows]


def ids_in_records(
    db: Database, sources: Collection[str], names: NameList, ids: Collection[str], after: int
) -> tuple[set[str], int | None]:
    """Return which ids occur in the next EXAMINED_AT_ONCE records after row `after`, and the last row examined.

    The second value is None if there are no more records.
    """
    # No index begins with the training, and the index by person does not exist during a first sweep.
    column = _RECORD_COLUMNS[names]
    last = db.execute(
        "SELECT max(id) FROM (SELECT id FROM records WHERE id > ? ORDER BY id LIMIT ?) AS looked_at",
        [after, EXAMINED_AT_ONCE],
    ).fetchone()[0]
    rows = db.execute(
        f"SELECT DISTINCT {column} FROM records WHERE id > ? AND id <= ?"
        f" AND source IN (SELECT value FROM json_each(?)) AND {column} IN (SELECT value FROM json_each(?))",
        [after, last, json_list(sources), json_list(ids)],
    )
    return {id_ for (id_,) in rows}, last


def training_titles(db: Database, sources: Collection[str]) -> list[str]:
    """Return the different titles of the sources' trainings."""
    rows = db.execute(
        "SELECT DISTINCT title FROM trainings WHERE source IN (SELECT value FROM json_each(?))", [json_list(sources)]
    )
    return [title for (title,) in rows]


def people_facts(db: Database, sources: Collection[str]) -> list[tuple[str, PersonFacts]]:
    """Return the ids and the facts of the sources' people, with the titles of their jobs as far as they are known."""
    rows = db.execute(
        "SELECT p.id, p.facts, j.title FROM people p LEFT JOIN job_titles j"
        " ON j.source = p.source AND j.id = json_extract(p.facts, '$.job_title_id')"
        " WHERE p.source IN (SELECT value FROM json_each(?))",
        [json_list(sources)],
    )
    return [(id_, {**orjson.loads(facts), PersonField.JOB_TITLE.value: title}) for id_, facts, title in rows]
