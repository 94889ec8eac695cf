"""Properties of delivery under random faults: each seed makes a story for the real worker, in virtual time.

By hand, for an hour: `python -m tests.simulation.test_delivery 3600`. It prints failing seeds; add them to FAILED.
"""

import asyncio
import math
import random
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import pytest

from notifier.destinations.outcome import AttemptResult, FailureScope, Outcome
from notifier.events import EventType
from tests.simulation.delivery import (
    HOUR,
    DeliveryWorld,
    PlannedEvent,
    Settings,
    http_settings,
    is_poisonous,
    make_events,
    simulate,
    slack_settings,
)
from tests.simulation.receiver import (
    BROKEN,
    NOT_FOUND,
    REFUSED,
    THROTTLED,
    TIMED_OUT,
    TOO_LARGE,
    UNAVAILABLE,
    UNREACHABLE,
    Outage,
    Request,
    SimulatedReceiver,
)
from tests.support.virtual_time import STARTED_MS

FAILED: Sequence[int] = ()
"""Seeds of stories that failed in the past."""

SEEDS = (*FAILED, *range(1, 25))
DAY = 86_400.0
_DAILY_HOURS = (7, 18, 19, 23)
_QUIET = (18, 4)
"""The first and last hour (UTC) of the quiet hours. The stories begin an hour before them."""
_URGENT_SHARE = 0.1
_TOLERANCE_SECONDS = 1.0
"""How late a request may begin after the worker has last read the clock."""


def check_random_story(seed: int) -> None:
    """Deliver random events to a random receiver with random settings and restarts, and check all properties."""
    chance = random.Random(seed)
    receiver = _random_receiver(chance)
    settings = _random_settings(chance)
    news = _random_events(chance)

    async def restarts(world: DeliveryWorld) -> None:
        for _ in range(chance.choice((0, 0, 1, 3))):
            await asyncio.sleep(chance.random() * HOUR)
            await world.stop(grace=chance.choice((0.0, 0.01, 1.0)))
            await asyncio.sleep(chance.random() * 60)
            await world.start()

    simulate(receiver, settings, news, until=10 * DAY, script=restarts, seed=seed)
    told = receiver.first_accepted_seconds()
    good = {number for number, it in enumerate(news, 1) if it.good}
    assert good <= told.keys(), f"{len(good - told.keys())} good events were never told"
    assert is_ordered_by_record(receiver), "an event came before an earlier one of its record"
    assert respects_retry_after(receiver), "a request came before the moment that the receiver had asked for"
    assert respects_quiet_hours(receiver, settings, news), "an event that is not urgent was sent in the quiet hours"
    assert respects_schedule(receiver, settings, news), "an event that is not urgent was sent before its slot"
    quiet = sum(outage.end - outage.begin for outage in receiver.outages)
    bad = sum(not it.good for it in news)
    bound = 40 + quiet / 60 + 80 * (1 + len(receiver.outages)) + 40 * bad + (3 if receiver.says_when else 6) * len(news)
    assert len(receiver.refused) <= bound, f"{len(receiver.refused)} requests were refused"


def _random_receiver(chance: random.Random) -> SimulatedReceiver:
    outages = []
    for _ in range(chance.choice((0, 0, 1, 2))):
        begin = chance.random() * 2 * HOUR
        outcome = chance.choice(
            (BROKEN, UNAVAILABLE, UNREACHABLE, TIMED_OUT, Outcome(AttemptResult.SERVER_ERROR, 503, 120.0))
        )
        outages.append(Outage(begin, begin + chance.choice((5.0, 300.0, 5 * HOUR)), outcome))
    return SimulatedReceiver(
        random.Random(chance.random()),
        every=chance.choice((0.0, 0.0, 0.0, 1.1, 10.0)),
        a_minute=chance.choice((0, 0, 0, 30)),
        says_when=chance.random() < 0.7,
        poisonous=is_poisonous,
        poison=chance.choice((BROKEN, REFUSED, NOT_FOUND)),
        flapping=chance.choice((0.0, 0.0, 0.1, 0.3)),
        flap=chance.choice((BROKEN, UNREACHABLE)),
        limit=chance.choice((10**9, 10**9, 40)),
        too_many=TOO_LARGE,
        outages=outages,
    )


def _random_settings(chance: random.Random) -> Settings:
    if chance.random() < 0.3:
        return slack_settings(give_up_after="9d", **_random_schedule(chance))
    times = _random_schedule(chance)
    return http_settings(
        batch_size=chance.choice((1, 1, 10, 100)),
        # One digest after the other: the configuration refuses more with a schedule.
        concurrency=1 if times else chance.choice((1, 2, 8)),
        give_up_after="9d",
        **times,
    )


def _random_schedule(chance: random.Random) -> dict[str, Any]:
    """Return random settings of a schedule, quiet hours, both or neither. UTC has no clock changes."""
    made: dict[str, Any] = {}
    if chance.random() < 0.2:
        made["schedule"] = f"daily {chance.choice(_DAILY_HOURS):02}:00"
    if chance.random() < 0.2:
        made["quiet_hours"] = f"{_QUIET[0]}:00-{_QUIET[1]:02}:00"
    return made | {"timezone": "UTC", "urgent": [EventType.REMOVED]} if made else {}


