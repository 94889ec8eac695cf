"""The policy on its own, and played through in pure code against endpoints that answer whatever they like."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.completions import Event, EventType
from notifier.config import DestinationSettings, HttpSettings
from notifier.deliver import policy
from notifier.deliver.outcome import Outcome, Reason, Trouble, trouble
from notifier.deliver.policy import LONGEST_WAIT, PATIENCE, Decision
from notifier.ledger.destinations import Health, HealthState
from notifier.ledger.outbox import Delivery, DeliveryState

NOW_MS = 1_795_280_400_123
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ENDPOINT = {"type": "http", "url": "https://hr.example.com/hooks"}
DEFAULTS = HttpSettings.model_validate(ENDPOINT)
MOST_PER_HOUR = PATIENCE + 14
"""Attempts at one event: those of its patience, and as many waits of half a second, doubled, as make an hour."""
FAR_TOO_MANY = 5000

OK = Outcome(Reason.DELIVERED, 200)
POISONOUS = Outcome(Reason.SERVER_ERROR, 500)
REFUSED = Outcome(Reason.REFUSED, 400)
OF_ENDPOINT = [reason for reason in Reason if trouble(reason) is Trouble.ENDPOINT]
OF_EVENT = [reason for reason in Reason if trouble(reason) is Trouble.EVENT]
FAILURES = [*OF_ENDPOINT, *OF_EVENT]

jitters = st.floats(0.0, 1.0, exclude_max=True)
retry_afters = st.none() | st.floats(0.0, LONGEST_WAIT) | st.sampled_from([0.0, 1.0, 30.0, LONGEST_WAIT])
moments = st.integers(0, 2**42)


def outcomes(
    reasons: Sequence[Reason], waits: st.SearchStrategy[float | None] = retry_afters
) -> st.SearchStrategy[Outcome]:
    return st.builds(Outcome, st.sampled_from(reasons), retry_after=waits)


healths = st.builds(
    Health,
    st.sampled_from(HealthState),
    st.sampled_from(Reason),
    moments,
    st.integers(0, 1000),
    st.none() | moments,
)
durations = st.integers(1, 10 * DAY_MS).map(lambda ms: f"{ms}ms")
schedules = st.builds(
    lambda one, other, age: HttpSettings.model_validate(
        {
            **ENDPOINT,
            "retry_first": min(one, other, key=len_of),
            "retry_max": max(one, other, key=len_of),
            "give_up_after": age,
        }
    ),
    durations,
    durations,
    durations,
)


def len_of(duration: str) -> int:
    return int(duration.removesuffix("ms"))


def delivery(sequence: int = 1, attempts: int = 0, first_attempt_ms: int | None = None) -> Delivery:
    event = Event(sequence, f"evt_{sequence}", EventType.CREATED, "acme", str(sequence), NOW_MS, b"{}")
    return Delivery(event, "there", attempts, first_attempt_ms)


class Attempt(NamedTuple):
    """One attempt at one event, and how it was answered."""

    at_ms: int
    sequence: int
    outcome: Outcome


@dataclass
class Play:
    """What the worker does, without effects: one request at a time, on a clock that leaps to whatever comes next."""

    answer: Callable[[int], Outcome]
    jitter: Iterator[float]
    settings: DestinationSettings = DEFAULTS
    now_ms: int = NOW_MS
    health: Health = field(default_factory=Health)
    waiting: dict[int, tuple[int, Delivery]] = field(default_factory=dict)
    ended: dict[int, DeliveryState] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)

    def enter(self, *sequences: int) -> None:
        self.waiting |= {sequence: (0, delivery(sequence)) for sequence in sequences}

    def run(self, until_ms: int) -> None:
        while self.waiting and self.health.state is not HealthState.DISABLED:
            at_ms = max(self.now_ms, self.health.retry_at_ms or 0, min(due for due, _ in self.waiting.values()))
            if at_ms > until_ms:
                break
            self.now_ms = at_ms
            due = [one for due, one in self.waiting.values() if due <= at_ms]
            self._attempt(min(due, key=lambda one: (policy.patience_spent(one), one.event.sequence)))
            assert len(self.attempts) < FAR_TOO_MANY
        self.now_ms = max(self.now_ms, until_ms)

    def _attempt(self, one: Delivery) -> None:
        sequence = one.event.sequence
        outcome = self.answer(sequence)
        self.attempts.append(Attempt(self.now_ms, sequence, outcome))
        following = policy.after_delivery(
            one, outcome, self.settings, companions=0, now_ms=self.now_ms, jitter=next(self.jitter)
        )
        self.health = policy.after_endpoint(
            self.health,
            outcome,
            self.settings,
            belated=False,
            spent=policy.patience_spent(one) > 0,
            now_ms=self.now_ms,
            jitter=next(self.jitter),
        )
        if following.state is DeliveryState.PENDING:
            again = delivery(sequence, one.attempts + 1, one.first_attempt_ms or self.now_ms)
            self.waiting[sequence] = (following.next_attempt_ms, again)
        else:
            del self.waiting[sequence]
            self.ended[sequence] = following.state


def against(answers: list[Outcome], numbers: list[float]) -> Play:
    """Make a play against an endpoint that gives these answers in turn, whatever it is sent."""
    endless = cycle(answers)
    return Play(lambda _: next(endless), cycle(numbers))


plays = st.builds(
    against, st.lists(outcomes(list(Reason)), min_size=1, max_size=12), st.lists(jitters, min_size=1, max_size=5)
)
all_jitters = st.lists(jitters, min_size=1, max_size=5).map(cycle)


lengthy = settings(max_examples=50)


def busiest_hour(moments_ms: Sequence[int]) -> int:
    return max(sum(begin <= moment < begin + HOUR_MS for moment in moments_ms) for begin in moments_ms)


# Endpoints that answer anything, in any order


@lengthy
@given(plays, st.integers(1, 6))
def test_every_event_ends_delivered_dead_or_held(play: Play, events: int) -> None:
    play.enter(*range(events))
    play.run(NOW_MS + 60 * DAY_MS)
    assert not play.waiting or play.health.state is HealthState.DISABLED
    assert set(play.ended.values()) <= {DeliveryState.DELIVERED, DeliveryState.DEAD}


@lengthy
@given(plays, st.integers(1, 6))
def test_no_event_is_attempted_more_often_than_its_backoff_allows(play: Play, events: int) -> None:
    play.enter(*range(events))
    play.run(NOW_MS + 60 * DAY_MS)
    for sequence in range(events):
        tried = [attempt.at_ms for attempt in play.attempts if attempt.sequence == sequence]
        assert not tried or busiest_hour(tried) <= MOST_PER_HOUR


@lengthy
@given(plays, st.integers(1, 6))
def test_a_wait_that_was_asked_for_is_never_undercut(play: Play, events: int) -> None:
    play.enter(*range(events))
    play.run(NOW_MS + 60 * DAY_MS)
    for this, following in pairwise(play.attempts):
        if trouble(this.outcome.reason) is Trouble.ENDPOINT:
            assert following.at_ms >= this.at_ms + (this.outcome.retry_after or 0.0) * 1000 - 1
    for number, this in enumerate(play.attempts):
        again = [later.at_ms for later in play.attempts[number + 1 :] if later.sequence == this.sequence]
        assert not again or again[0] >= this.at_ms + (this.outcome.retry_after or 0.0) * 1000 - 1


@lengthy
@given(outcomes(OF_ENDPOINT, st.none()), st.integers(1, 200), all_jitters)
def test_a_dead_endpoint_is_left_in_peace_however_much_waits_for_it(
    failure: Outcome, events: int, jitter: Iterator[float]
) -> None:
    play = Play(lambda _: failure, jitter)
    play.enter(*range(events))
    play.run(NOW_MS + DAY_MS)
    # With up to three events their own waits count; with more, the endpoint's is longer than all of theirs.
    assert busiest_hour([attempt.at_ms for attempt in play.attempts]) <= 3 * MOST_PER_HOUR


@lengthy
@given(outcomes(OF_EVENT), st.lists(jitters, min_size=1))
def test_an_endpoint_that_refuses_everything_gets_each_event_ever_more_rarely(
    refusal: Outcome, numbers: list[float]
) -> None:
    play = Play(lambda _: refusal, cycle(numbers))
    play.enter(1, 2, 3)
    play.run(NOW_MS + 2 * DAY_MS)
    tried = [attempt.at_ms for attempt in play.attempts if attempt.sequence == 1]
    assert all(later - earlier >= 2_160_000 for earlier, later in pairwise(tried[14:]))


# One event's failure and the others


@lengthy
@given(st.sets(st.integers(0, 9)), all_jitters)
def test_nobody_waits_for_more_than_three_attempts_at_any_other_event(
    poisonous: set[int], jitter: Iterator[float]
) -> None:
    play = Play(lambda sequence: POISONOUS if sequence in poisonous else OK, jitter)
    play.enter(*range(10))
    play.run(NOW_MS + 60 * DAY_MS)
    order = [attempt.sequence for attempt in play.attempts]
    for healthy in set(range(10)) - poisonous:
        before = order[: order.index(healthy)]
        assert all(before.count(other) <= PATIENCE for other in poisonous)
        assert order.count(healthy) == 1


@lengthy
@given(st.integers(0, 2 * DAY_MS), all_jitters)
def test_a_newcomer_soon_gets_through_though_another_event_has_failed_for_days(
    after_ms: int, jitter: Iterator[float]
) -> None:
    play = Play(lambda sequence: POISONOUS if sequence == 1 else OK, jitter)
    play.enter(1)
    play.run(NOW_MS + after_ms)
    play.enter(2)
    play.run(NOW_MS + 3 * DAY_MS)
    (arrived,) = (attempt.at_ms for attempt in play.attempts if attempt.sequence == 2)
    # The longest wait that three failures in a row bring about, and the failures that were still to come.
    assert arrived <= NOW_MS + after_ms + (5 + 10 + 20) * 1000


def test_a_short_outage_keeps_the_order() -> None:
    answers = iter([POISONOUS, POISONOUS])
    play = Play(lambda _: next(answers, OK), cycle([0.5]))
    play.enter(1, 2, 3)
    play.run(NOW_MS + HOUR_MS)
    assert [attempt.sequence for attempt in play.attempts] == [1, 1, 1, 2, 3]


# One delivery


@given(st.sampled_from(Reason), st.integers(0, 10**6), st.integers(0, 999), st.none() | moments, moments, schedules)
def test_giving_up_is_a_matter_of_age_alone(
    reason: Reason, attempts: int, companions: int, first_ms: int | None, now_ms: int, chosen: DestinationSettings
) -> None:
    following = policy.after_delivery(
        delivery(1, attempts, first_ms), Outcome(reason), chosen, companions=companions, now_ms=now_ms, jitter=0.5
    )
    too_old = first_ms is not None and now_ms - first_ms > chosen.give_up_after * 1000
    assert (following.state is DeliveryState.DEAD) == (reason in FAILURES and too_old and not companions)
    assert (following.decision is Decision.GIVE_UP) == (following.state is DeliveryState.DEAD)


@given(outcomes(FAILURES), st.integers(0, 10**6), st.integers(0, 999), jitters, schedules)
def test_the_next_attempt_is_never_beyond_the_longest_wait(
    failure: Outcome, attempts: int, companions: int, jitter: float, chosen: DestinationSettings
) -> None:
    one = delivery(1, attempts, NOW_MS)
    following = policy.after_delivery(one, failure, chosen, companions=companions, now_ms=NOW_MS, jitter=jitter)
    assert following.next_attempt_ms <= NOW_MS + LONGEST_WAIT * 1000
    if trouble(failure.reason) is Trouble.EVENT:
        asked_ms = (failure.retry_after or 0.0) * 1000
        assert following.next_attempt_ms >= (NOW_MS + asked_ms - 1 if asked_ms else 0)


@pytest.mark.parametrize("reason", [Reason.GONE, Reason.WEBHOOK_REVOKED])
@given(st.none() | moments, st.integers(0, 100))
def test_what_meets_a_revoked_destination_is_held_however_old(
    reason: Reason, first_ms: int | None, companions: int
) -> None:
    following = policy.after_delivery(
        delivery(1, 7, first_ms), Outcome(reason), DEFAULTS, companions=companions, now_ms=2**43, jitter=0.5
    )
    assert following == policy.Next(DeliveryState.PENDING, Decision.HOLD)


@given(
    outcomes(list(Reason)),
    st.lists(st.integers(0, 6), min_size=1, max_size=20),
    st.lists(jitters, min_size=20, max_size=20),
    schedules,
)
def test_deliveries_that_travelled_together_share_what_each_would_come_to(
    outcome: Outcome, attempts: list[int], numbers: list[float], chosen: DestinationSettings
) -> None:
    sent = [delivery(sequence, made, NOW_MS) for sequence, made in enumerate(attempts)]
    jitter = iter(numbers)
    fates = policy.after_attempt(sent, outcome, chosen, now_ms=NOW_MS, jitter=lambda: next(jitter))
    assert len({fate for fate, _ in fates}) == len(fates)
    found = {one.event.sequence: fate for fate, sharing in fates for one in sharing}
    assert found == {
        one.event.sequence: policy.after_delivery(
            one, outcome, chosen, companions=len(sent) - 1, now_ms=NOW_MS, jitter=number
        )
        for one, number in zip(sent, numbers, strict=False)
    }


@pytest.mark.parametrize("reason", OF_EVENT)
def test_a_refused_group_is_split_at_once_and_a_lone_event_waits(reason: Reason) -> None:
    def after(companions: int) -> policy.Next:
        return policy.after_delivery(
            delivery(), Outcome(reason), DEFAULTS, companions=companions, now_ms=NOW_MS, jitter=0.999
        )

    assert after(1) == policy.Next(DeliveryState.PENDING, Decision.SPLIT)
    assert after(0) == policy.Next(DeliveryState.PENDING, Decision.RETRY_LATER, NOW_MS + 4995)


# The endpoint


def after(
    health: Health, outcome: Outcome, *, belated: bool = False, spent: bool = False, jitter: float = 0.5
) -> Health:
    return policy.after_endpoint(health, outcome, DEFAULTS, belated=belated, spent=spent, now_ms=NOW_MS, jitter=jitter)


@given(healths, outcomes(list(Reason)), st.booleans(), st.booleans())
def test_disabled_stays_disabled(health: Health, outcome: Outcome, belated: bool, spent: bool) -> None:
    disabled = Health(HealthState.DISABLED, health.reason, health.since_ms)
    assert after(disabled, outcome, belated=belated, spent=spent) == disabled


@given(outcomes([Reason.GONE, Reason.WEBHOOK_REVOKED]), st.booleans(), st.booleans())
def test_a_revoked_destination_is_disabled_from_now_on(outcome: Outcome, belated: bool, spent: bool) -> None:
    for health in (Health(), Health(HealthState.RETRYING, "timeout", 1, 3, NOW_MS + 1)):
        after_it = after(health, outcome, belated=belated, spent=spent)
        assert after_it == Health(HealthState.DISABLED, outcome.reason, NOW_MS)


@given(st.lists(outcomes(OF_ENDPOINT), min_size=1, max_size=8), st.integers(1, 20))
def test_requests_that_were_under_way_together_and_failed_are_one_round(failed: list[Outcome], before: int) -> None:
    health = after(Health(HealthState.RETRYING, "timeout", 5, before, NOW_MS), failed[0])
    longest = max([health.retry_at_ms or 0, *(NOW_MS + round((one.retry_after or 0) * 1000) for one in failed)])
    for outcome in failed[1:]:
        health = after(health, outcome, belated=True)
    assert (health.failures, health.since_ms) == (before + 1, 5)
    assert health.retry_at_ms == longest


@given(outcomes([Reason.DELIVERED, *OF_EVENT]))
def test_an_answer_to_an_earlier_request_does_not_end_the_wait(belated: Outcome) -> None:
    throttled = after(Health(), Outcome(Reason.THROTTLED, 429, retry_after=30.0))
    assert throttled.retry_at_ms == NOW_MS + 30_000
    assert after(throttled, belated, belated=True) == throttled


@given(outcomes([Reason.DELIVERED, Reason.REFUSED, Reason.PAYLOAD_REFUSED]), st.integers(1, 100))
def test_a_probe_that_is_answered_ends_the_trouble(answer: Outcome, failures: int) -> None:
    trouble_so_far = Health(HealthState.RETRYING, "timeout", 5, failures, NOW_MS)
    assert after(trouble_so_far, answer) == Health(since_ms=NOW_MS)


@given(healths)
def test_what_could_not_even_be_sent_says_nothing_of_the_endpoint(health: Health) -> None:
    assert after(health, Outcome(Reason.UNSENDABLE)) == health


@given(st.integers(0, 50), st.booleans())
def test_a_retry_after_is_trusted_three_times_and_then_only_if_it_is_longer(failures: int, spent: bool) -> None:
    health = Health(HealthState.RETRYING, "throttled", 5, failures, NOW_MS)
    soon = after(health, Outcome(Reason.THROTTLED, 429, retry_after=0.0), spent=spent)
    assert (soon.retry_at_ms == NOW_MS) == (soon.failures <= 3)
    late = after(health, Outcome(Reason.THROTTLED, 429, retry_after=LONGEST_WAIT), spent=spent)
    assert late.retry_at_ms == NOW_MS + DAY_MS


def test_a_retry_after_beyond_a_day_is_cut_to_a_day() -> None:
    assert after(Health(), Outcome(Reason.THROTTLED, 429, retry_after=1e9)).retry_at_ms == NOW_MS + DAY_MS


@given(st.integers(1, 8), st.integers(1, 64))
def test_trouble_means_a_single_probe_and_its_end_a_gentle_rise(current: int, most: int) -> None:
    assert policy.next_concurrency(current, Health(HealthState.RETRYING), most) == 1
    assert policy.next_concurrency(current, Health(HealthState.DISABLED), most) == 1
    assert policy.next_concurrency(current, Health(), most) == min(most, 2 * current)


# Numbers


@given(st.integers(1, 10**9) | st.integers(1, 100), jitters, schedules)
def test_a_backoff_lies_between_a_tenth_of_its_bound_and_the_bound(
    failures: int, jitter: float, chosen: DestinationSettings
) -> None:
    bound = min(chosen.retry_max, LONGEST_WAIT, chosen.retry_first * 2.0 ** min(failures - 1, 1000))
    wait = policy.backoff(failures, chosen, jitter)
    assert bound / 10 <= wait <= bound
    assert wait == pytest.approx(bound * max(jitter, 0.1))


@given(st.integers(1, 10**9), jitters, schedules)
def test_a_backoff_never_shrinks_with_more_failures(failures: int, jitter: float, chosen: DestinationSettings) -> None:
    assert policy.backoff(failures, chosen, jitter) <= policy.backoff(failures + 1, chosen, jitter)


@pytest.mark.parametrize(
    ("reason", "status", "alone", "in_company"),
    [
        (Reason.DELIVERED, 200, False, False),
        (Reason.NAME_NOT_RESOLVED, None, False, False),
        (Reason.CONNECT_FAILED, None, False, False),
        (Reason.CERTIFICATE_REJECTED, None, False, False),
        (Reason.GONE, 410, False, False),
        (Reason.THROTTLED, 429, False, True),
        (Reason.TOO_EARLY, 425, False, True),
        (Reason.REDIRECTED, 302, False, True),
        (Reason.EVERYTHING_REFUSED, 401, False, True),
        (Reason.SERVER_ERROR, 503, False, True),
        (Reason.SERVER_ERROR, 500, True, True),
        (Reason.SERVER_ERROR, 502, True, True),
        (Reason.TIMEOUT, None, True, True),
        (Reason.CONNECTION_LOST, None, True, True),
        (Reason.REQUEST_TIMEOUT, 408, True, True),
        (Reason.SERVICE_FAILED, None, True, True),
        (Reason.REFUSED, 400, True, True),
        (Reason.UNSENDABLE, None, True, True),
    ],
)
def test_only_what_may_be_an_events_own_fault_speaks_against_it(
    reason: Reason, status: int | None, *, alone: bool, in_company: bool
) -> None:
    outcome = Outcome(reason, status)
    assert policy.is_suspicious(outcome, companions=0) is alone
    assert policy.is_suspicious(outcome, companions=7) is in_company


@given(st.integers(1, 1000), st.integers(0, 10**9))
def test_a_group_shrinks_with_each_failure_until_patience_is_spent(size: int, attempts: int) -> None:
    limit = policy.group_limit(size, attempts)
    assert 1 <= limit <= size
    assert policy.group_limit(size, attempts + 1) < limit or limit == 1
    assert limit == 1 or attempts < PATIENCE


@pytest.mark.parametrize(
    ("size", "limits"), [(1, [1, 1, 1, 1]), (2, [2, 1, 1, 1]), (10, [10, 5, 2, 1]), (1000, [1000, 500, 22, 1])]
)
def test_the_first_failure_halves_a_group(size: int, limits: list[int]) -> None:
    assert [policy.group_limit(size, attempts) for attempts in range(4)] == limits
