"""The conditions of a source: it cannot be read, or not every record is seen. Pure functions."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from notifier.alerts.conditions import Condition, ConditionKey, ConditionName, source_subject
from notifier.clock import iso_utc
from notifier.config import SourceSettings
from notifier.kpa.errors import ApiErrorReason
from notifier.store.errors import StoreReason
from notifier.store.tables.second_looks import SecondLook
from notifier.store.tables.sources import SourceMemory
from notifier.watch.observations import Observations, Polls, Question, SourceReport
from notifier.watch.patience import Patience
from notifier.watch.source_health import FAULT

FAILING_FOR_SECONDS = 900.0
"""Seconds without a successful poll before a notice is sent; or three poll intervals if that is longer."""

OVER_AFTER_SECONDS = 300.0
"""Seconds of successful polls before a failure is over; or three poll intervals if that is longer."""

GAP_AFTER_SECONDS = 3 * 3600.0
"""Seconds for which a sweep must be overdue while the daemon runs; the first sweep after a long stop takes time."""

_OTHERS: Final[Mapping[Question, tuple[ConditionName, str, float]]] = MappingProxyType(
    {
        Question.COUNT: (
            ConditionName.COUNT_FAILING,
            (
                "its newest records are read, but its count cannot be read, so changes of older records are found by"
                " sweeps only"
            ),
            FAILING_FOR_SECONDS,
        ),
        Question.SCAN: (
            ConditionName.SWEEP_FAILING,
            (
                "its newest records are read, but sweeps of the whole list fail, so edits and removals of older records"
                " are not found"
            ),
            FAILING_FOR_SECONDS,
        ),
        Question.NAMES: (
            ConditionName.NAMES_UNKNOWN,
            (
                "the names of people and trainings cannot be read, so messages may show ids, and filters by titles"
                " and by facts about people reject nothing that they cannot judge"
            ),
            3600.0,
        ),
    }
)

_MOST_POLLS = 3
_MOST_SWEEPS = 2

_POOL_USED_UP = (
    "the API's limit of about 80 requests a minute, which all of the customer's integrations share, is exceeded"
    " again and again; lower `requests_per_minute` here, or reduce the requests of the other integrations"
)


def conditions(source: str, report: SourceReport, firing: Collection[ConditionKey], now_ms: int) -> Iterator[Condition]:
    """Yield the conditions of a source; `firing` holds the keys of the conditions that fired until now."""
    memory, settings, patience, seen = report.memory, report.settings, report.patience, report.seen
    subject = source_subject(source)

    def condition(name: ConditionName, summary: str) -> Condition:
        return Condition(name, subject, f"{source}: {summary}")

    stands = (ConditionName.SOURCE_FAILING, subject) in firing
    polls, interval = report.polls, settings.poll_interval
    if fails(polls, interval, stands=stands) and not _is_of_the_store(memory):
        yield replace(
            condition(ConditionName.SOURCE_FAILING, _failure(memory)),
            cause=memory.error.reason if memory.error is not None else "",
            net=Question.HEAD,
            remedy=f"`notifier poll {source}` tries at once",
            begins_after=max(FAILING_FOR_SECONDS, _MOST_POLLS * interval),
            ends_after=over_after(interval),
            lived=polls.without_success,
        )
    elif polls.faulty is not None:
        message = "see the log for the traceback" if memory.error is None else memory.error.message
        yield replace(
            condition(ConditionName.SOURCE_FAILING, f"its {polls.faulty} fails: {message}"),
            cause=FAULT,
            remedy="report it with the traceback in the log",
            begins_after=FAILING_FOR_SECONDS,
            ends_after=over_after(interval),
            lived=polls.faulty_for,
        )
    yield from _of_other_questions(source, report, firing)
    if reason := gap(memory, settings.sweep_interval, now_ms):
        lived_through = min(GAP_AFTER_SECONDS, _MOST_SWEEPS * settings.sweep_interval)
        is_old = memory.gap_since_ms is not None and "retention" in reason
        yield replace(
            condition(ConditionName.GAP, reason), net=Question.SCAN, begins_after=0.0 if is_old else lived_through
        )
    for name, summary in (
        *held(source, memory),
        *_of_the_count(memory, settings, patience, seen, now_ms),
        *_of_the_list(memory, patience, seen, now_ms),
        *_of_the_budget(settings, seen),
    ):
        yield condition(name, summary)


def _of_other_questions(source: str, report: SourceReport, firing: Collection[ConditionKey]) -> Iterator[Condition]:
    """Yield a condition for each failing request other than the head poll: the count, the sweep, the names.

    A condition stays as it was if its request has not been tried since the start.
    """
    subject = source_subject(source)
    for question, (name, what, begins_after) in _OTHERS.items():
        stands = (name, subject) in firing
        trouble = report.troubles.get(question)
        if trouble is not None and report.polls.is_failing and not stands and question is not Question.NAMES:
            # While the head poll fails, the others are not tried, and the failing head poll is a condition of its own.
            continue
        if trouble is None and not (stands and question in report.untried):
            continue
        why = "it has not been requested again since the start" if trouble is None else trouble.message
        yield Condition(
            name,
            subject,
            f"{source}: {what}: {why}",
            cause="" if trouble is None else trouble.reason,
            net=question,
            remedy="`notifier check --online` sends each request once and shows which are refused",
            begins_after=begins_after,
            ends_after=0.0 if question is Question.NAMES else over_after(report.settings.poll_interval),
        )


def over_after(poll_interval: float) -> float:
    """Return how many seconds a source must have worked before its failure is over.

    That is three poll intervals, but at least OVER_AFTER_SECONDS.
    """
    return max(OVER_AFTER_SECONDS, _MOST_POLLS * poll_interval) if OVER_AFTER_SECONDS else 0.0


def _is_of_the_store(memory: SourceMemory) -> bool:
    """Return whether a source cannot be read because of the state file, which is a condition of its own."""
    return memory.error is not None and memory.error.reason in set(StoreReason)


def _of_the_count(
    memory: SourceMemory, settings: SourceSettings, patience: Patience, seen: Observations, now_ms: int
) -> Iterator[tuple[ConditionName, str]]:
    if reason := unexplained(memory, seen.waiting, settings.confirm_after, patience, now_ms):
        yield ConditionName.COUNT_UNEXPLAINED, reason
    if seen.disagreeing:
        example = seen.disagreeing[0]
        yield (
            ConditionName.ANSWERS_DISAGREE,
            (
                f"the API's answers disagree about {_records(len(seen.disagreeing))}, such as {example.key}: they"
                f" alternate between an earlier and the present content ({example.flips} times). Nothing about it is"
                f" reported until they agree for {settings.confirm_after:.0f} seconds; if this continues, ask KPA"
                " whether one of their servers lags"
            ),
        )
    since_ms = memory.unexplained_since_ms
    late = since_ms is not None and now_ms - since_ms >= patience.unexplained_seconds * 1000
    if late and seen.search_gave_up is not None:
        yield (
            ConditionName.SEARCH_GIVEN_UP,
            (
                "too many records below the newest page change at once for a search to find them all at a reasonable"
                " cost; the next sweep of the whole list finds the rest"
            ),
        )


def _of_the_list(
    memory: SourceMemory, patience: Patience, seen: Observations, now_ms: int
) -> Iterator[tuple[ConditionName, str]]:
    if memory.unreadable:
        which = f"such as {memory.unreadable_key}" if memory.unreadable_key else "without a key"
        yield (
            ConditionName.RECORDS_UNREADABLE,
            (
                f"{_records(memory.unreadable)} of the list cannot be read, {which}: {memory.unreadable_problem}."
                " They are left out, and reported once they can be read; correct them in KPA Flex, or ask KPA what"
                " has changed"
            ),
        )
    if memory.renumbered_ms is not None and 0 <= now_ms - memory.renumbered_ms < patience.shown_seconds * 1000:
        yield (
            ConditionName.RECORDS_RENUMBERED,
            (
                f"the API gives {_records(memory.renumbered)} another key than before; they were recognised by"
                " person, training, time of entry and date, and nothing is reported. Receivers that store the"
                " records' keys will see the new ones in later events"
            ),
        )
    if seen.unsearchable_since is not None:
        yield (
            ConditionName.LIST_UNSEARCHABLE,
            (
                "the list is not sorted by completion date, newest first, so changes of older records are found"
                " only by sweeps of the whole list, which run whenever the count differs; ask KPA what has changed"
            ),
        )
    elif seen.broken_pages:
        yield (
            ConditionName.LIST_UNSEARCHABLE,
            (
                "pages of the last sweep were incomplete even after several requests. A record that is not on them"
                " may still exist, so removals are not reported until a sweep gets every page complete; ask KPA why"
                " their list is incomplete"
            ),
        )


def _of_the_budget(settings: SourceSettings, seen: Observations) -> Iterator[tuple[ConditionName, str]]:
    if seen.exhausted:
        yield (
            ConditionName.BUDGET_EXHAUSTED,
            (
                f"all {settings.requests_per_minute} `requests_per_minute` are in use (in the last minute:"
                f" {seen.used_by}), so searches and second looks are late; raise `requests_per_minute`, or poll less"
                " often"
            ),
        )


def held(source: str, memory: SourceMemory) -> Iterator[tuple[ConditionName, str]]:
    """Yield a condition and a sentence for each kind of change that is held back."""
    remedies = {
        direction: f"run `notifier release {source} {direction}` to report {what}, or add `--silently` to accept {what}"
        for direction, what in (("removals", "it"), ("arrivals", "them"), ("changes", "them"))
    }
    if memory.held:
        yield (
            ConditionName.REMOVALS_HELD,
            (
                f"{memory.held:,} of {memory.records:,} known records are missing from the list at once, so their"
                " removal is held back; check whether a filter or a permission has changed. If they were really"
                f" deleted, {remedies['removals']} without reporting them"
            ),
        )
    if memory.held_arrivals:
        yield (
            ConditionName.ARRIVALS_HELD,
            (
                f"{memory.held_arrivals:,} records that were entered before the notifier first read the account have"
                " appeared in the list at once, so they are held back; the cause may be an import, or a filter that"
                f" has changed. Now {remedies['arrivals']} without reporting them"
            ),
        )
    if memory.held_changes:
        yield (
            ConditionName.CHANGES_HELD,
            (
                f"the field `{memory.held_field}` has changed in {memory.held_changes:,} of {memory.records:,} known"
                " records at once, so the changes are held back; the API may have changed its answers. If they are"
                f" real, {remedies['changes']} without reporting them"
            ),
        )


def unexplained(
    memory: SourceMemory, waiting: Sequence[SecondLook], confirm_after: float, patience: Patience, now_ms: int
) -> str | None:
    """Return why the API's count and the known records differ, if they have differed for long; None otherwise.

    Before the first sweep has read the whole list, there is nothing to compare.
    """
    if memory.swept_at_ms is None and memory.unexplained == 0:
        return None
    figures = f"{memory.records:,} records are known" + (
        f" and {memory.unreadable_unknown:,} more cannot be read" if memory.unreadable_unknown else ""
    )
    since_ms = memory.unexplained_since_ms
    if memory.unexplained and since_ms is not None and now_ms - since_ms >= patience.unexplained_seconds * 1000:
        more = "more" if memory.unexplained > 0 else "fewer"
        return (
            f"the API counts {abs(memory.unexplained):,} {more} than that, and the reason has not been found yet:"
            f" {figures}. The search is repeated; a sweep of the whole list finds what can be found"
        )
    patient_ms = max(patience.unexplained_seconds, 2 * confirm_after) * 1000
    late = [look for look in waiting if look.since_ms is not None and now_ms - look.since_ms >= patient_ms]
    if late:
        return (
            f"{_records(len(late))}, such as {late[0].key}, wait for a second look that was not possible yet"
            f" ({late[0].kind.replace('_', ' ')}); the next sweep of the whole list decides"
        )
    if memory.count_offset:
        more = "more" if memory.count_offset > 0 else "fewer"
        return (
            f"the API counts {abs(memory.count_offset):,} {more} than it lists: {figures}. Two sweeps of the whole"
            " list have found nothing, so this is treated as an error in its count; changes are still detected"
        )
    return None


def _records(number: int) -> str:
    return f"{number:,} record" if number == 1 else f"{number:,} records"


def fails(polls: Polls, poll_interval: float, *, stands: bool) -> bool:
    """Return whether a source fails now: its last poll failed, or its last success is three poll intervals ago.

    A failure that fires already (`stands`) lasts until a poll of this process succeeds.
    """
    if stands and not polls.any_succeeded:
        return True
    return polls.is_failing or polls.without_success >= _MOST_POLLS * poll_interval


def _failure(memory: SourceMemory) -> str:
    """Return a text that says since when no poll has succeeded, and why.

    A rate limit is not a separate condition, because a failing source may alternate between both kinds of failure.
    """
    error, success_ms = memory.error, memory.last_success_ms
    since = "no poll has succeeded " + ("yet" if success_ms is None else f"since {iso_utc(success_ms)}")
    if error is None or error.at_ms < (success_ms or 0):
        return f"{since}; the API has not answered since then"
    return f"{since}: {_POOL_USED_UP if error.reason == ApiErrorReason.RATE_LIMIT_EXCEEDED else error.message}"


def gap(memory: SourceMemory, sweep_interval: float, now_ms: int) -> str | None:
    """Return why it is not certain that every record was seen; None if it is.

    Only a complete sweep makes it certain. Before the first contact with the API, no record can have been missed.
    `sweep_interval` is in seconds.
    """
    if memory.met_at_ms is None:
        return None
    proven_ms = memory.swept_at_ms or memory.met_at_ms
    if now_ms - proven_ms > _MOST_SWEEPS * sweep_interval * 1000:
        return (
            f"no sweep has read the whole list since {iso_utc(proven_ms)}: changes below the first page may have"
            " been missed since then; the last error in `notifier status` may show the reason"
        )
    if memory.gap_since_ms is not None:
        return (
            f"before {iso_utc(memory.gap_since_ms)} the list was not read for longer than the retention: records"
            " that were both entered and removed in that time were never seen; a complete sweep finds the rest"
        )
    return None
