"""The known records that exist, in the order of the API's list: how many of each completion date, and which."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import orjson
from sqlite_utils import Database

_EXIST = "source = ? AND removed_at IS NULL"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A known record that may be gone, with what a precise question needs: its person and its training."""

    key: str
    user_id: str
    training_id: str


@dataclass(frozen=True, slots=True)
class Place:
    """A record's place in the order of completion dates; dateless records come first."""

    completed_on: str | None
    id: int


FIRST = Place(None, -1)
"""The place before all records."""


@dataclass(frozen=True, slots=True)
class Landmark:
    """Where one day begins in the list: `above` records stand above its first one, the last of them of `day_above`."""

    day: str
    above: int
    day_above: str


def landmark(db: Database, source: str, chance: float) -> Landmark | None:
    """Return one of the places where a day begins, by chance (0 up to 1); None where all records are of one day."""
    dated = f"FROM records WHERE {_EXIST} AND completed_on"
    (oldest,) = db.execute(f"SELECT min(completed_on) {dated} > ''", [source]).fetchone()
    (newest,) = db.execute(f"SELECT max(completed_on) {dated} > ''", [source]).fetchone()
    if oldest == newest:
        return None
    first, last = date.fromisoformat(oldest).toordinal(), date.fromisoformat(newest).toordinal()
    somewhere = date.fromordinal(first + int(chance * (last - first))).isoformat()
    (day,) = db.execute(f"SELECT max(completed_on) {dated} <= ?", [source, somewhere]).fetchone()
    (day_above,) = db.execute(f"SELECT min(completed_on) {dated} > ?", [source, day]).fetchone()
    (above,) = db.execute(f"SELECT count(*) {dated} > ?", [source, day]).fetchone()
    return Landmark(day, above, day_above)


def counts(db: Database, source: str) -> dict[str | None, int]:
    """Count the known records of each completion date."""
    rows = db.execute(f"SELECT completed_on, count(*) FROM records WHERE {_EXIST} GROUP BY completed_on", [source])
    return dict(rows.fetchall())


def ids_after(db: Database, source: str, place: Place, limit: int) -> tuple[list[int], Place | None]:
    """Return the ids of up to `limit` known records behind `place`, in order, and the place of the last of them.

    Behind the last one of all there is none, and no place.
    """
    if place.completed_on is None:
        rows = db.execute(
            f"SELECT NULL, id FROM records WHERE {_EXIST} AND completed_on IS NULL AND id > ? ORDER BY id LIMIT ?",
            [source, place.id, limit],
        ).fetchall()
        if not rows:
            return ids_after(db, source, Place("", -1), limit)
    else:
        rows = db.execute(
            f"SELECT completed_on, id FROM records WHERE {_EXIST} AND (completed_on, id) > (?, ?)"
            " ORDER BY completed_on, id LIMIT ?",
            [source, place.completed_on, place.id, limit],
        ).fetchall()
    return [id_ for _, id_ in rows], Place(*rows[-1]) if rows else None


def ids_between(db: Database, source: str, older: str | None, newer: str) -> list[int]:
    """Return the ids of the known records completed after `older` and up to `newer` (`YYYY-MM-DD`).

    Where `older` is None those without a date are among them.
    """
    rows = db.execute(
        f"SELECT id FROM records WHERE {_EXIST} AND completed_on > ? AND completed_on <= ?",
        [source, older or "", newer],
    ).fetchall()
    if older is None:
        rows += db.execute(f"SELECT id FROM records WHERE {_EXIST} AND completed_on IS NULL", [source]).fetchall()
    return [id_ for (id_,) in rows]


def ids_of(db: Database, source: str, keys: Sequence[str]) -> "array[int]":
    """Return the ids of those of these keys that are known."""
    rows = db.execute(
        "SELECT id FROM records WHERE source = ? AND key IN (SELECT value FROM json_each(?))",
        [source, orjson.dumps(keys).decode()],
    )
    return array("q", (id_ for (id_,) in rows))


def suspects(db: Database, ids: Sequence[int], *, first_seen_before_ms: int | None = None) -> list[Suspect]:
    """Describe those of the records that still exist and were first met before a moment, if one is given."""
    rows = db.execute(
        "SELECT key, user_id, training_id FROM records WHERE id IN (SELECT value FROM json_each(?))"
        " AND removed_at IS NULL AND seen_at < coalesce(?, seen_at + 1) ORDER BY user_id, training_id, key",
        [orjson.dumps(list(ids)).decode(), first_seen_before_ms],
    )
    return [Suspect(*row) for row in rows]
