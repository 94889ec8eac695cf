"""The policy at work: a real worker and its state file, for months, against endpoints that do as they like."""

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.deliver.outcome import Outcome, Reason, Trouble, reason_of_status, trouble
from notifier.deliver.policy import LONGEST_WAIT, PATIENCE, Decision, is_suspicious
from notifier.ledger.destinations import HealthState
from tests.deliver.stage import DAY, HOUR, LATENCY, Answer, Request, SimulatedEndpoint, Stage, now, play

EVENTS = [str(number) for number in range(6)]
EXAMPLES = 6
"""For each property: a play takes a tenth of a second. More of them only repeat, day by day, what a run draws anew."""
MOST_PER_HOUR = PATIENCE + 14
"""Attempts at one event: those of its patience, and as many waits of half a second, doubled, as make an hour."""
A_HAIR = 0.005
"""Seconds; the state file rounds to milliseconds."""
SAME_MOMENT = 1e-4
"""Seconds; what was begun when an answer came in is on its way, and cannot heed it."""

OK = Outcome(Reason.DELIVERED, 200)
OF_ENDPOINT = [reason for reason in Reason if trouble(reason) is Trouble.ENDPOINT]
OF_EVENT = [Reason.REFUSED, Reason.PAYLOAD_REFUSED]
UNSENT = [Reason.NAME_NOT_RESOLVED, Reason.CONNECT_FAILED, Reason.CERTIFICATE_REJECTED]
TELLING_APART = [
    *(Outcome(reason) for reason in [*OF_ENDPOINT, *OF_EVENT] if reason not in UNSENT),
    Outcome(Reason.SERVER_ERROR, 503),
    Outcome(Reason.REFUSED, 404),
]
"""How an endpoint may fail at one event only: those that it is sent nothing of are all the same to it."""

waits = st.none() | st.sampled_from([0.0, 1.0, 90.0, LONGEST_WAIT]) | st.floats(0.0, LONGEST_WAIT)
jitters = st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=5)
sizes = st.sampled_from([1, 2, 10])
concurrencies = st.sampled_from([1, 3, 8])
restarts = st.lists(st.floats(0.0, 10.0) | st.floats(0.0, DAY), max_size=4)


def scripts(reasons: Sequence[Reason]) -> st.SearchStrategy[list[Outcome]]:
    outcomes = st.builds(Outcome, st.sampled_from(reasons), st.sampled_from([400, 401, 404]), waits)
    return st.lists(outcomes, min_size=1, max_size=12)


def following(script: list[Outcome]) -> Answer:
    """Give these answers in turn, whatever is sent."""
    endless = cycle(script)
    return lambda _subjects: next(endless)


def spoiled_by(poisonous: set[str], failure: Outcome) -> Answer:
    """Fail at whatever carries one of these records."""
    return lambda subjects: failure if poisonous & set(subjects) else OK


def lasting(seconds: float, pauses: Sequence[float] = ()) -> Callable[[Stage], Awaitable[None]]:
    """Enter all events, start anew after each of the pauses, and let time pass."""

    async def acts(stage: Stage) -> None:
        await stage.enter(*EVENTS)
        for pause in pauses:
            await stage.restart_after(pause)
        await asyncio.sleep(seconds)

    return acts


def busiest_hour(moments: Sequence[float]) -> int:
    return max((bisect_left(moments, begin + HOUR) - number for number, begin in enumerate(moments)), default=0)


def moments_of(requests: Sequence[Request]) -> list[float]:
    return sorted(request.began for request in requests)


some = settings(max_examples=EXAMPLES)
freely = given(scripts(list(Reason)), restarts, sizes, concurrencies, jitters)


# Whatever the endpoint answers


@some
@freely
def test_everything_ends_delivered_dead_or_held(
    script: list[Outcome], pauses: list[float], size: int, concurrency: int, jitter: list[float]
) -> None:
    async def acts(stage: Stage) -> None:
        await lasting(60 * DAY, pauses)(stage)
        held = stage.worker.health.state is HealthState.DISABLED
        states = await stage.states()
        assert sum(states.values()) == len(EVENTS)
        assert set(states) <= {"delivered", "dead"} | ({"pending"} if held else set())

    play(following(script), acts, jitters=jitter, batch_size=size, concurrency=concurrency)


@some
@freely
def test_no_event_is_attempted_more_often_than_its_backoff_allows(
    script: list[Outcome], pauses: list[float], size: int, concurrency: int, jitter: list[float]
) -> None:
    endpoint = play(
        following(script), lasting(4 * DAY, pauses), jitters=jitter, batch_size=size, concurrency=concurrency
    )
    assert all(busiest_hour(moments_of(endpoint.attempts_at(event))) <= MOST_PER_HOUR for event in EVENTS)


