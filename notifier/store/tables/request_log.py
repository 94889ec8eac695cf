"""The log of the latest requests to each destination: the headers that were sent, and the beginning of the answer.

A request's body can be made again from the events, so only its digest is stored. Secrets are removed first. The number
of rows is limited.
"""

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Final

import orjson
from msgspec import Struct

from notifier.store.database import Database
from notifier.store.tables.outbox import consecutive_runs

KEPT_PER_DESTINATION: Final = 500
"""The number of latest requests that are kept for each destination."""

KEPT: Final = 20_000
"""The number of latest requests that are kept for all destinations together."""

_PRUNED_EVERY: Final = 100
"""Number of new rows between two deletions of old ones, so that few writes have to delete."""

Headers = tuple[tuple[str, str], ...]
"""Header fields in the order in which they were sent."""


class SentRequest(Struct, frozen=True):
    """A request and its answer, without secrets; `answer_headers` is None if there was no answer."""

    headers: Headers
    body_bytes: int
    body_digest: str
    answer_headers: Headers | None
    answer_body: str


class LoggedRequest(Struct, frozen=True):
    """An entry of the log: the request, when it was made (Unix ms), and the numbers of all its events."""

    attempted_ms: int
    sequences: tuple[int, ...]
    request: SentRequest


def digest(body: bytes) -> str:
    """Return the digest of a body. It shows whether a body that is made again from the events is the same."""
    return blake2b(body, digest_size=16).hexdigest()


def write(db: Database, destination: str, requests: Sequence[LoggedRequest]) -> None:
    """Add requests; after every _PRUNED_EVERY new rows, delete the oldest ones beyond the limits."""
    if not requests:
        return
    db.executemany(
        "INSERT INTO request_log (destination, attempted_at, first_sequence, last_sequence, sequences, sent_headers,"
        " sent_bytes, sent_digest, answer_headers, answer_body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_to_row(destination, entry) for entry in requests],
    )
    (newest,) = db.execute("SELECT max(id) FROM request_log").fetchone()
    if newest % _PRUNED_EVERY < len(requests):
        _prune(db, newest)


def of_delivery(db: Database, sequence: int, destination: str) -> list[LoggedRequest]:
    """Return the logged requests that carried an event to a destination, in order."""
    rows = db.execute(
        "SELECT attempted_at, sequences, sent_headers, sent_bytes, sent_digest, answer_headers, answer_body"
        " FROM request_log WHERE destination = ? AND first_sequence <= ? AND last_sequence >= ? ORDER BY id",
        [destination, sequence, sequence],
    ).fetchall()
    logged = [_from_row(*row) for row in rows]
    return [entry for entry in logged if sequence in entry.sequences]


def delete_for_events(db: Database, sequences: Collection[int]) -> None:
    """Delete the requests that carried one of these events, because an answer may name the event's person."""
    if not sequences:
        return
    gone = set(sequences)
    rows = db.execute(
        "SELECT id, sequences FROM request_log WHERE last_sequence >= ? AND first_sequence <= ?", [min(gone), max(gone)]
    ).fetchall()
    overlapping = [(id_,) for id_, written in rows if not gone.isdisjoint(_parse_numbers(written))]
    db.executemany("DELETE FROM request_log WHERE id = ?", overlapping)


def delete_old(db: Database, before_ms: int) -> None:
    """Delete the requests made before a time (Unix ms)."""
    db.execute("DELETE FROM request_log WHERE attempted_at < ?", [before_ms])


def _prune(db: Database, newest: int) -> None:
    # Ids are unique and only grow, so at most KEPT rows remain in all.
    db.execute("DELETE FROM request_log WHERE id <= ?", [newest - KEPT])
    # All destinations, because one that always writes between two others would otherwise never have its turn.
    names = db.execute("SELECT DISTINCT destination FROM request_log").fetchall()
    db.executemany(
        "DELETE FROM request_log WHERE destination = ? AND id <= coalesce((SELECT kept.id FROM request_log kept"
        " WHERE kept.destination = ? ORDER BY kept.id DESC LIMIT 1 OFFSET ?), 0)",
        [(name, name, KEPT_PER_DESTINATION) for (name,) in names],
    )


def _to_row(destination: str, entry: LoggedRequest) -> tuple[str | int | None, ...]:
    it = entry.request
    return (
        destination,
        entry.attempted_ms,
        min(entry.sequences),
        max(entry.sequences),
        _format_numbers(entry.sequences),
        orjson.dumps(it.headers).decode(),
        it.body_bytes,
        it.body_digest,
        None if it.answer_headers is None else orjson.dumps(it.answer_headers).decode(),
        it.answer_body,
    )


def _from_row(
    attempted_ms: int,
    sequences: str,
    headers: str,
    body_bytes: int,
    body_digest: str,
    answer_headers: str | None,
    answer_body: str | None,
) -> LoggedRequest:
    answered = None if answer_headers is None else _parse_headers(answer_headers)
    request = SentRequest(_parse_headers(headers), body_bytes, body_digest, answered, answer_body or "")
    return LoggedRequest(attempted_ms, tuple(_parse_numbers(sequences)), request)


def _parse_headers(written: str) -> Headers:
    return tuple((name, value) for name, value in orjson.loads(written))


def _format_numbers(sequences: Collection[int]) -> str:
    """Return numbers as text, with runs written as their first and last number, such as `5-7,9`."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in consecutive_runs(sequences))


def _parse_numbers(written: str) -> Iterable[int]:
    runs = (run.partition("-") for run in written.split(","))
    return [number for first, _, last in runs for number in range(int(first), int(last or first) + 1)]
