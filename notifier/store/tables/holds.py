"""Arrivals and changes that are held back until an operator releases them, because too many came at once."""

from collections.abc import Sequence

from msgspec import Struct

from notifier.store.database import Database
from notifier.store.tables import sources, sweeps
from notifier.store.tables.sources import Release, SourceMemory


class HeldChange(Struct, frozen=True):
    """A held-back change of the known record `key`; `field` is the changed field that caused the hold."""

    key: str
    field: str


class HeldExamples(Struct, frozen=True):
    """The keys of one held-back arrival and of one record with a held-back change; None where there is none."""

    arrival: str | None = None
    change: str | None = None


def changed_records(db: Database, source: str) -> set[str]:
    """Return the keys of the records with a held-back change."""
    return {key for (key,) in db.execute("SELECT key FROM held_changes WHERE source = ?", [source])}


def arrivals(db: Database, source: str, limit: int) -> list[str]:
    """Return the keys of held-back arrivals, in the order in which they were first seen."""
    rows = db.execute("SELECT key FROM records WHERE source = ? AND held = 1 ORDER BY id LIMIT ?", [source, limit])
    return [key for (key,) in rows]


def examples(db: Database, source: str) -> HeldExamples:
    """Return one held-back arrival and one record with a held-back change, as examples for people."""
    change = db.execute("SELECT min(key) FROM held_changes WHERE source = ?", [source]).fetchone()
    return HeldExamples(next(iter(arrivals(db, source, 1)), None), change[0])


def accept_arrivals(db: Database, source: str, reason: str) -> int:
    """Mark the held-back arrivals as known without announcing them; return their number."""
    learned = db.execute(
        "UPDATE records SET held = 0, reason = ? WHERE source = ? AND held = 1", [reason, source]
    ).rowcount
    db.execute("UPDATE sources SET held_arrivals = 0 WHERE name = ?", [source])
    return int(learned)


def write_changes(db: Database, source: str, held: Sequence[HeldChange], ended: Sequence[str]) -> None:
    """Store new held-back changes, and delete the held-back changes of the records whose keys are in `ended`.

    The source's `held_field` is set to the field of a held-back change. During a silent release, `held_field` is not
    changed, because it then says which further changes are accepted.
    """
    db.executemany("DELETE FROM held_changes WHERE source = ? AND key = ?", [(source, key) for key in ended])
    db.executemany(
        "INSERT INTO held_changes (source, key, field) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(source, change.key, change.field) for change in held],
    )
    db.execute(
        "UPDATE sources SET held_changes = (SELECT count(*) FROM held_changes WHERE source = name),"
        " held_field = CASE WHEN release_changes = ? THEN held_field"
        " ELSE (SELECT field FROM held_changes WHERE source = name LIMIT 1) END WHERE name = ?",
        [str(Release.LEARN), source],
    )


def begin_release(db: Database, source: str, what: str, release: Release) -> SourceMemory:
    """Store an operator's release of the held-back removals or changes (`what`).

    Returns the source's new state. An unfinished sweep is deleted, because the sweep that carries out the release has
    to read the whole list.
    """
    sweeps.delete_unfinished(db, source)
    return sources.update(db, source, **{f"release_{what}": release})


def cancel_releases(db: Database) -> None:
    """Cancel all releases of held-back removals and changes. An operator has to request the releases again."""
    db.execute("UPDATE sources SET release_removals = NULL, release_changes = NULL")


def end_release_of_changes(db: Database, source: str) -> SourceMemory:
    """Store that no held-back changes are being released any more; return the source's new state."""
    sources.write(db, source, release_changes=None)
    write_changes(db, source, (), ())
    return sources.read_or_create(db, source)
