"""Is it news? Pure decisions about records that were read, each with a named reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from notifier.completions import Change, Completion, EventType, Net
from notifier.config import FirstRun
from notifier.ledger.records import Known, Learned, fingerprint

_FIRST_REVISION = 1
_FEW_REMOVALS = 20


class Reason(StrEnum):
    """Why a record was taken for news, or for history."""

    FIRST_ANSWER = "stood_in_first_answer"
    ENTERED_BEFORE = "entered_before_first_meeting"
    UNDATED_BEFORE_SWEEP = "undated_before_first_sweep"
    READ_BEFORE_DAMAGE = "read_before_state_file_was_damaged"
    ENTERED_SINCE = "entered_since_first_meeting"
    UNDATED_AFTER_SWEEP = "undated_after_first_sweep"
    FIRST_RUN = "announced_by_first_run"
    CAME_BACK = "came_back_after_removal"
    CONTENT_CHANGED = "content_changed"
    GONE = "gone_from_list"

    @property
    def is_fresh(self) -> bool:
        """Whether the record came into the list while the notifier was watching."""
        return self in (Reason.ENTERED_SINCE, Reason.UNDATED_AFTER_SWEEP, Reason.CAME_BACK)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What tells history from news.

    `met_at_ms`: the first meeting by the server's clock in Unix milliseconds; None while the first answer is read.
    `swept`: a sweep has reached the end of the list once. `first_run`: what the operator wants of history.
    `told_until_ms`: the state file was rebuilt, and has lost records; what was entered before had been read and told.
    """

    met_at_ms: int | None
    swept: bool
    first_run: FirstRun | date
    told_until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a page brought; `suspects` are known records whose JSON is another than it was, to be compared."""

    learned: tuple[Learned, ...]
    changes: tuple[Change, ...]
    suspects: tuple[Completion, ...]

    @property
    def holds_fresh(self) -> bool:
        """Whether more that nobody knows may stand behind this page."""
        return any(Reason(change.reason).is_fresh for change in self.changes)


def judge(completions: Sequence[Completion], known: Mapping[str, Known], baseline: Baseline, net: Net) -> Judgement:
    """Sort the records of a page into history, news, and known records that may have changed."""
    learned: list[Learned] = []
    changes: list[Change] = []
    suspects: list[Completion] = []
    for completion in completions:
        memory = known.get(completion.key)
        if memory is None:
            reason, is_news = _judge_unknown(completion.recorded_at, baseline)
            if is_news:
                changes.append(Change(EventType.CREATED, completion, _FIRST_REVISION, net, reason))
            else:
                learned.append(Learned(completion, net, reason))
        elif memory.removed:
            changes.append(Change(EventType.CREATED, completion, memory.revision + 1, net, Reason.CAME_BACK))
        elif memory.fingerprint != fingerprint(completion.raw):
            suspects.append(completion)
    return Judgement(tuple(learned), in_order_of_entry(changes), tuple(suspects))


def compare(current: Completion, previous: Completion, revision: int, net: Net) -> Change | None:
    """Tell whether a known record's content changed; other fields of its JSON may, without being news."""
    if current.content() == previous.content():
        return None
    return Change(EventType.UPDATED, current, revision + 1, net, Reason.CONTENT_CHANGED, previous)


def removal(last_known: Completion, revision: int, net: Net) -> Change:
    """Say that a known record is gone, which a precise question has confirmed."""
    return Change(EventType.REMOVED, last_known, revision + 1, net, Reason.GONE)


def held_back(suspects: int, known: int, share: float) -> bool:
    """Tell whether so many removals at once are to be held back: more than a share of the known records and than 20.

    It is likelier that a filter, a permission or the API itself has gone wrong than that all of them were deleted.
    """
    return suspects > _FEW_REMOVALS and suspects > known * share


def in_order_of_entry(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Sort the oldest entry first, as they happened; what has no moment of entry comes last."""
    return tuple(
        sorted(
            changes,
            key=lambda change: (change.completion.recorded_at is None, change.completion.recorded_at or 0),
        )
    )


def meeting(served_at_ms: int | None, seconds: float, now_ms: int) -> int:
    """Fix the moment of the first meeting: no later than when the first request reached the server.

    The `Date` header (whole seconds, rounded down) minus the time that the exchange took; our own clock only
    where there is no such header. What was entered in that second counts as news: better twice than never.
    """
    return (now_ms if served_at_ms is None else served_at_ms) - round(seconds * 1000)


def _judge_unknown(recorded_at: int | None, baseline: Baseline) -> tuple[Reason, bool]:
    if baseline.told_until_ms is not None and _was_read(recorded_at, baseline.told_until_ms, swept=baseline.swept):
        return Reason.READ_BEFORE_DAMAGE, False
    if baseline.met_at_ms is not None:
        if recorded_at is None and baseline.swept:
            return Reason.UNDATED_AFTER_SWEEP, True
        if recorded_at is not None and recorded_at >= baseline.met_at_ms:
            return Reason.ENTERED_SINCE, True
    if _first_run_announces(recorded_at, baseline.first_run):
        return Reason.FIRST_RUN, True
    if baseline.met_at_ms is None:
        return Reason.FIRST_ANSWER, False
    return (Reason.UNDATED_BEFORE_SWEEP if recorded_at is None else Reason.ENTERED_BEFORE), False


def _was_read(recorded_at: int | None, told_until_ms: int, *, swept: bool) -> bool:
    """Tell whether a record must be one of those that a damaged file has lost: announced once, if at all."""
    return not swept if recorded_at is None else recorded_at < told_until_ms


def _first_run_announces(recorded_at: int | None, first_run: FirstRun | date) -> bool:
    if isinstance(first_run, FirstRun):
        return first_run is FirstRun.NOTIFY
    midnight = datetime(first_run.year, first_run.month, first_run.day, tzinfo=UTC)
    return recorded_at is not None and recorded_at >= int(midnight.timestamp() * 1000)
