"""Counts and ids of the present known records by completion date, which is the order of the API's list."""

from array import array
from collections.abc import Sequence
from datetime import date

import orjson
from msgspec import Struct

from notifier.store.database import NUMBERS, Database, EngineSql, json_list

_IS_PRESENT = "source = ? AND removed_at IS NULL AND out_of_view = 0"


class RemovalCandidate(Struct, frozen=True):
    """A known record that may be gone, with its person, training and date, for a question to the API.

    `id` is its number in the store.
    """

    id: int
    key: str
    user_id: str
    training_id: str
    completed_on: str | None


class DatePosition(Struct, frozen=True):
    """A record's position in the order of completion dates; records without a date come first."""

    completed_on: str | None
    id: int


BEFORE_ALL = DatePosition(None, -1)
"""The position before all records."""


class DayBoundary(Struct, frozen=True):
    """The place in the list where the records of a day begin.

    `above` is the number of records before that place, and `day_above` the date of the last record before it.
    """

    day: str
    above: int
    day_above: str


def random_day_boundary(db: Database, source: str, chance: float) -> DayBoundary | None:
    """Return the boundary of a day, selected by the random number `chance` (0 to 1); None if no boundary is known."""
    dated = f"FROM records WHERE {_IS_PRESENT} AND completed_on"
    (oldest,) = db.execute(f"SELECT min(completed_on) {dated} > ''", [source]).fetchone()
    (newest,) = db.execute(f"SELECT max(completed_on) {dated} > ''", [source]).fetchone()
    if oldest == newest:
        return None
    first, last = date.fromisoformat(oldest).toordinal(), date.fromisoformat(newest).toordinal()
    somewhere = date.fromordinal(first + int(chance * (last - first))).isoformat()
    (day,) = db.execute(f"SELECT max(completed_on) {dated} <= ?", [source, somewhere]).fetchone()
    (day_above,) = db.execute(f"SELECT min(completed_on) {dated} > ?", [source, day]).fetchone()
    (above,) = db.execute(f"SELECT count(*) {dated} > ?", [source, day]).fetchone()
    above += _expected_shift(db, source, day)
    return DayBoundary(day, above, day_above) if above > 0 else None


def _expected_shift(db: Database, source: str, day: str) -> int:
    """Return how many more records will be dated after `day` when the second looks have confirmed all changes.

    Each removal counts as -1, and each return of a removed record as 1.
    """
    (shift,) = db.execute(
        "SELECT coalesce(sum(CASE l.kind WHEN 'removal' THEN -1 WHEN 'return' THEN 1 ELSE 0 END), 0)"
        " FROM second_looks l JOIN records r ON r.source = l.source AND r.key = l.key"
        " WHERE l.source = ? AND l.since IS NOT NULL AND r.completed_on > ?",
        [source, day],
    ).fetchone()
    return int(shift)


def count_by_day(db: Database, source: str) -> dict[str | None, int]:
    """Return the number of known records for each completion date."""
    rows = db.execute(f"SELECT completed_on, count(*) FROM records WHERE {_IS_PRESENT} GROUP BY completed_on", [source])
    return dict(rows.fetchall())


_IDS = EngineSql(sqlite="json_group_array(id)", postgres="CAST(coalesce(json_agg(id), '[]') AS TEXT)")


def ids_after(db: Database, source: str, place: DatePosition, limit: int) -> tuple[list[int], DatePosition | None]:
    """Return the ids of up to `limit` known records after `place`, and the place after which to continue.

    The ids are not sorted. The second value is None if there are no more records.
    """
    if place.completed_on is None:
        after, to = f"{_IS_PRESENT} AND completed_on IS NULL AND id > ?", "AND id <= ?"
        begin: list[str | int | None] = [source, place.id]
    else:
        after, to = f"{_IS_PRESENT} AND (completed_on, id) > (?, ?)", "AND (completed_on, id) <= (?, ?)"
        begin = [source, place.completed_on, place.id]
    last = db.execute(
        f"SELECT completed_on, id FROM records WHERE {after} ORDER BY completed_on, id LIMIT 1 OFFSET ?",
        [*begin, limit - 1],
    ).fetchone()
    # One row with a list is read six times as fast as one row for each id.
    select = f"SELECT {_IDS.on(db)} FROM records WHERE {after}"
    if last is not None:
        end = last if place.completed_on is not None else last[1:]
        (ids,) = db.execute(f"{select} {to}", [*begin, *end]).fetchone()
        return orjson.loads(ids), DatePosition(*last)
    (ids,) = db.execute(select, begin).fetchone()
    return orjson.loads(ids), DatePosition("", -1) if place.completed_on is None else None


def ids_between(db: Database, source: str, older: str | None, newer: str) -> list[int]:
    """Return the ids of the known records completed after `older`, and on or before `newer` (`YYYY-MM-DD`).

    If `older` is None, records without a date are included.
    """
    rows = db.execute(
        f"SELECT id FROM records WHERE {_IS_PRESENT} AND completed_on > ? AND completed_on <= ?",
        [source, older or "", newer],
    ).fetchall()
    if older is None:
        rows += db.execute(f"SELECT id FROM records WHERE {_IS_PRESENT} AND completed_on IS NULL", [source]).fetchall()
    return [id_ for (id_,) in rows]


def ids_of(db: Database, source: str, keys: Sequence[str]) -> "array[int]":
    """Return the ids of the known records with these keys."""
    rows = db.execute(
        "SELECT id FROM records WHERE source = ? AND key IN (SELECT value FROM json_each(?))",
        [source, json_list(keys)],
    )
    return array("q", (id_ for (id_,) in rows))


def removal_candidates(db: Database, ids: Sequence[int]) -> list[RemovalCandidate]:
    """Return the records with these ids as candidates for removal.

    Records that were already removed, or that the source's filters no longer request, are left out.
    """
    rows = db.execute(
        "SELECT id, key, user_id, training_id, completed_on FROM records"
        f" WHERE id IN {NUMBERS}"
        " AND removed_at IS NULL AND out_of_view = 0 ORDER BY user_id, training_id, key",
        [json_list(ids)],
    )
    return [RemovalCandidate(*row) for row in rows]
