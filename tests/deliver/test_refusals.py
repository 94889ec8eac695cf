"""One event that is refused, and an endpoint that refuses everything: who waits, and who is tried."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.deliver.outcome import Outcome, Reason
from notifier.deliver.policy import LONGEST_WAIT, PATIENCE, Decision
from notifier.deliver.refusals import ABOUT_THE_ENDPOINT, SEVERAL, Refusals, after_attempt, judged
from notifier.ledger.destinations import Health, HealthState
from tests.deliver.harness import Receiver, Rig, answering, keys
from tests.deliver.stage import DAY, HOUR, LATENCY, Stage, now, play
from tests.real_time import until

OK = Outcome(Reason.DELIVERED, 200)
UNAUTHORIZED = Outcome(Reason.REFUSED, 401)
NOT_FOUND = Outcome(Reason.REFUSED, 404)
BAD_REQUEST = Outcome(Reason.REFUSED, 400)
SAYING_NOTHING = [Outcome(Reason.TIMEOUT), Outcome(Reason.SERVER_ERROR, 500), Outcome(Reason.UNSENDABLE)]
SAYING_THAT_SOMETHING_IS_TAKEN = [OK, BAD_REQUEST, Outcome(Reason.PAYLOAD_REFUSED, 400)]
MOST_PER_HOUR = PATIENCE + 14
"""Attempts at one event: those of its patience, and as many waits of half a second, doubled, as make an hour."""
A_MOMENT = 10.0

jitters = st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=5)
attempts = st.tuples(
    st.sets(st.integers(0, 8), min_size=1, max_size=4),
    st.sampled_from([UNAUTHORIZED, UNAUTHORIZED, NOT_FOUND, *SAYING_NOTHING, *SAYING_THAT_SOMETHING_IS_TAKEN]),
)
some = settings(max_examples=5)


# The row of refusals


def after(*told: tuple[set[int], Outcome]) -> Refusals:
    refusals = Refusals()
    for sequences, outcome in told:
        refusals = after_attempt(refusals, sequences, outcome)
    return refusals


def is_judged(*told: tuple[set[int], Outcome], health: Health | None = None) -> bool:
    outcome = judged(told[-1][1], after(*told), health or Health())
    return outcome.reason is Reason.EVERYTHING_REFUSED


@given(st.lists(attempts, max_size=20))
def test_no_event_stands_in_two_requests_and_all_were_refused_alike(told: list[tuple[set[int], Outcome]]) -> None:
    refusals = after(*told)
    assert len(refusals.requests) <= SEVERAL
    assert sum(map(len, refusals.requests)) == len(frozenset().union(*refusals.requests))
    assert (refusals.status in ABOUT_THE_ENDPOINT) == bool(refusals.requests)


@given(st.lists(attempts.map(lambda it: ({min(it[0])}, it[1])), min_size=1, max_size=20))
def test_it_is_the_endpoint_when_several_single_events_were_refused_alike_with_nothing_taken_in_between(
    told: list[tuple[set[int], Outcome]],
) -> None:
    alike: set[int] = set()
    for sequences, outcome in reversed(told):
        if outcome in SAYING_THAT_SOMETHING_IS_TAKEN or outcome in {UNAUTHORIZED, NOT_FOUND} - {told[-1][1]}:
            break
        if outcome == told[-1][1]:
            alike |= sequences
    of_the_kind = told[-1][1] in (UNAUTHORIZED, NOT_FOUND)
    assert is_judged(*told) == (of_the_kind and len(alike) >= SEVERAL)


def test_the_same_event_tried_again_and_again_tells_nothing_of_the_others() -> None:
    assert not is_judged(*[({1}, UNAUTHORIZED)] * 50)
    assert not is_judged(*[({1}, UNAUTHORIZED), ({2}, UNAUTHORIZED)] * 50)


def test_a_batch_is_one_request_however_it_is_split() -> None:
    whole = (set(range(8)), UNAUTHORIZED)
    assert not is_judged(whole, ({0, 1, 2, 3}, UNAUTHORIZED), ({4, 5, 6, 7}, UNAUTHORIZED))
    assert is_judged(whole, ({0, 1}, UNAUTHORIZED), ({2, 3}, UNAUTHORIZED), ({4, 5}, UNAUTHORIZED))


@pytest.mark.parametrize("status", sorted(ABOUT_THE_ENDPOINT))
def test_what_is_found_is_named_with_its_status_and_the_peers_words(status: int) -> None:
    refused = Outcome(Reason.REFUSED, status, None, "who are you?")
    three = after(({1}, refused), ({2}, refused), ({3}, refused))
    assert judged(refused, three, Health()) == Outcome(
        Reason.EVERYTHING_REFUSED, status, None, f"HTTP {status}: who are you?"
    )
    long = Outcome(Reason.REFUSED, status, 7.0, "x" * 300)
    told = judged(long, three, Health())
    assert (len(told.detail), told.retry_after) == (300, 7.0)


def test_what_was_found_before_goes_on_with_any_refusal_of_that_kind() -> None:
    found = Health(HealthState.RETRYING, Reason.EVERYTHING_REFUSED, 0, 1, 0)
    assert is_judged(({9}, NOT_FOUND), health=found)
    assert not is_judged(({9}, BAD_REQUEST), health=found)
    assert not is_judged(({9}, NOT_FOUND), health=Health(HealthState.RETRYING, Reason.SERVER_ERROR, 0, 1, 0))


# An endpoint that refuses everything


@some
@given(st.sampled_from([1, 10]), st.sampled_from([1, 8]), st.floats(0.0, 2 * HOUR), jitters)
def test_an_endpoint_that_refuses_everything_is_left_in_peace_and_gets_everything_afterwards(
    size: int, concurrency: int, until_mended: float, jitter: list[float]
) -> None:
    async def acts(stage: Stage) -> None:
        await stage.enter(*map(str, range(200)))
        await asyncio.sleep(5.0)
        if until_mended > A_MOMENT:
            health = stage.worker.health
            assert (health.state, health.reason) == (HealthState.RETRYING, Reason.EVERYTHING_REFUSED)
        await asyncio.sleep(DAY)
        assert await stage.states() == {"delivered": 200}

    endpoint = play(
        lambda _: OK if now() > until_mended else UNAUTHORIZED,
        acts,
        jitters=jitter,
        batch_size=size,
        concurrency=concurrency,
    )
    refused = [request for request in endpoint.requests if request.outcome is UNAUTHORIZED]
    in_the_first_hour = [request for request in refused if request.began < HOUR]
    # Those that were under way when it was found, and then one at a time, ever more rarely.
    assert len(in_the_first_hour) <= SEVERAL + concurrency + MOST_PER_HOUR
    found = sorted(request.answered for request in refused)[SEVERAL - 1 : SEVERAL]
    assert all(request.active == 1 for request in refused if found and request.began > found[0] + LATENCY)


@some
@given(st.sampled_from([UNAUTHORIZED, NOT_FOUND]), st.integers(1, 200), jitters)
def test_it_ends_with_the_first_success_and_no_earlier_over_restarts_too(
    refusal: Outcome, restarts: int, jitter: list[float]
) -> None:
    mended = False

    async def acts(stage: Stage) -> None:
        nonlocal mended
        await stage.enter(*map(str, range(5)))
        await asyncio.sleep(60.0)
        for _ in range(restarts % 4 + 1):
            await stage.restart_after(restarts * 1.0)
            assert stage.worker.health.reason == Reason.EVERYTHING_REFUSED
        mended = True
        await asyncio.sleep(DAY)
        assert await stage.states() == {"delivered": 5}
        assert stage.worker.health.state is HealthState.OK

    play(lambda _: OK if mended else refusal, acts, jitters=jitter)


# Events that are refused for themselves


@some
@given(st.sampled_from([UNAUTHORIZED, NOT_FOUND]), st.integers(0, 19), jitters)
def test_an_event_that_is_refused_among_successes_waits_alone(
    refusal: Outcome, poisonous: int, jitter: list[float]
) -> None:
    async def acts(stage: Stage) -> None:
        await stage.enter(*map(str, range(20)))
        for newcomer in range(20, 60):
            await asyncio.sleep(LATENCY * 3)
            await stage.enter(str(newcomer))
        await asyncio.sleep(1.0)
        assert await stage.states() == {"delivered": 59, "pending": 1}
        assert await stage.ask("SELECT decision FROM deliveries WHERE state = 'pending'") == [(Decision.RETRY_LATER,)]
        assert stage.worker.health.state is HealthState.OK

    play(lambda subjects: refusal if str(poisonous) in subjects else OK, acts, jitters=jitter, retry_first="1s")


@some
@given(st.sets(st.integers(0, 9), min_size=SEVERAL, max_size=9), st.sampled_from([1, 4]), jitters)
def test_many_that_are_refused_for_themselves_hold_up_the_others_for_a_moment_only(
    poisonous: set[int], concurrency: int, jitter: list[float]
) -> None:
    async def acts(stage: Stage) -> None:
        await stage.enter(*map(str, range(20)))
        # Each wait lets one be tried that was not refused yet: nine of them refuse, and the waits are doubled.
        await asyncio.sleep(5 * 2 ** (len(poisonous) - SEVERAL + 1) + A_MOMENT)
        assert await stage.states() == {"delivered": 20 - len(poisonous), "pending": len(poisonous)}
        for newcomer in range(20, 30):
            await stage.enter(str(newcomer))
            await asyncio.sleep(LONGEST_WAIT / 50)
        assert await stage.states() == {"delivered": 30 - len(poisonous), "pending": len(poisonous)}

    endpoint = play(
        lambda subjects: NOT_FOUND if poisonous & set(map(int, subjects)) else OK,
        acts,
        jitters=jitter,
        concurrency=concurrency,
    )
    for event in set(range(20)) - poisonous:
        assert [request.outcome for request in endpoint.attempts_at(str(event))] == [OK]


# For real


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path / "notifier.db") as standing:
        yield standing


async def test_a_rotated_header_stops_the_destination_and_mended_everything_goes_out(rig: Rig) -> None:
    receiver: Receiver = await rig.receiver()
    receiver.answer = answering(401)
    await rig.enter(*keys(100))
    async with rig.running(rig.http(receiver.url, concurrency=4, retry_first="50ms")) as worker:
        await until(lambda: worker.health.state is HealthState.RETRYING and len(receiver.arrivals) >= 6)
        assert len(receiver.arrivals) <= SEVERAL + 4 + 3
        told: Sequence[tuple[str, str]] = await rig.ask("SELECT error_reason, error_message FROM destinations")
        assert told == [(Reason.EVERYTHING_REFUSED, "HTTP 401: no")]
        receiver.answer = answering(200)
        await rig.settled()
    assert len(set(receiver.ids)) == 100
