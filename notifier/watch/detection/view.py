"""The view of a source: the list that it requests, by API version, address and filters. Other records are ignored."""

from typing import Final

from msgspec import Struct, json

from notifier.config import SourceSettings
from notifier.store.database import Database
from notifier.store.tables import left_out, sources, sweeps
from notifier.store.tables.sources import SourceMemory
from notifier.store.tables.view import delete_unconfirmed, mark_out_of_view
from notifier.watch.detection.news import EarlierView

_CLOCKS_DIFFER_MS: Final = 600_000
"""Milliseconds by which the API's clock may be behind ours.

After a sweep, a record counts as known only if it was entered at least this long before the sweep began.
"""


class View(Struct, frozen=True):
    """The list that a source requests."""

    api: str
    base_url: str
    training_id: str | None = None
    user_id: str | None = None
    has_attachments: bool | None = None
    renumbers: bool = False
    """Whether the known records had other keys in the earlier API version.

    If so, unknown records are matched with them until a sweep has read the whole list.
    """
    earlier: EarlierView | None = None
    """The view before this one; None if there was none.

    Also None if the address or the ids have changed: the earlier filters may then mean other records.
    """

    @classmethod
    def from_settings(cls, settings: SourceSettings) -> "View":
        """Return the view that these settings define."""
        return cls(
            settings.api,
            settings.base_url.rstrip("/"),
            settings.training_id or None,
            settings.user_id or None,
            settings.has_attachments,
        )

    @classmethod
    def from_text(cls, text: str) -> "View":
        """Return the view that `to_text` has converted to this text."""
        return json.decode(text, type=cls)

    def to_text(self) -> str:
        """Return the view as text for the store."""
        return json.encode(self).decode()

    def requests_same_list(self, other: "View") -> bool:
        """Return whether two views request the same list."""
        return (self.api, self.base_url, self.filters) == (other.api, other.base_url, other.filters)

    @property
    def filters(self) -> tuple[str | None, str | None, bool | None]:
        """The filters of the list: training id, user id, and whether a record has attachments; None means no filter."""
        return self.training_id, self.user_id, self.has_attachments


def apply_view(db: Database, source: str, view: View, now_ms: int) -> SourceMemory:
    """Store the view of a source, mark the known records that are outside it, and return the source's state.

    After a change of the view, a sweep is due, because earlier counts and sweeps prove nothing. An unknown record is
    then history in two cases:

    - The earlier filters exclude it, and it was entered before the last successful poll.
    - The earlier filters include it, and it was entered before the last whole sweep. Polls may have missed later ones.

    If no sweep has read the whole list of the earlier view, the rule for history stays as it was.
    """
    memory = sources.read_or_create(db, source)
    before = None if memory.view is None else View.from_text(memory.view)
    if before is None or memory.first_contact_ms is None:
        # No earlier view is stored, because the file is from an earlier version or the source was never read.
        return sources.update(db, source, view=view.to_text())
    if view.requests_same_list(before):
        return memory
    renumbers = view.api != before.api or (before.renumbers and memory.swept_at_ms is None)
    earlier, since_ms = before.earlier, memory.view_since_ms
    if memory.swept_at_ms is not None:
        since_ms = memory.last_success_ms or memory.first_contact_ms
        known_until_ms = sweeps.start_of(db, source, memory.swept_at_ms) - _CLOCKS_DIFFER_MS
        earlier = EarlierView(*before.filters, known_until_ms)
    if renumbers or view.base_url != before.base_url:
        # At another address, or with other ids, the earlier filters may mean other records.
        earlier = None
    sweeps.delete_unfinished(db, source)
    delete_unconfirmed(db, source)
    left_out.delete_all(db, source)
    existing = mark_out_of_view(
        db,
        source,
        # The API versions have different ids for trainings.
        training_id=None if renumbers else view.training_id,
        user_id=view.user_id,
        has_attachments=view.has_attachments,
    )
    memory = sources.update(
        db,
        source,
        view=View(view.api, view.base_url, *view.filters, renumbers, earlier).to_text(),
        view_since_ms=since_ms,
        records=existing,
        swept_at_ms=None,
        head_key=None,
        head_day=None,
        count_offset=0,
        unexplained=0,
        unexplained_since_ms=None,
        left_over=None,
        held=0,
        held_changes=0,
        held_field=None,
        release_removals=None,
        release_changes=None,
        page_cap=None,
        total_disbelieved=0,
    )
    sweeps.resume_or_start(db, source, now_ms)
    return memory
