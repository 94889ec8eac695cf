"""The events that the state file has lost: those that were announced, and `created` events still to be sent.

A record whose events were lost is found again as an unknown record. Its next event would have the id of an earlier
event, and receivers would drop that event as a duplicate. So the table `told_before` has the id, the record and the
revision of each lost event that was announced:

- A change whose event id is not in the table is announced, with a revision above all announced ones.
- A change whose event id is in the table is not announced until the record was found again, or its source was read to
  the end. From then on, such a change must be a new one, and is announced with a new revision.
- The first `created` event of a record is never announced again.

The table `owed` has the events still to be sent. When the record of such an event is found again, the event is sent to
the destinations that have not received it. In nearly every file, both tables are empty, and one query shows that.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from notifier.events import Change, Completion, DetectedBy, EventType, event_id
from notifier.store.database import Database, json_list


class OwedRecord(Struct, frozen=True):
    """A `created` event to announce when its record is found again, and the destinations that have not received it."""

    revision: int
    destinations: frozenset[str]


class PlannedAnnouncement(Struct, frozen=True):
    """How a change is announced.

    `change` has its final revision. If `was_announced` is set, the event of the change was announced before, and is not
    written again. Only the destinations in `only_to` get the event; None means all destinations.
    """

    change: Change
    was_announced: bool = False
    only_to: frozenset[str] | None = None

    def includes_destination(self, destination: str) -> bool:
        """Return whether the event may be sent to a destination; the destination's filters are checked separately."""
        return self.only_to is None or destination in self.only_to


class AnnouncedEvents(Struct, frozen=True):
    """The announced and the owed events of one source.

    If the tables `told_before` and `owed` are both empty, `db` is None.
    """

    source: str
    db: Database | None = None
    owed: Mapping[str, OwedRecord] = field(default_factory=dict)

    @property
    def has_owed(self) -> bool:
        """Whether any record has an owed event, which is announced when the record is found again."""
        return bool(self.owed)

    def is_owed(self, key: str) -> bool:
        """Return whether an event about this record is still to be sent (see the table `owed`)."""
        return key in self.owed

    def owed_change(self, completion: Completion, detected_by: DetectedBy, reason: str) -> Change | None:
        """Return the change that the owed event of a record announces; None if no event is owed."""
        owed = self.owed.get(completion.key)
        return None if owed is None else Change(EventType.CREATED, completion, owed.revision, detected_by, reason)

    def revision_of(self, key: str) -> int:
        """Return the highest revision of a record in the table `told_before`; 0 if the record is not in it."""
        if self.db is None:
            return 0
        (highest,) = self.db.execute(
            "SELECT coalesce(max(revision), 0) FROM told_before WHERE source = ? AND key = ?", [self.source, key]
        ).fetchone()
        return int(highest)

    def plan_announcement(self, id_namespace: str, change: Change) -> PlannedAnnouncement:
        """Return how to announce a change.

        If the change announces the owed event of its record, the row of that event is deleted.
        """
        owed = self.owed.get(change.completion.key)
        if owed is not None and change.type is EventType.CREATED and self.db is not None:
            self.db.execute("DELETE FROM owed WHERE source = ? AND key = ?", [self.source, change.completion.key])
            return PlannedAnnouncement(replace(change, revision=owed.revision), only_to=owed.destinations)
        if self.db is None:
            return PlannedAnnouncement(change)
        highest = self.revision_of(change.completion.key)
        if not was_announced(self.db, event_id(id_namespace, change)) and not (is_first(change) and highest):
            return PlannedAnnouncement(
                replace(change, revision=max(change.revision, highest + 1)) if highest else change
            )
        if is_first(change) or not self._was_read_since(change.completion.key):
            return PlannedAnnouncement(change, was_announced=True)
        return PlannedAnnouncement(replace(change, revision=max(change.revision, highest + 1)))

    def highest_revision(self, db: Database, key: str) -> int:
        """Return a record's highest revision in the tables `told_before` and `events`; 0 if it is in neither."""
        (in_file,) = db.execute(
            "SELECT coalesce(max(revision), 0) FROM events WHERE source = ? AND subject = ?", [self.source, key]
        ).fetchone()
        return max(int(in_file), self.revision_of(key))

    def _was_read_since(self, key: str) -> bool:
        """Return whether a record was found, or its source fully read, since its rows were added to `told_before`."""
        if self.db is None:
            return True
        row = self.db.execute(
            "SELECT max(at) <= coalesce((SELECT swept_at FROM sources WHERE name = :source), 0)"
            " OR max(at) <= coalesce((SELECT seen_at FROM records WHERE source = :source AND key = :key), 0)"
            " FROM told_before WHERE source = :source AND key = :key",
            {"source": self.source, "key": key},
        ).fetchone()
        # The result is NULL if the rows are from essentials in the first format, which name no records. Then the event
        # is not announced again.
        return bool(row[0])


def was_announced(db: Database, identifier: str) -> bool:
    """Return whether the event with this id was announced, and then lost with the state file."""
    return db.execute("SELECT 1 FROM told_before WHERE id = ?", [identifier]).fetchone() is not None


def is_first(change: Change) -> bool:
    """Return whether a change announces a new record for the first time, and not a record that came back."""
    return change.type is EventType.CREATED and change.revision == 1


_ANY_ROW: Final = "SELECT EXISTS (SELECT 1 FROM told_before) OR EXISTS (SELECT 1 FROM owed)"


def read_announced(db: Database, source: str, keys: Iterable[str]) -> AnnouncedEvents:
    """Return the announced events of a source, and the owed events of its records with these keys."""
    if not db.execute(_ANY_ROW).fetchone()[0]:
        return AnnouncedEvents(source)
    owed = db.execute(
        "SELECT key, revision, destinations FROM owed WHERE source = ? AND key IN (SELECT value FROM json_each(?))",
        [source, json_list(keys)],
    ).fetchall()
    return AnnouncedEvents(
        source,
        db,
        {key: OwedRecord(revision, frozenset(orjson.loads(destinations))) for key, revision, destinations in owed},
    )


def delete_old(db: Database, before_ms: int) -> None:
    """Delete the rows of `told_before` and `owed` that were added before `before_ms`.

    First, the revisions of the records are raised to the highest ones in the rows that will be deleted.
    """
    db.execute(
        "UPDATE records SET revision = told.revision FROM (SELECT source, key, max(revision) AS revision"
        " FROM told_before WHERE at < ? AND key IS NOT NULL GROUP BY source, key) AS told"
        " WHERE records.source = told.source AND records.key = told.key AND records.revision < told.revision",
        [before_ms],
    )
    db.execute("DELETE FROM told_before WHERE at < ?", [before_ms])
    db.execute("DELETE FROM owed WHERE at < ?", [before_ms])
