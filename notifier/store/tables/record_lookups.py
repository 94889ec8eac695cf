"""Lookups of known records for the detection of changes: by key, or by person and dates."""

from collections.abc import Mapping, Sequence

import orjson
from msgspec import Struct

from notifier.events import Completion
from notifier.store.database import Database, Engine, EngineSql, json_list


class StoredRecord(Struct, frozen=True):
    """The stored state of a record: its revision, a fingerprint of its JSON, and whether it was removed."""

    revision: int
    fingerprint: int
    removed: bool
    id: int = 0
    """The record's number in the store."""
    held: bool = False
    """Whether the record's arrival is held back and was not announced."""
    out_of_view: bool = False
    """Whether the source does not request the record now."""


def known_records(db: Database, source: str, keys: Sequence[str]) -> dict[str, StoredRecord]:
    """Return the known records among `keys`, by key."""
    rows = db.execute(
        "SELECT key, revision, fingerprint, removed_at IS NOT NULL, id, held, out_of_view FROM records"
        " WHERE source = ? AND key IN (SELECT value FROM json_each(?))",
        [source, json_list(keys)],
    )
    return {row[0]: StoredRecord(row[1], row[2], bool(row[3]), row[4], bool(row[5]), bool(row[6])) for row in rows}


_COLUMNS_OF_PRESENT = (
    "SELECT json_group_array(k.key), json_group_array(r.fingerprint), json_group_array(r.id)"
    " FROM json_each(?) k CROSS JOIN records r ON r.source = ? AND r.key = k.value"
    " WHERE r.removed_at IS NULL AND r.out_of_view = 0"
)


def unchanged_ids(db: Database, source: str, fingerprints: Mapping[str, int]) -> dict[str, int]:
    """Return the ids of the present records that are unchanged, by key.

    A record is unchanged if its stored fingerprint equals the one that `fingerprints` has for its key.
    """
    # SQLite reads lists six times as fast as rows. PostgreSQL would have to sort lists.
    if db.engine is Engine.SQLITE:
        keys, wanted = [*fingerprints], [*fingerprints.values()]
        row = db.execute(_COLUMNS_OF_PRESENT, [json_list(keys), source]).fetchone()
        places, shown, ids = map(orjson.loads, row)
        # On most pages no record has changed.
        if shown == wanted:
            return dict(zip(keys, ids, strict=True))
        found = zip(places, shown, ids, strict=True)
        return {keys[place]: id_ for place, mark, id_ in found if mark == wanted[place]}
    return {
        key: stored.id
        for key, stored in known_records(db, source, [*fingerprints]).items()
        if stored.fingerprint == fingerprints[key] and not stored.removed and not stored.out_of_view
    }


def known_with_suffixes(db: Database, source: str, bases: Sequence[str]) -> dict[str, StoredRecord]:
    """Return the known records whose key is one of `bases`, with or without a suffix `-2`, `-3`..., by key."""
    # CROSS JOIN makes SQLite keep this order. Newer versions would otherwise read all records for each base.
    rows = db.execute(
        "WITH bases AS (SELECT value AS base FROM json_each(?))"
        " SELECT key, revision, fingerprint, removed_at IS NOT NULL FROM bases CROSS JOIN records"
        " ON source = ? AND key = base"
        " UNION ALL SELECT key, revision, fingerprint, removed_at IS NOT NULL FROM bases CROSS JOIN records"
        " ON source = ? AND key > base || '-' AND key < base || '.'",
        [json_list(bases), source, source],
    )
    return {key: StoredRecord(revision, mark, bool(removed)) for key, revision, mark, removed in rows}


def stored_json(db: Database, source: str, keys: Sequence[str]) -> dict[str, bytes]:
    """Return the last known JSON of each of these records, by key; records whose content was erased are left out."""
    rows = db.execute(
        "SELECT key, record FROM records WHERE source = ? AND key IN (SELECT value FROM json_each(?))"
        " AND record <> '{}'",
        [source, json_list(keys)],
    )
    return {key: record.encode() for key, record in rows}


_WANTED = EngineSql(
    sqlite="SELECT json_extract(value, '$[0]') AS wanted_key, json_extract(value, '$[1]') AS user_id,"
    " json_extract(value, '$[2]') AS recorded_at, json_extract(value, '$[3]') AS completed_on FROM json_each(?)",
    postgres="SELECT value ->> 0 AS wanted_key, value ->> 1 AS user_id, CAST(value ->> 2 AS BIGINT) AS recorded_at,"
    " value ->> 3 AS completed_on FROM jsonb_array_elements(CAST(? AS jsonb)) AS _(value)",
)
_EQUALS = EngineSql(sqlite="IS", postgres="IS NOT DISTINCT FROM")
"""Compares two values that may be NULL."""


def similar_records(db: Database, source: str, completions: Sequence[Completion]) -> dict[str, list[tuple[str, str]]]:
    """Return, for each completion, the known records with the same person, time of entry and date.

    The result maps a completion's key to known records, each as (key, training id). The query reads all records
    that have the date of one of the `completions`.
    """
    wanted = [
        [completion.key, completion.user_id, completion.recorded_at, completion.completed_on]
        for completion in completions
    ]
    same = _EQUALS.on(db)
    rows = db.execute(
        f"WITH wanted AS MATERIALIZED ({_WANTED.on(db)})"
        " SELECT w.wanted_key, r.key, r.training_id FROM records r JOIN wanted w ON r.user_id = w.user_id"
        f" AND r.recorded_at {same} w.recorded_at AND r.completed_on {same} w.completed_on"
        " WHERE r.source = ? AND r.removed_at IS NULL AND r.out_of_view = 0"
        " AND r.completed_on IN (SELECT completed_on FROM wanted) ORDER BY r.id",
        [json_list(wanted), source],
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for wanted_key, key, training_id in rows:
        found.setdefault(wanted_key, []).append((key, training_id))
    return found


def learned_since(db: Database, source: str, reason: str, since_ms: int, limit: int) -> list[str]:
    """Return the keys of the records that were stored without an event for this `reason`.

    Only records entered at `since_ms` or later are included. If there are more than `limit`, the earliest are returned.
    """
    rows = db.execute(
        "SELECT key FROM records WHERE source = ? AND reason = ? AND recorded_at >= ? AND revision = 1"
        " AND removed_at IS NULL AND held = 0 ORDER BY recorded_at LIMIT ?",
        [source, reason, since_ms, limit],
    )
    return [key for (key,) in rows]


def store_unreadable(db: Database, source: str, keys: Sequence[str]) -> None:
    """Store the keys of records that were found to be unreadable before the end of the first sweep."""
    db.executemany(
        "INSERT INTO unreadable_records (source, key) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(source, key) for key in keys],
    )


def unreadable_keys(db: Database, source: str) -> set[str]:
    """Return the keys of the records that were found to be unreadable before the end of the first sweep."""
    return {key for (key,) in db.execute("SELECT key FROM unreadable_records WHERE source = ?", [source])}
