"""Changes that a later request (the second look) has to confirm, and fingerprints of earlier contents of records."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from notifier.store.database import Database, json_list


class LookKind(StrEnum):
    """The change to confirm: a record is gone, a removed one is back, or a record has an earlier content again."""

    REMOVAL = "removal"
    RETURN = "return"
    EARLIER_FORM = "earlier_form"


class SecondLook(Struct, frozen=True):
    """One record with an unconfirmed change; times in Unix milliseconds.

    The confirming request asks for the records of `user_id` and `training_id`.
    """

    key: str
    kind: LookKind
    since_ms: int | None
    """When the wait for confirmation began; None if an answer has contradicted the change."""
    first_ms: int
    detected_by: str
    """The detection method that first saw the change."""
    form: int
    """The fingerprint of the content to be confirmed; 0 for a removal."""
    user_id: str
    training_id: str
    flips: int = 0
    """The number of answers that contradicted the change, the last one at `flipped_ms`."""
    flipped_ms: int | None = None


_COLUMNS = "key, kind, since, first_at, net, form, user_id, training_id, flips, flipped_at"
_REPLACED = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", ") if name != "key")


def of_source(db: Database, source: str) -> dict[str, SecondLook]:
    """Return all second looks of a source, by the record's key."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM second_looks WHERE source = ?", [source])
    return {row[0]: SecondLook(row[0], LookKind(row[1]), *row[2:]) for row in rows}


def of_record(db: Database, source: str, key: str) -> SecondLook | None:
    """Return the second look of a record; None if it has none."""
    row = db.execute(f"SELECT {_COLUMNS} FROM second_looks WHERE source = ? AND key = ?", [source, key]).fetchone()
    return None if row is None else SecondLook(row[0], LookKind(row[1]), *row[2:])


def count_waiting(db: Database, source: str) -> dict[LookKind, int]:
    """Return how many changes of a source's records wait for confirmation, by kind."""
    rows = db.execute(
        "SELECT kind, count(*) FROM second_looks WHERE source = ? AND since IS NOT NULL GROUP BY kind", [source]
    )
    found = {LookKind(kind): number for kind, number in rows}
    return {kind: found.get(kind, 0) for kind in LookKind}


def put(db: Database, source: str, looks: Sequence[SecondLook]) -> None:
    """Store second looks; they replace earlier ones of the same records."""
    db.executemany(
        f"INSERT INTO second_looks (source, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        f" ON CONFLICT (source, key) DO UPDATE SET {_REPLACED}",
        [
            (
                source,
                look.key,
                look.kind,
                look.since_ms,
                look.first_ms,
                look.detected_by,
                look.form,
                look.user_id,
                look.training_id,
                look.flips,
                look.flipped_ms,
            )
            for look in looks
        ],
    )


def delete(db: Database, source: str, keys: Sequence[str]) -> None:
    """Delete the second looks of these records."""
    db.executemany("DELETE FROM second_looks WHERE source = ? AND key = ?", [(source, key) for key in keys])


def store_earlier_form(db: Database, source: str, key: str, form: int, now_ms: int) -> None:
    """Store the fingerprint of the content that a record had until now."""
    db.execute(
        "INSERT INTO record_forms (source, key, form, until) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (source, key, form) DO UPDATE SET until = excluded.until",
        [source, key, form, now_ms],
    )


def earlier_forms(db: Database, source: str, keys: Sequence[str]) -> dict[str, set[int]]:
    """Return the stored fingerprints of earlier contents of these records, by key."""
    found: dict[str, set[int]] = {}
    rows = db.execute(
        "SELECT key, form FROM record_forms WHERE source = ? AND key IN (SELECT value FROM json_each(?))",
        [source, json_list(keys)],
    )
    for key, form in rows:
        found.setdefault(key, set()).add(form)
    return found


def delete_old_forms(db: Database, before_ms: int) -> None:
    """Delete the fingerprints of contents that were replaced before `before_ms`."""
    db.execute("DELETE FROM record_forms WHERE until < ?", [before_ms])
