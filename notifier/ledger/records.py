"""Records that are known, and the one transaction that makes a record known and its event told."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
from sqlite_utils import Database

from notifier.completions import Change, Completion, Event, EventType, Names, Net, event_data, event_id
from notifier.ledger.counts import count_detected
from notifier.ledger.subscriptions import Subscription

_LARGE_VALUE = 2048
_LARGE_RECORD = 4096


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger remembers of a record: its revision, a fingerprint of its JSON, whether it is gone.

    `id` is the record's number in the ledger.
    """

    revision: int
    fingerprint: int
    removed: bool
    id: int = 0


@dataclass(frozen=True, slots=True)
class Learned:
    """A record that was there before the notifier was, with the reason why it is no news."""

    completion: Completion
    net: Net
    reason: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What one page (or one look) brought: history to learn silently, and changes to tell."""

    source: str
    id_namespace: str
    learned: Sequence[Learned] = ()
    changes: Sequence[Change] = ()
    names: Names = field(default_factory=Names)


def fingerprint(raw: bytes) -> int:
    """Return 64 bits of a record's JSON, to see at a glance that nothing in it changed."""
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), signed=True)


def known(db: Database, source: str, keys: Sequence[str]) -> dict[str, Known]:
    """Look up which of `keys` are known; the others are absent from the result."""
    rows = db.execute(
        "SELECT key, revision, fingerprint, removed_at IS NOT NULL, id FROM records"
        " WHERE source = ? AND key IN (SELECT value FROM json_each(?))",
        [source, orjson.dumps(keys).decode()],
    )
    return {key: Known(revision, mark, bool(removed), id_) for key, revision, mark, removed, id_ in rows}


def known_equals(db: Database, source: str, bases: Sequence[str]) -> dict[str, Known]:
    """Look up the known records whose key is one of `bases`, or one of them with a number behind it (`-2`, `-3`...)."""
    rows = db.execute(
        "WITH bases AS (SELECT value AS base FROM json_each(?))"
        " SELECT key, revision, fingerprint, removed_at IS NOT NULL FROM bases JOIN records"
        " ON source = ? AND key = base"
        " UNION ALL SELECT key, revision, fingerprint, removed_at IS NOT NULL FROM bases JOIN records"
        " ON source = ? AND key > base || '-' AND key < base || '.'",
        [orjson.dumps(bases).decode(), source, source],
    )
    return {key: Known(revision, mark, bool(removed)) for key, revision, mark, removed in rows}


def stored(db: Database, source: str, keys: Sequence[str]) -> dict[str, bytes]:
    """Return the last known JSON of each of these records."""
    rows = db.execute(
        "SELECT key, record FROM records WHERE source = ? AND key IN (SELECT value FROM json_each(?))",
        [source, orjson.dumps(keys).decode()],
    )
    return {key: record.encode() for key, record in rows}


def write(db: Database, findings: Findings, subscriptions: Sequence[Subscription], now_ms: int) -> list[Event]:
    """Write records, their events and one delivery per interested destination, all or nothing.

    Returns the events written, in order. An event whose id is there already, or was in a damaged file that this one was
    made from, is not written again.
    """
    if findings.learned:
        _learn(db, findings, now_ms)
    events = [
        event
        for change in findings.changes
        if (event := _tell(db, findings, change, subscriptions, now_ms)) is not None
    ]
    count_detected(db, events)
    return events


def _learn(db: Database, findings: Findings, now_ms: int) -> None:
    rows = [_row(findings.source, known.completion, 1, known.net, known.reason, now_ms) for known in findings.learned]
    cursor = db.conn.executemany(f"{_INSERT} ON CONFLICT (source, key) DO NOTHING", rows)
    _count(db, findings.source, cursor.rowcount)


def _tell(
    db: Database, findings: Findings, change: Change, subscriptions: Sequence[Subscription], now_ms: int
) -> Event | None:
    completion = change.completion
    identifier = event_id(findings.id_namespace, change)
    data = event_data(change, findings.names)
    cursor = db.execute(
        "INSERT INTO events (id, type, source, subject, revision, net, reason, detected_at, data)"
        " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9"
        " WHERE NOT EXISTS (SELECT 1 FROM told_before WHERE id = ?1) ON CONFLICT (id) DO NOTHING",
        [
            identifier,
            change.type,
            findings.source,
            completion.key,
            change.revision,
            change.net,
            change.reason,
            now_ms,
            data.decode(),
        ],
    )
    _remember(db, findings.source, change, now_ms)
    if cursor.rowcount == 0 or cursor.lastrowid is None:
        return None
    sequence = cursor.lastrowid
    db.conn.executemany(
        "INSERT INTO deliveries (sequence, destination) VALUES (?, ?)",
        [
            (sequence, subscription.destination)
            for subscription in subscriptions
            if subscription.admits(change.type, findings.source, completion.training_id, completion.user_id)
        ],
    )
    return Event(sequence, identifier, change.type, findings.source, completion.key, now_ms, data)


_INSERT = (
    "INSERT INTO records (source, key, revision, user_id, training_id, completed_on, recorded_at,"
    " seen_at, net, reason, fingerprint, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def _remember(db: Database, source: str, change: Change, now_ms: int) -> None:
    if change.type is EventType.REMOVED:
        db.execute(
            "UPDATE records SET revision = ?, removed_at = ? WHERE source = ? AND key = ?",
            [change.revision, now_ms, source, change.completion.key],
        )
        _count(db, source, -1)
        return
    db.execute(
        f"{_INSERT} ON CONFLICT (source, key) DO UPDATE SET revision = excluded.revision, user_id = excluded.user_id,"
        " training_id = excluded.training_id, completed_on = excluded.completed_on,"
        " recorded_at = excluded.recorded_at, removed_at = NULL, fingerprint = excluded.fingerprint,"
        " record = excluded.record",
        _row(source, change.completion, change.revision, change.net, change.reason, now_ms),
    )
    if change.type is EventType.CREATED:
        _count(db, source, 1)


def _count(db: Database, source: str, more: int) -> None:
    db.execute("UPDATE sources SET records = records + ? WHERE name = ?", [more, source])


def _row(
    source: str, completion: Completion, revision: int, net: Net, reason: str, now_ms: int
) -> tuple[str | int | None, ...]:
    return (
        source,
        completion.key,
        revision,
        completion.user_id,
        completion.training_id,
        completion.completed_on,
        completion.recorded_at,
        now_ms,
        net,
        reason,
        fingerprint(completion.raw),
        _trimmed(completion.raw),
    )


def _trimmed(raw: bytes) -> str:
    """Leave out the bulk that no later event needs, such as a signature's image; texts and list lengths stay."""
    if len(raw) <= _LARGE_RECORD:
        return raw.decode()
    return orjson.dumps({name: _without_bulk(value) for name, value in orjson.loads(raw).items()}).decode()


def _without_bulk(value: object) -> object:
    if isinstance(value, dict | list) and len(orjson.dumps(value)) > _LARGE_VALUE:
        return [None] * len(value) if isinstance(value, list) else None
    return value