def _random_events(chance: random.Random) -> list[PlannedEvent]:
    """Return random events, some about the same record. An event never follows a bad event of its record, because it
    would wait until the bad event is given up.
    """
    share = chance.choice((0.0, 0.0, 0.02, 0.2))
    made: list[PlannedEvent] = []
    for number in range(chance.choice((30, 150, 300))):
        good = chance.random() >= share
        record = str(number)
        if made and good and chance.random() < 0.2:
            earlier = chance.choice(made[-10:])
            record = earlier.record if earlier.good else record
        kind = EventType.REMOVED if chance.random() < _URGENT_SHARE else EventType.CREATED
        made.append(
            PlannedEvent(record, at=number * chance.choice((0.0, 1.0)), training=f"t{number % 5}", good=good, kind=kind)
        )
    return sorted(made, key=lambda it: it.at)


def is_ordered_by_record(receiver: SimulatedReceiver) -> bool:
    """Return whether the events of each record were first accepted in their order."""
    newest: dict[str, int] = {}
    seen: set[int] = set()
    for request in receiver.accepted:
        for delivery in request.deliveries:
            sequence, subject = delivery.event.sequence, delivery.event.subject
            if sequence not in seen and sequence < newest.get(subject, 0):
                return False
            seen.add(sequence)
            newest[subject] = max(sequence, newest.get(subject, 0))
    return True


def respects_retry_after(receiver: SimulatedReceiver) -> bool:
    """Return whether no request began during a wait that the receiver had asked for."""
    waits = [
        (request.ended, request.ended + request.outcome.retry_after)
        for request in receiver.requests
        if request.outcome.retry_after is not None
    ]
    begins = sorted(request.began for request in receiver.requests)
    return not any(
        place < len(begins) and begins[place] < until - 1e-3
        for told, until in waits
        for place in [bisect_right(begins, told + 1e-3)]
    )


def _time_of_day(seconds: float) -> float:
    """Return the seconds since midnight (UTC) at a time of the story."""
    return (STARTED_MS / 1000 + seconds) % DAY


def _may_wait(request: Request, news: Sequence[PlannedEvent]) -> bool:
    """Return whether a request could wait: no event in it is urgent, and no later event of its records is urgent."""
    subjects = set(request.subjects)
    first = min(request.sequences)
    return not any(it.kind == EventType.REMOVED and it.record in subjects for it in news[first - 1 :])


def respects_quiet_hours(receiver: SimulatedReceiver, settings: Settings, news: Sequence[PlannedEvent]) -> bool:
    """Return whether no request that could wait began in the quiet hours."""
    if not settings.quiet_hours:
        return True
    begin, end = (hour * HOUR for hour in _QUIET)
    moments = [_time_of_day(request.began) for request in receiver.requests if _may_wait(request, news)]
    return not any(moment >= begin + _TOLERANCE_SECONDS or moment < end for moment in moments)


def respects_schedule(receiver: SimulatedReceiver, settings: Settings, news: Sequence[PlannedEvent]) -> bool:
    """Return whether no event that could wait was sent before the next time of the schedule."""
    if settings.schedule == "immediately":
        return True
    hour = int(settings.schedule.removeprefix("daily ").partition(":")[0])
    for request in receiver.requests:
        entered = min(news[number - 1].at for number in request.sequences)
        wait = (hour * HOUR - _time_of_day(entered)) % DAY
        if request.began < entered + wait and _may_wait(request, news):
            return False
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_random_story_delivers_all_good_events_in_order_with_few_refused_requests(seed: int) -> None:
    check_random_story(seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("outcome", [THROTTLED, UNAVAILABLE], ids=["429", "503"])
def test_accepted_requests_are_at_most_full_batches_plus_failures(outcome: Outcome, seed: int) -> None:
    receiver = SimulatedReceiver(random.Random(seed), flapping=0.3, flap=outcome, every=0.5)
    simulate(receiver, http_settings(batch_size=50, batch_wait="1ms"), make_events(2000), seed=seed)
    failures = sum(request.outcome.scope is not FailureScope.NONE for request in receiver.requests)
    assert len(receiver.accepted) <= math.ceil(2000 / 50) + failures


@pytest.mark.parametrize("share", [0.1, 0.3, 0.45])
def test_random_failures_slow_delivery_by_at_most_their_retries(share: float) -> None:
    def seconds(failing: float) -> float:
        receiver = SimulatedReceiver(random.Random(5), flapping=failing, flap=BROKEN)
        return max(simulate(receiver, http_settings(rate=5), make_events(600)).first_accepted_seconds().values())

    assert seconds(share) <= 2 / (1 - share) * seconds(0.0)


@pytest.mark.parametrize("count", [4, 16, 64])
def test_good_event_behind_bad_ones_is_accepted_after_few_requests(count: int) -> None:
    news = [
        *(PlannedEvent(str(number), training="session", good=False) for number in range(count)),
        PlannedEvent("G", training="g"),
    ]
    receiver = simulate(SimulatedReceiver(poisonous=is_poisonous), http_settings(), news)
    before = receiver.requests.index(receiver.accepted[0])
    assert before <= 5 + 8 + 4 * math.log2(count)


def main(seconds: float) -> None:
    """Run one story after another for a number of seconds."""
    end, seed = time.monotonic() + seconds, 1000
    failed = []
    while time.monotonic() < end:
        try:
            check_random_story(seed)
        except AssertionError as error:
            failed.append(seed)
            sys.stdout.write(f"seed {seed}: {str(error).splitlines()[0] if str(error) else error!r}\n")
        seed += 1
    sys.stdout.write(f"{seed - 1000} stories, failed: {failed or 'none'}\n")


if __name__ == "__main__":
    main(float(sys.argv[1]))
