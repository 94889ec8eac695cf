"""Updates known records to their present JSON, or to the key that the API now gives them, without an event."""

import orjson
from msgspec import Struct

from notifier.events import Completion, without_private_content
from notifier.store.database import Database
from notifier.store.tables import second_looks

_LARGE_VALUE = 2048
_LARGE_RECORD = 4096


class Adoption(Struct, frozen=True):
    """A known record to which the API now gives another key."""

    old_key: str
    completion: Completion


def refresh(db: Database, source: str, completion: Completion, key: str) -> None:
    """Replace the known record stored under `key` with its present form, `completion`, which may have another key."""
    db.execute(
        "UPDATE records SET key = ?, user_id = ?, training_id = ?, completed_on = ?, recorded_at = ?, fingerprint = ?,"
        " record = ? WHERE source = ? AND key = ?",
        [
            completion.key,
            completion.user_id,
            completion.training_id,
            completion.completed_on,
            completion.recorded_at,
            completion.fingerprint(),
            stored_json(completion),
            source,
            key,
        ],
    )


def change_key(db: Database, source: str, adoption: Adoption, now_ms: int) -> None:
    """Give a known record the API's new key, which its later events use, and count the record as renumbered."""
    completion, old_key = adoption.completion, adoption.old_key
    refresh(db, source, completion, old_key)
    # What was announced about its end stays announced.
    db.execute(
        "UPDATE expiries SET key = ?, user_id = ?, training_id = ? WHERE source = ? AND key = ?",
        [completion.key, completion.user_id, completion.training_id, source, old_key],
    )
    second_looks.delete(db, source, [old_key])
    db.execute(
        "UPDATE sources SET renumbered = renumbered + 1, renumbered_at = ? WHERE name = ?",
        [now_ms, source],
    )


def stored_json(completion: Completion) -> str:
    """Return the JSON to store, without large parts that no event needs.

    A large list keeps its length: its items become null.
    """
    raw = without_private_content(completion.raw if completion.stored_raw is None else completion.stored_raw)
    if len(raw) <= _LARGE_RECORD:
        return raw.decode()
    return orjson.dumps({name: _without_large_value(value) for name, value in orjson.loads(raw).items()}).decode()


def _without_large_value(value: object) -> object:
    if isinstance(value, dict | list) and len(orjson.dumps(value)) > _LARGE_VALUE:
        return [None] * len(value) if isinstance(value, list) else None
    return value
