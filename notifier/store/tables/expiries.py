"""The announcements that completions expire, and the daily rounds that make them."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from notifier.events import EventType
from notifier.store.database import NUMBERS, Database, json_list

EXAMINED_AT_ONCE: Final = 20_000
"""Number of records examined in one transaction, so that other work does not wait long for the store."""

_ANNOUNCED: Final = "key, valid_until, user_id, training_id, stage, turn, renewed"
_EXPIRY_TYPES: Final = f"('{EventType.EXPIRING}', '{EventType.EXPIRED}')"


class PresentRecord(NamedTuple):
    """A record that was not removed, is not held back, and matches the source's filters.

    The values show which of a person's completions of a training is the newest.
    """

    id: int
    user_id: str
    training_id: str
    completed_on: str | None
    recorded_at: int | None

    @property
    def order(self) -> tuple[str, int, int]:
        """The sort key, highest for the newest completion: its day, then its time of entry, then its row number."""
        return self.completed_on or "", self.recorded_at or 0, self.id


class ExpiryRow(NamedTuple):
    """The latest announcement that a record expires after the day `valid_until`.

    `watch.detection.expiry.LastAnnouncement` explains the fields.
    """

    key: str
    valid_until: str
    user_id: str
    training_id: str
    stage: str
    turn: int
    renewed: int


def read_or_start(db: Database, source: str, today: str) -> tuple[str, str | None]:
    """Return the first day of a source's announcements, and the day of its last complete round (None: no round yet).

    For a source without stored rounds, `today` is stored as the first day.
    """
    db.execute(
        "INSERT INTO expiry_rounds (source, since) VALUES (?, ?) ON CONFLICT (source) DO NOTHING", [source, today]
    )
    since, last = db.execute("SELECT since, last FROM expiry_rounds WHERE source = ?", [source]).fetchone()
    return since, last


def store_round(db: Database, source: str, today: str) -> None:
    """Store that the round of this day is complete."""
    db.execute("UPDATE expiry_rounds SET last = ? WHERE source = ?", [today, source])


def delete_other_sources(db: Database, sources: Sequence[str]) -> None:
    """Delete the stored rounds of all sources but these, because the other sources no longer announce expiries."""
    db.execute(
        "DELETE FROM expiry_rounds WHERE source NOT IN (SELECT value FROM json_each(?))",
        [json_list(sources)],
    )


_PRESENT: Final = (
    "SELECT id, user_id, training_id, completed_on, recorded_at FROM records WHERE source = ?"
    " AND removed_at IS NULL AND held = 0 AND out_of_view = 0"
)


def present_records(db: Database, source: str, after: int) -> list[PresentRecord]:
    """Return the next EXAMINED_AT_ONCE present records of a source after row number `after`; fewer at the end."""
    rows = db.execute(f"{_PRESENT} AND id > ? ORDER BY id LIMIT ?", [source, after, EXAMINED_AT_ONCE])
    return [PresentRecord(*row) for row in rows]


def present_records_of(db: Database, source: str, pairs: Iterable[tuple[str, str]]) -> list[PresentRecord]:
    """Return the present records whose person id and training id are one of the `pairs`."""
    wanted = set(pairs)
    people = json_list(sorted({user for user, _ in wanted}))
    rows = db.execute(f"{_PRESENT} AND user_id IN (SELECT value FROM json_each(?))", [source, people])
    return [record for row in rows if ((record := PresentRecord(*row)).user_id, record.training_id) in wanted]


def record_contents(db: Database, ids: Collection[int]) -> list[tuple[str, int, bytes]]:
    """Return the key, the revision and the JSON of the records with these ids; removed records are left out."""
    rows = db.execute(
        f"SELECT key, revision, record FROM records WHERE removed_at IS NULL AND id IN {NUMBERS}",
        [json_list(ids)],
    )
    return [(key, revision, record.encode()) for key, revision, record in rows]


def stored_content(db: Database, source: str, key: str) -> tuple[int, bytes] | None:
    """Return the revision and the JSON of a record, even if it was removed; None if the record is unknown."""
    row = db.execute("SELECT revision, record FROM records WHERE source = ? AND key = ?", [source, key]).fetchone()
    return None if row is None else (row[0], row[1].encode())


def standing_announcements(db: Database, source: str) -> list[ExpiryRow]:
    """Return the announcements of a source that were not withdrawn.

    Those about records outside the source's filters are left out, because nothing is known about these records now.
    """
    rows = db.execute(
        f"SELECT {_ANNOUNCED} FROM expiries e WHERE source = ? AND renewed = 0 AND NOT EXISTS (SELECT 1 FROM records r"
        " WHERE r.source = e.source AND r.key = e.key AND r.out_of_view = 1)",
        [source],
    )
    return [ExpiryRow(*row) for row in rows]


def announcements_of(db: Database, source: str, keys: Sequence[str]) -> list[ExpiryRow]:
    """Return the announcements about the records with these keys, including those that were withdrawn."""
    rows = db.execute(
        f"SELECT {_ANNOUNCED} FROM expiries WHERE source = ? AND key IN (SELECT value FROM json_each(?))",
        [source, json_list(keys)],
    )
    return [ExpiryRow(*row) for row in rows]


def store_announcement(db: Database, source: str, row: ExpiryRow) -> None:
    """Store an announcement; it replaces the stored one about the same record and the same last valid day."""
    db.execute(
        f"INSERT INTO expiries (source, {_ANNOUNCED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (source, key, valid_until) DO UPDATE SET user_id = excluded.user_id,"
        " training_id = excluded.training_id, stage = excluded.stage, turn = excluded.turn, renewed = excluded.renewed",
        [source, *row],
    )


def withdraw(db: Database, source: str, key: str, valid_until: str) -> list[str]:
    """Withdraw the announcements that a record expires after `valid_until`: delete their waiting deliveries.

    Return the destinations of the deleted deliveries.
    """
    rows = db.execute(
        "DELETE FROM deliveries WHERE state = 'pending' AND sequence IN (SELECT sequence FROM events WHERE source = ?"
        f" AND subject = ? AND type IN {_EXPIRY_TYPES} AND json_extract(data, '$.completion.valid_until') = ?)"
        " RETURNING destination",
        [source, key, valid_until],
    ).fetchall()
    return sorted({name for (name,) in rows})


def validity_source(db: Database, source: str, key: str, valid_until: str) -> str | None:
    """Return `valid_until_source` of the latest announcement that a record expires after the day `valid_until`.

    If there is no such announcement, return None.
    """
    row = db.execute(
        "SELECT json_extract(data, '$.completion.valid_until_source') FROM events WHERE source = ? AND subject = ?"
        f" AND type IN {_EXPIRY_TYPES} AND json_extract(data, '$.completion.valid_until') = ?"
        " ORDER BY sequence DESC LIMIT 1",
        [source, key, valid_until],
    ).fetchone()
    return None if row is None else row[0]


def erase_person(db: Database, source: str, user_id: str) -> None:
    """Erase a person from the rows of the person's removed records.

    The rows of the records that the account still has stay as they are: without them, the next round would make the
    same announcements again.
    """
    db.execute(
        "UPDATE expiries SET user_id = '' WHERE source = :source AND user_id = :user AND key NOT IN"
        " (SELECT key FROM records WHERE source = :source AND user_id = :user AND removed_at IS NULL)",
        {"source": source, "user": user_id},
    )


def erase_people(db: Database, records: Iterable[tuple[str, str]]) -> None:
    """Erase the person from the rows of these records (source, key); the rows stay, so no event id is used again."""
    db.executemany("UPDATE expiries SET user_id = '' WHERE source = ? AND key = ?", records)