@some
@freely
def test_a_wait_that_was_asked_for_is_never_undercut_not_even_by_a_restart(
    script: list[Outcome], pauses: list[float], size: int, concurrency: int, jitter: list[float]
) -> None:
    endpoint = play(
        following(script), lasting(4 * DAY, pauses), jitters=jitter, batch_size=size, concurrency=concurrency
    )
    for asking in endpoint.requests:
        later = [request for request in endpoint.requests if request.began > asking.answered + SAME_MOMENT]
        if trouble(asking.outcome.reason) is Trouble.EVENT:
            later = [request for request in later if set(request.subjects) & set(asking.subjects)]
        if trouble(asking.outcome.reason) is not Trouble.NONE:
            earliest = asking.answered + (asking.outcome.retry_after or 0.0) - A_HAIR
            assert all(request.began >= earliest for request in later)


@some
@given(scripts(OF_ENDPOINT), restarts, sizes, concurrencies, jitters)
def test_an_endpoint_in_trouble_is_left_in_peace(
    script: list[Outcome], pauses: list[float], size: int, concurrency: int, jitter: list[float]
) -> None:
    endpoint = play(
        following(script), lasting(3 * DAY, pauses), jitters=jitter, batch_size=size, concurrency=concurrency
    )
    # What was under way when the trouble began, and then never two at a time.
    assert busiest_hour(moments_of(endpoint.requests)) <= concurrency + 3 * MOST_PER_HOUR
    first_answer = min(request.answered for request in endpoint.requests)
    assert all(request.active == 1 for request in endpoint.requests if request.began > first_answer + LATENCY)


# An outage and its end


@some
@given(st.floats(0.1, DAY), st.sampled_from(OF_ENDPOINT), sizes, st.integers(1, 16), jitters)
def test_after_an_outage_one_probe_goes_first_and_each_answer_doubles_what_may_follow(
    outage: float, reason: Reason, size: int, most: int, jitter: list[float]
) -> None:
    def answer(_subjects: Sequence[str]) -> Outcome:
        return OK if now() > outage else Outcome(reason)

    async def acts(stage: Stage) -> None:
        await stage.enter(*map(str, range(100)))
        await asyncio.sleep(2 * DAY)
        assert await stage.states() == {"delivered": 100}

    endpoint = play(answer, acts, jitters=jitter, batch_size=size, concurrency=most)
    trouble_began = min(request.answered for request in endpoint.requests)
    for request in endpoint.requests:
        if request.began > trouble_began:
            answers = sum(
                other.outcome is OK and trouble_began + LATENCY < other.answered <= request.began
                for other in endpoint.requests
            )
            assert request.active <= min(most, 2 ** min(answers, 10))


@some
@given(
    st.sampled_from([*OF_ENDPOINT, *OF_EVENT]),
    st.floats(0.0, 2 * DAY),
    st.floats(0.0, 30 * DAY),
    jitters,
    st.booleans(),
)
def test_time_spent_disabled_brings_no_delivery_nearer_to_its_end(
    reason: Reason, before: float, parked: float, jitter: list[float], anew: bool
) -> None:
    async def acts(stage: Stage) -> None:
        await stage.enter("1")
        await asyncio.sleep(before)
        await stage.worker.set_enabled(enabled=False)
        await asyncio.sleep(parked / 2)
        if anew:
            await stage.stop()
            await stage.start()
        await asyncio.sleep(parked / 2)
        assert await stage.states() == {"pending": 1}
        await stage.worker.set_enabled(enabled=True)
        await asyncio.sleep(5 * DAY)
        assert await stage.states() == {"dead": 1}

    endpoint = play(lambda _: Outcome(reason), acts, jitters=jitter, give_up_after="3d", retry_max="6h")
    age = endpoint.requests[-1].answered - endpoint.requests[0].began - parked
    assert 3 * DAY - 1 <= age <= 3 * DAY + 6 * HOUR + 1


# One event's failure and the others


@some
@given(
    st.sets(st.sampled_from([str(number) for number in range(30)]), max_size=3),
    st.sampled_from(TELLING_APART),
    st.sampled_from([1, 2, 10, 1000]),
    st.sampled_from([1, 4]),
    jitters,
)
def test_a_poisonous_event_fails_the_others_three_times_at_most_and_is_found(
    poisonous: set[str], failure: Outcome, size: int, concurrency: int, jitter: list[float]
) -> None:
    everything = [str(number) for number in range(30)]

    async def acts(stage: Stage) -> None:
        await stage.enter(*everything)
        # Three of them in a row are nine failures in a row: waits of 5 seconds, doubled, 2,555 seconds in all.
        await asyncio.sleep(HOUR)
        assert await stage.states() == {"delivered": 30 - len(poisonous)} | (
            {"pending": len(poisonous)} if poisonous else {}
        )

    endpoint = play(spoiled_by(poisonous, failure), acts, jitters=jitter, batch_size=size, concurrency=concurrency)
    for event in set(everything) - poisonous:
        *failures, success = endpoint.attempts_at(event)
        assert success.outcome is OK
        assert len(failures) <= (PATIENCE if size > 1 else 0)
    for event in poisonous:
        tried = endpoint.attempts_at(event)
        assert sum(len(request.subjects) > 1 for request in tried) <= PATIENCE
        if is_suspicious(failure, companions=0):
            assert all(len(request.subjects) == 1 for request in tried[PATIENCE:])
        assert busiest_hour(moments_of(endpoint.attempts_at(event))) <= MOST_PER_HOUR


