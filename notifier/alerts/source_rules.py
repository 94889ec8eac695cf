"""The rules for the conditions of sources, for example that a source cannot be read. Pure functions."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from notifier.alerts.conditions import Condition, ConditionKey, ConditionName, source_subject
from notifier.clock import iso_utc
from notifier.config import SourceSettings
from notifier.kpa.errors import ApiErrorReason, sentence_of
from notifier.store.errors import StoreReason
from notifier.store.tables.second_looks import LookKind, SecondLook
from notifier.store.tables.sources import SourceMemory
from notifier.watch.limits import DetectionLimits
from notifier.watch.observations import Observations, PollHistory, RequestCategory, SourceReport
from notifier.watch.source_health import FAULT
from notifier.wording.sentences import Sentence

FAILING_FOR_SECONDS = 900.0
"""An alert is sent after this time without a successful poll, or after three poll intervals if they are longer."""

OVER_AFTER_SECONDS = 300.0
"""A failure ends after polls have succeeded for this time, or for three poll intervals if they are longer."""

GAP_AFTER_SECONDS = 3 * 3600.0
"""How long a sweep must be overdue before an alert is sent. Only time while the daemon runs counts, because the first
sweep after a long stop takes time.
"""

_OTHER_REQUESTS: Final[Mapping[RequestCategory, tuple[ConditionName, float]]] = MappingProxyType(
    {
        RequestCategory.COUNT: (ConditionName.COUNT_FAILING, FAILING_FOR_SECONDS),
        RequestCategory.SCAN: (ConditionName.SWEEP_FAILING, FAILING_FOR_SECONDS),
        RequestCategory.NAMES: (ConditionName.NAMES_UNKNOWN, 3600.0),
    }
)

_FAILING_POLL_INTERVALS = 3
_OVERDUE_SWEEP_INTERVALS = 2


def conditions(source: str, report: SourceReport, firing: Collection[ConditionKey], now_ms: int) -> Iterator[Condition]:
    """Yield the conditions of a source. `firing` has the keys of the conditions that fire already."""
    memory, settings, limits, observations = report.memory, report.settings, report.limits, report.seen
    subject = source_subject(source)

    def condition(name: ConditionName, summary: str) -> Condition:
        return Condition(name, subject, Sentence("general.named", name=source, text=summary))

    is_firing = (ConditionName.SOURCE_FAILING, subject) in firing
    polls, interval = report.polls, settings.poll_interval
    if is_source_failing(polls, interval, is_firing=is_firing) and not _is_store_failure(memory):
        yield replace(
            condition(ConditionName.SOURCE_FAILING, _failure_sentence(memory)),
            cause=memory.error.reason if memory.error is not None else "",
            category=RequestCategory.HEAD,
            remedy=Sentence("source_failing.poll", source=source),
            begins_after_seconds=max(FAILING_FOR_SECONDS, _FAILING_POLL_INTERVALS * interval),
            ends_after_seconds=recovery_seconds(interval),
            seen_seconds=polls.seconds_without_success,
        )
    elif polls.blocked_task is not None:
        why = Sentence("source_failing.see_log") if memory.error is None else memory.error.message
        yield replace(
            condition(
                ConditionName.SOURCE_FAILING,
                Sentence("source_failing.fault", task=_task_sentence(polls.blocked_task), why=why),
            ),
            cause=FAULT,
            remedy=Sentence("source_failing.report"),
            begins_after_seconds=FAILING_FOR_SECONDS,
            ends_after_seconds=recovery_seconds(interval),
            seen_seconds=polls.blocked_seconds,
        )
    yield from _other_request_conditions(source, report, firing)
    if reason := gap_reason(memory, settings.sweep_interval, now_ms):
        overdue_seconds = min(GAP_AFTER_SECONDS, _OVERDUE_SWEEP_INTERVALS * settings.sweep_interval)
        is_old = reason.name == "gap.outage"
        yield replace(
            condition(ConditionName.GAP, reason),
            category=RequestCategory.SCAN,
            begins_after_seconds=0.0 if is_old else overdue_seconds,
        )
    for name, summary in (
        *held_findings(source, memory),
        *_count_findings(memory, settings, limits, observations, now_ms),
        *_list_findings(memory, limits, observations, now_ms),
        *_budget_findings(settings, observations),
    ):
        yield condition(name, summary)


def unknown_conditions(source: str, report: SourceReport) -> Iterator[ConditionKey]:
    """Yield the keys of the conditions that the source's watcher cannot judge yet, because it has just started."""
    subject, observations = source_subject(source), report.seen
    if not observations.is_budget_known:
        yield ConditionName.BUDGET_EXHAUSTED, subject
    if not observations.has_read_list:
        yield ConditionName.LIST_UNSEARCHABLE, subject
        if report.memory.unexplained_since_ms is not None:
            yield ConditionName.SEARCH_GIVEN_UP, subject


