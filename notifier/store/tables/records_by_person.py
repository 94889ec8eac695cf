"""The index of records by person and training, and whether a completion is the person's first one of a training."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from notifier.events import Change, EventType
from notifier.facts import Occasion, occasion_of
from notifier.store.database import Database, EngineSql, json_list

FEW_RECORDS: Final = 5_000
"""Up to this number of stored records, a search for one person's records takes milliseconds without the index."""

_INDEX: Final = "records_by_person"
_INDEX_EXISTS: Final = EngineSql(
    sqlite="SELECT 1 FROM sqlite_master WHERE name = ?",
    postgres="SELECT 1 FROM pg_indexes WHERE schemaname = current_schema() AND indexname = ?",
)
_BY_PERSON: Final = EngineSql(sqlite=f"INDEXED BY {_INDEX}", postgres="")
_WITHOUT_INDEX: Final = EngineSql(sqlite="NOT INDEXED", postgres="")
_PAIRS: Final = EngineSql(
    sqlite="SELECT json_extract(value, '$[0]') AS user_id, json_extract(value, '$[1]') AS training_id"
    " FROM json_each(?)",
    postgres="SELECT value ->> 0 AS user_id, value ->> 1 AS training_id"
    " FROM jsonb_array_elements(CAST(? AS jsonb)) AS _(value)",
)

Pair = tuple[str, str]
"""A person's and a training's id."""


def create_index(db: Database, sources: Collection[str] | None = None) -> None:
    """Create the index if the first sweeps are complete.

    `sources` are the configured sources (None: all in the store). At least one of them must have answered. Each one
    that has answered must have completed its first sweep. Updating the index during a first sweep of a million records
    would take longer than everything else; creating it afterwards takes about a second.
    """
    watched = None if sources is None else json_list(sources)
    (met, read) = db.execute(
        "SELECT count(met_at), count(swept_at) FROM sources WHERE met_at IS NOT NULL"
        " AND (CAST(:watched AS TEXT) IS NULL OR name IN (SELECT value FROM json_each(:watched)))",
        {"watched": watched},
    ).fetchone()
    if met and met == read and not has_index(db):
        # The source is not the first column, because a person is also looked for in all sources at once.
        db.execute(f"CREATE INDEX {_INDEX} ON records (user_id, training_id)")


def has_index(db: Database) -> bool:
    """Return whether the index exists."""
    return db.execute(_INDEX_EXISTS.on(db), [_INDEX]).fetchone() is not None


def index_hint(db: Database) -> str | None:
    """Return the index hint for `records` in a query by person; None if the query would read too many records."""
    if has_index(db):
        return _BY_PERSON.on(db)
    (records,) = db.execute("SELECT coalesce(sum(records), 0) FROM sources").fetchone()
    return None if records > FEW_RECORDS else _WITHOUT_INDEX.on(db)


def occasions(db: Database, source: str, changes: Sequence[Change]) -> dict[str, Occasion]:
    """Return, by record key, whether a completion is the person's first one of its training, or a renewal.

    If this is uncertain for a completion, the completion is left out. Until a sweep has read the whole list, all
    completions are left out. `changes` are about to be written; the answer's other records are already stored.
    """
    if not changes or (by := index_hint(db)) is None:
        return {}
    swept_ms, has_attachments = db.execute(
        "SELECT swept_at, json_extract(view, '$.has_attachments') FROM sources WHERE name = ?", [source]
    ).fetchone() or (None, None)
    if swept_ms is None:
        return {}
    changed_keys = {change.completion.key for change in changes}
    days: dict[Pair, dict[str, str | None]] = {_pair(change): {} for change in changes}
    for pair, key, completed_on in _present_records(db, source, days, by):
        if key not in changed_keys:
            days[pair][key] = completed_on
    for change in changes:
        if change.type is not EventType.REMOVED:
            days[_pair(change)][change.completion.key] = change.completion.completed_on
    found = {}
    for change in changes:
        key = change.completion.key
        others = [day for other, day in days[_pair(change)].items() if other != key]
        # A source that reads only records with attachments, or only those without, does not know all completions.
        occasion = occasion_of(change.completion.completed_on, others, knows_all=has_attachments is None)
        if occasion is not None:
            found[key] = occasion
    return found


def _present_records(
    db: Database, source: str, pairs: Collection[Pair], by: str
) -> Iterator[tuple[Pair, str, str | None]]:
    """Yield (pair, key, completion date) for each present record of these pairs of a person and a training."""
    rows = db.execute(
        f"WITH wanted AS MATERIALIZED ({_PAIRS.on(db)})"
        f" SELECT r.user_id, r.training_id, r.key, r.completed_on FROM wanted w CROSS JOIN records r {by}"
        " ON r.user_id = w.user_id AND r.training_id = w.training_id WHERE r.source = ?"
        " AND r.removed_at IS NULL AND r.out_of_view = 0",
        [json_list(sorted(pairs)), source],
    )
    for user_id, training_id, key, completed_on in rows:
        yield (user_id, training_id), key, completed_on


def _pair(change: Change) -> Pair:
    return change.completion.user_id, change.completion.training_id
