"""Stores which records of a source's list cannot be read, and why, and counts them."""

from collections.abc import Collection, Sequence
from typing import Final

from msgspec import Struct

from notifier.store.database import Database, json_list
from notifier.store.tables.sweeps import Sweep

WITHOUT_KEY: Final = "?"
"""The prefix of the identifier for a record whose own key cannot be read."""

TOO_LARGE: Final = f"{WITHOUT_KEY}too-large"
"""The prefix of the identifier for a record that is too large for any answer. The rest is its place in the list."""


class UnreadableRecord(Struct, frozen=True):
    """A record that cannot be read; `problem` says why, and `field` names the field at fault (None: unclear)."""

    key: str
    field: str | None
    problem: str

    @property
    def has_key(self) -> bool:
        """Whether the record's own key is known."""
        return not self.key.startswith(WITHOUT_KEY)


def count_unreadable(
    db: Database, source: str, records: Sequence[UnreadableRecord], known: Collection[str], *, swept: bool
) -> bool:
    """Count the unreadable `records` of an answer; return whether any of them are new.

    `known` are the keys of `records` that the store knew before. `swept` says whether a sweep read the answer. A record
    without a key is first counted as known; `correct_after_sweep` corrects that.

    Only a sweep knows the place of a record that is too large for any answer. So if the answer is not from a sweep,
    such a record is added only if the source has none yet.
    """
    there = _stored_keys(db, source, [record.key for record in records])
    if (
        not swept
        and db.execute(
            "SELECT 1 FROM left_out WHERE source = ? AND key > ? AND key < ? LIMIT 1",
            [source, TOO_LARGE, f"{TOO_LARGE}~"],
        ).fetchone()
    ):
        records = [record for record in records if not record.key.startswith(TOO_LARGE)]
    (sweep,) = db.execute("SELECT coalesce(max(id), 0) FROM sweeps WHERE source = ?", [source]).fetchone()
    rows = {
        record.key: (
            source,
            record.key,
            record.field,
            record.problem,
            sweep,
            int(not record.has_key or record.key in known),
        )
        for record in records
    }
    db.executemany(
        "INSERT INTO left_out (source, key, field, problem, sweep, known) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (source, key) DO UPDATE SET field = excluded.field, problem = excluded.problem,"
        " sweep = excluded.sweep",
        list(rows.values()),
    )
    new = [row for key, row in rows.items() if key not in there]
    if new:
        _add_to_counts(db, source, len(new), sum(row[-1] for row in new))
    return bool(new)


def delete_readable(db: Database, source: str, keys: Sequence[str]) -> bool:
    """Delete the entries of records that can be read now; return whether there were any."""
    gone = db.execute(
        "DELETE FROM left_out WHERE source = ? AND key IN (SELECT value FROM json_each(?)) RETURNING known",
        [source, json_list(keys)],
    ).fetchall()
    if gone:
        _add_to_counts(db, source, -len(gone), -sum(known for (known,) in gone))
    return bool(gone)


def correct_after_sweep(db: Database, sweep: Sweep, missing: int) -> None:
    """Correct the counts after a sweep has read the whole list.

    Entries that a complete sweep has not seen are deleted. `missing` is the number of known records that were on no
    page. Unreadable records without a key may be these missing records. So from now on, up to `missing` unreadable
    records without a key are counted as known.
    """
    source = sweep.source
    if sweep.whole:
        db.execute("DELETE FROM left_out WHERE source = ? AND sweep < ?", [source, sweep.id])
    db.execute(
        "UPDATE left_out SET known = CASE WHEN EXISTS (SELECT 1 FROM records r WHERE r.source = left_out.source"
        " AND r.key = left_out.key AND r.removed_at IS NULL AND r.out_of_view = 0) THEN 1 ELSE 0 END WHERE source = ?",
        [source],
    )
    db.execute(
        "UPDATE left_out SET known = 1 WHERE source = ? AND key IN"
        " (SELECT key FROM left_out WHERE source = ? AND key >= ? AND key < ? LIMIT ?)",
        [source, source, WITHOUT_KEY, f"{WITHOUT_KEY}~", missing],
    )
    counted, known = db.execute(
        "SELECT count(*), coalesce(sum(known), 0) FROM left_out WHERE source = ?", [source]
    ).fetchone()
    db.execute("UPDATE sources SET unreadable = ?, unreadable_known = ? WHERE name = ?", [counted, known, source])
    _store_example(db, source)


def delete_all(db: Database, source: str) -> None:
    """Delete the entries of a source's unreadable records, because the source now requests another list."""
    db.execute("DELETE FROM left_out WHERE source = ?", [source])
    db.execute("UPDATE sources SET unreadable = 0, unreadable_known = 0 WHERE name = ?", [source])
    _store_example(db, source)


def of_record(db: Database, key: str) -> dict[str, UnreadableRecord]:
    """Return the unreadable records with this key, by source."""
    rows = db.execute(
        "SELECT s.name, l.key, l.field, l.problem FROM sources s CROSS JOIN left_out l"
        " ON l.source = s.name AND l.key = ? ORDER BY s.name",
        [key],
    )
    return {source: UnreadableRecord(*row) for source, *row in rows.fetchall()}


def _stored_keys(db: Database, source: str, keys: Sequence[str]) -> set[str]:
    rows = db.execute(
        "SELECT key FROM left_out WHERE source = ? AND key IN (SELECT value FROM json_each(?))",
        [source, json_list(keys)],
    )
    return {key for (key,) in rows}


def _add_to_counts(db: Database, source: str, more: int, known: int) -> None:
    db.execute(
        "UPDATE sources SET unreadable = unreadable + ?, unreadable_known = unreadable_known + ? WHERE name = ?",
        [more, known, source],
    )
    _store_example(db, source)


def _store_example(db: Database, source: str) -> None:
    """Store an example of the source's unreadable records in the source's row, for the status."""
    row = db.execute("SELECT key, field, problem FROM left_out WHERE source = ? LIMIT 1", [source]).fetchone()
    one = None if row is None else UnreadableRecord(*row)
    db.execute(
        "UPDATE sources SET unreadable_key = ?, unreadable_field = ?, unreadable_problem = ? WHERE name = ?",
        [one.key if one and one.has_key else None, one and one.field, one and one.problem, source],
    )