def _other_request_conditions(
    source: str, report: SourceReport, firing: Collection[ConditionKey]
) -> Iterator[Condition]:
    """Yield a condition for each of these kinds of requests that fails: count checks, sweeps, requests for names.

    The head poll has its own condition. A condition that fired before a restart is yielded until this process tries
    such a request. `report.untried` has the kinds of requests that were not tried yet.
    """
    subject = source_subject(source)
    for category, (name, begins_after) in _OTHER_REQUESTS.items():
        is_firing = (name, subject) in firing
        failure = report.request_failures.get(category)
        if failure is not None and report.polls.is_failing and not is_firing and category is not RequestCategory.NAMES:
            # While the head poll fails, no other requests are made, and the head poll has its own condition.
            continue
        if failure is None and not (is_firing and category in report.untried):
            continue
        why = Sentence("general.untried") if failure is None else sentence_of(failure.reason, failure.message)
        yield Condition(
            name,
            subject,
            Sentence("general.named", name=source, text=Sentence(f"{name}.why", why=why)),
            cause="" if failure is None else failure.reason,
            category=category,
            remedy=Sentence("sweep_failing.sweep", source=source)
            if category is RequestCategory.SCAN
            else Sentence("general.check_online"),
            begins_after_seconds=begins_after,
            ends_after_seconds=0.0
            if category is RequestCategory.NAMES
            else recovery_seconds(report.settings.poll_interval),
        )


def _task_sentence(work: str) -> str:
    name = "names" if work.startswith("fetching of the names") else work.replace(" ", "_")
    return Sentence(f"task.{name}")


def recovery_seconds(poll_interval: float) -> float:
    """Return how many seconds a source must work before its failure ends.

    These are three poll intervals, but at least OVER_AFTER_SECONDS.
    """
    return max(OVER_AFTER_SECONDS, _FAILING_POLL_INTERVALS * poll_interval) if OVER_AFTER_SECONDS else 0.0


def _is_store_failure(memory: SourceMemory) -> bool:
    """Return whether a source's last error came from the state file. Such an error has a condition of its own."""
    return memory.error is not None and memory.error.reason in set(StoreReason)


def _count_findings(
    memory: SourceMemory,
    settings: SourceSettings,
    limits: DetectionLimits,
    observations: Observations,
    now_ms: int,
) -> Iterator[tuple[ConditionName, str]]:
    if reason := unexplained_count(memory, observations.waiting, settings.confirm_after, limits, now_ms):
        yield ConditionName.COUNT_UNEXPLAINED, reason
    if observations.contradicted:
        example = observations.contradicted[0]
        yield (
            ConditionName.ANSWERS_DISAGREE,
            Sentence(
                "answers_disagree.flips",
                count=len(observations.contradicted),
                key=example.key,
                flips=example.flips,
                seconds=f"{settings.confirm_after:.0f}",
            ),
        )
    since_ms = memory.unexplained_since_ms
    late = since_ms is not None and now_ms - since_ms >= limits.unexplained_seconds * 1000
    if late and observations.gave_up_searching_at is not None:
        yield ConditionName.SEARCH_GIVEN_UP, Sentence("search_given_up.too_many")


def _list_findings(
    memory: SourceMemory, limits: DetectionLimits, observations: Observations, now_ms: int
) -> Iterator[tuple[ConditionName, str]]:
    if memory.unreadable:
        which = {"key": memory.unreadable_key} if memory.unreadable_key else {}
        text = "records_unreadable.such_as" if which else "records_unreadable.without_key"
        problem = memory.unreadable_problem
        yield ConditionName.RECORDS_UNREADABLE, Sentence(text, count=memory.unreadable, problem=problem, **which)
    if memory.renumbered_ms is not None and 0 <= now_ms - memory.renumbered_ms < limits.shown_seconds * 1000:
        yield ConditionName.RECORDS_RENUMBERED, Sentence("records_renumbered.recognised", count=memory.renumbered)
    if observations.unsorted_since is not None:
        yield ConditionName.LIST_UNSEARCHABLE, Sentence("list_unsearchable.unsorted")
    elif observations.has_incomplete_pages:
        yield ConditionName.LIST_UNSEARCHABLE, Sentence("list_unsearchable.incomplete")


def _budget_findings(settings: SourceSettings, observations: Observations) -> Iterator[tuple[ConditionName, str]]:
    if observations.is_budget_exhausted:
        limit = settings.requests_per_minute
        used = [Sentence(f"request.{purpose}", count=count) for purpose, count in observations.used_by.items()]
        yield ConditionName.BUDGET_EXHAUSTED, Sentence("budget_exhausted.used", limit=limit, used=used)


