"""Decides whether an unknown record is news (to announce) or history (only to store). Pure functions."""

from datetime import UTC, date, datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from notifier.config import FirstRun
from notifier.events import Completion


class NewsReason(StrEnum):
    """Why a record, or a change of it, counts as news or as history."""

    FIRST_ANSWER = "stood_in_first_answer"
    ENTERED_BEFORE = "entered_before_first_meeting"
    UNDATED_BEFORE_SWEEP = "undated_before_first_sweep"
    READ_BEFORE_DAMAGE = "read_before_state_file_was_damaged"
    WAS_UNREADABLE = "was_unreadable_before_first_sweep"
    ENTERED_BEFORE_VIEW = "entered_before_view_changed"
    LEARNED_ON_RELEASE = "learned_on_release"
    HELD = "arrived_with_many_others"
    ENTERED_SINCE = "entered_since_first_meeting"
    UNDATED_AFTER_SWEEP = "undated_after_first_sweep"
    APPEARED_AFTER_SWEEP = "appeared_after_first_sweep"
    FIRST_RUN = "announced_by_first_run"
    CAME_BACK = "came_back_after_removal"
    CONTENT_CHANGED = "content_changed"
    GONE = "gone_from_list"
    RELEASED = "released_by_operator"
    RUNS_OUT = "runs_out"
    RAN_OUT = "ran_out"
    RENEWED = "renewed"

    @property
    def is_new_entry(self) -> bool:
        """Whether the record was entered while the notifier was watching."""
        return self in _FRESH


_FRESH = (
    NewsReason.ENTERED_SINCE,
    NewsReason.UNDATED_AFTER_SWEEP,
    NewsReason.APPEARED_AFTER_SWEEP,
    NewsReason.CAME_BACK,
)


class EarlierView(Struct, frozen=True):
    """The filters that a source had before.

    If these filters include a record, and it was entered before `known_until_ms` (Unix ms), the record is known.
    """

    training_id: str | None
    user_id: str | None
    has_attachments: bool | None
    known_until_ms: int

    def includes(self, completion: Completion) -> bool:
        """Return whether these filters include a record."""
        return (
            self.training_id in (None, completion.training_id)
            and self.user_id in (None, completion.user_id)
            and self.has_attachments in (None, completion.has_attachments)
        )


class Baseline(Struct, frozen=True):
    """The facts about a source that separate history from news."""

    first_contact_ms: int | None
    """When the first answer was requested (Unix ms of the server's clock); None until it is stored."""
    swept: bool
    """Whether a sweep has read the whole list."""
    first_run: FirstRun | date
    """The operator's setting for history."""
    announced_until_ms: int | None = None
    """The time of entry up to which lost records were announced.

    Set if the state file was rebuilt without some records.
    """
    view_since_ms: int | None = None
    """The time of entry up to which records are not news, unless `earlier_view` includes them.

    Set if the source had another view (other filters) before.
    """
    earlier_view: EarlierView | None = None

    def of(self, completion: Completion) -> "Baseline":
        """Return the baseline for a record.

        If the earlier view includes the record, `view_since_ms` is replaced by the earlier view's `known_until_ms`.
        """
        if self.earlier_view is None or not self.earlier_view.includes(completion):
            return self
        return replace(self, view_since_ms=self.earlier_view.known_until_ms)


def classify_unknown(recorded_at: int | None, baseline: Baseline) -> tuple[NewsReason, bool]:
    """Return why an unknown record is news or history, and whether to announce it.

    `recorded_at` is the record's time of entry in Unix milliseconds, None if it has none.
    """
    contact_ms = baseline.first_contact_ms
    if baseline.announced_until_ms is not None and _was_read(
        recorded_at, baseline.announced_until_ms, swept=baseline.swept
    ):
        return NewsReason.READ_BEFORE_DAMAGE, False
    if contact_ms is not None and baseline.swept:
        # Every earlier record is known, so an unknown one is new even if its time of entry says otherwise.
        if recorded_at is None:
            return NewsReason.UNDATED_AFTER_SWEEP, True
        return (NewsReason.ENTERED_SINCE if recorded_at >= contact_ms else NewsReason.APPEARED_AFTER_SWEEP), True
    if baseline.view_since_ms is not None:
        if recorded_at is not None and recorded_at >= baseline.view_since_ms:
            return NewsReason.ENTERED_SINCE, True
        return NewsReason.ENTERED_BEFORE_VIEW, False
    if contact_ms is not None and recorded_at is not None and recorded_at >= contact_ms:
        return NewsReason.ENTERED_SINCE, True
    if _first_run_announces(recorded_at, baseline.first_run):
        return NewsReason.FIRST_RUN, True
    if contact_ms is None:
        return NewsReason.FIRST_ANSWER, False
    return (NewsReason.UNDATED_BEFORE_SWEEP if recorded_at is None else NewsReason.ENTERED_BEFORE), False


def _was_read(recorded_at: int | None, announced_until_ms: int, *, swept: bool) -> bool:
    """Return whether a record may have been announced before it was lost with the damaged state file."""
    return not swept and (recorded_at is None or recorded_at < announced_until_ms)


def _first_run_announces(recorded_at: int | None, first_run: FirstRun | date) -> bool:
    if isinstance(first_run, FirstRun):
        return first_run is FirstRun.NOTIFY
    midnight = datetime(first_run.year, first_run.month, first_run.day, tzinfo=UTC)
    return recorded_at is not None and recorded_at >= int(midnight.timestamp() * 1000)