@some
@given(st.sampled_from(OF_ENDPOINT), st.floats(0.0, 2 * DAY), jitters)
def test_a_newcomer_soon_gets_through_though_another_event_has_failed_for_days(
    reason: Reason, age: float, jitter: list[float]
) -> None:
    async def acts(stage: Stage) -> None:
        await stage.enter("1")
        await asyncio.sleep(age)
        await stage.enter("2")
        await asyncio.sleep(60)
        assert await stage.states() == {"delivered": 1, "pending": 1}

    play(spoiled_by({"1"}, Outcome(reason)), acts, jitters=jitter)


@some
@given(
    st.floats(0.1, DAY),
    st.sampled_from([*(Outcome(reason) for reason in UNSENT), Outcome(Reason.SERVER_ERROR, 503)]),
    st.sampled_from([1, 4]),
    jitters,
)
def test_after_an_outage_of_whatever_length_what_it_was_probed_with_goes_out_in_company(
    outage: float, failure: Outcome, concurrency: int, jitter: list[float]
) -> None:
    async def acts(stage: Stage) -> None:
        await stage.enter(*map(str, range(100)))
        await asyncio.sleep(2 * DAY)
        assert await stage.states() == {"delivered": 100}

    endpoint = play(
        lambda _: OK if now() > outage else failure, acts, jitters=jitter, batch_size=100, concurrency=concurrency
    )
    taken = [request for request in endpoint.requests if request.outcome is OK]
    # The probe that gets through, two halves of the batch that failed first, and those whose own wait was not over.
    assert len(taken[0].subjects) == 1
    assert len(taken) <= 1 + 3 + 2


# Where each answer leads


def met_with(status: int, caplog: pytest.LogCaptureFixture) -> tuple[str, str, HealthState]:
    """Answer one event's first attempt; return decision and reason, as told alike everywhere, and the health."""
    caplog.set_level(logging.DEBUG, logger="notifier")
    found: list[tuple[str, str, HealthState]] = []

    async def acts(stage: Stage) -> None:
        await stage.enter("1")
        await asyncio.sleep(0.3)
        (delivery,) = await stage.ask("SELECT decision, reason FROM deliveries")
        (attempt,) = await stage.ask("SELECT decision, reason FROM attempts")
        (line,) = [record for record in caplog.records if "decision" in vars(record)]
        assert delivery == attempt == (vars(line)["decision"], vars(line)["reason"])
        found.append((*delivery, stage.worker.health.state))

    play(lambda _: Outcome(reason_of_status(status), status), acts)
    return found[0]


@pytest.mark.parametrize(
    ("statuses", "decision", "health"),
    [
        ([200, 201, 204, 299], Decision.DELIVERED, HealthState.OK),
        ([408, 425, 429, 500, 502, 503, 504, 599], Decision.WAIT_FOR_ENDPOINT, HealthState.RETRYING),
        ([300, 301, 302, 304, 307, 308], Decision.WAIT_FOR_ENDPOINT, HealthState.RETRYING),
        ([400, 401, 403, 404, 409, 413, 415, 422, 451], Decision.RETRY_LATER, HealthState.OK),
        ([410], Decision.HOLD, HealthState.DISABLED),
    ],
)
def test_every_status_leads_where_the_contract_says_and_the_decision_is_told_by_the_same_words_everywhere(
    statuses: list[int], decision: Decision, health: HealthState, caplog: pytest.LogCaptureFixture
) -> None:
    for status in statuses:
        caplog.clear()
        assert met_with(status, caplog) == (decision, reason_of_status(status), health)


def test_a_batch_is_told_of_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="notifier")
    endpoint: SimulatedEndpoint = play(
        spoiled_by(set(EVENTS), Outcome(Reason.REFUSED)), lasting(0.2), batch_size=len(EVENTS), batch_wait="10ms"
    )
    lines = [vars(record) for record in caplog.records if "decision" in vars(record)]
    assert len(lines) == len(endpoint.requests)
    assert (lines[0]["events"], lines[0]["decision"]) == (len(EVENTS), Decision.SPLIT)