def held_findings(source: str, memory: SourceMemory) -> Iterator[tuple[ConditionName, str]]:
    """Yield a condition's name and a sentence for each kind of change that is held back."""
    if memory.held:
        yield (
            ConditionName.REMOVALS_HELD,
            Sentence("removals_held.held", held=memory.held, records=memory.records, source=source),
        )
    if memory.held_arrivals:
        yield (
            ConditionName.ARRIVALS_HELD,
            Sentence("arrivals_held.held", held=memory.held_arrivals, source=source),
        )
    if memory.held_changes:
        yield (
            ConditionName.CHANGES_HELD,
            Sentence(
                "changes_held.held",
                field=memory.held_field,
                held=memory.held_changes,
                records=memory.records,
                source=source,
            ),
        )


def unexplained_count(
    memory: SourceMemory,
    waiting: Sequence[SecondLook],
    confirm_after: float,
    limits: DetectionLimits,
    now_ms: int,
) -> str | None:
    """Return a sentence about a problem with the API's count of records; None if there is no problem.

    The sentence is about the first of these problems:

    - The count has differed from the known records for long.
    - A second look is late.
    - The count has a permanent error.

    Before the first complete sweep, a problem is reported only if `memory.unexplained` is not 0.
    """
    if memory.swept_at_ms is None and memory.unexplained == 0:
        return None
    known = Sentence("count_unexplained.known", records=memory.records)
    if memory.unreadable_unknown:
        known = Sentence(
            "count_unexplained.known_unreadable", records=memory.records, unreadable=memory.unreadable_unknown
        )
    since_ms = memory.unexplained_since_ms
    if memory.unexplained and since_ms is not None and now_ms - since_ms >= limits.unexplained_seconds * 1000:
        more = "more" if memory.unexplained > 0 else "fewer"
        return Sentence(f"count_unexplained.{more}", count=abs(memory.unexplained), known=known)
    patient_ms = max(limits.unexplained_seconds, 2 * confirm_after) * 1000
    late = [look for look in waiting if (since := _waits_since(look)) is not None and now_ms - since >= patient_ms]
    if late:
        kind = Sentence(f"count_unexplained.{late[0].kind}")
        return Sentence("count_unexplained.second_look", count=len(late), key=late[0].key, kind=kind)
    if memory.count_offset:
        more = "more" if memory.count_offset > 0 else "fewer"
        return Sentence(f"count_unexplained.{more}_for_good", count=abs(memory.count_offset), known=known)
    return None


def _waits_since(look: SecondLook) -> int | None:
    """Return since when (Unix ms) a second look has been waiting; None if it is not waiting now.

    For a removal, this is `first_ms`, the time of the first answer without the record. `since_ms` may be later: if an
    answer has fewer records than its own count says, `since_ms` is set to the time of that answer.
    """
    return look.since_ms if look.since_ms is None or look.kind is not LookKind.REMOVAL else look.first_ms


def is_source_failing(polls: PollHistory, poll_interval: float, *, is_firing: bool) -> bool:
    """Return whether a source fails: its last poll failed, or no poll has succeeded for three poll intervals.

    If `source_failing` fires already (`is_firing`), the source also fails as long as no poll of this process has
    succeeded.
    """
    if is_firing and not polls.any_succeeded:
        return True
    return polls.is_failing or polls.seconds_without_success >= _FAILING_POLL_INTERVALS * poll_interval


def _failure_sentence(memory: SourceMemory) -> str:
    """Return a sentence that says since when no poll has succeeded, and why.

    A rate limit has no separate condition, because a source may alternate between rate limits and other failures.
    """
    error, success_ms = memory.error, memory.last_success_ms
    polls = (
        Sentence("source_failing.never")
        if success_ms is None
        else Sentence("source_failing.since", since=iso_utc(success_ms))
    )
    if error is None or error.at_ms < (success_ms or 0):
        return Sentence("source_failing.unanswered", polls=polls)
    if error.reason == ApiErrorReason.RATE_LIMIT_EXCEEDED:
        why: str = Sentence("source_failing.limit")
    else:
        why = sentence_of(error.reason, error.message)
    return Sentence("source_failing.why", polls=polls, why=why)


def gap_reason(memory: SourceMemory, sweep_interval: float, now_ms: int) -> Sentence | None:
    """Return why records may have been missed; None if no record can have been missed.

    Only a complete sweep proves that no record was missed. Before the first answer of the API, the result is None.
    `sweep_interval` is in seconds.
    """
    if memory.first_contact_ms is None:
        return None
    proven_ms = memory.swept_at_ms or memory.first_contact_ms
    if now_ms - proven_ms > _OVERDUE_SWEEP_INTERVALS * sweep_interval * 1000:
        return Sentence("gap.overdue", since=iso_utc(proven_ms))
    if memory.gap_since_ms is not None:
        return Sentence("gap.outage", until=iso_utc(memory.gap_since_ms))
    return None
