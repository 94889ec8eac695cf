"""Receivers that are slow, throttled, partly broken or refuse some events: the limits that delivery must keep.

The real worker and a real state file, in virtual time. The numbers in the names are those of the table in the issue.
"""

import asyncio
import random
from collections.abc import Sequence
from itertools import pairwise

import pytest

from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.events import EventType
from notifier.store.tables.destinations import HealthState
from notifier.store.tables.outbox import Delivery
from tests.simulation.delivery import (
    DAY,
    HOUR,
    DeliveryWorld,
    PlannedEvent,
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
    UNAVAILABLE,
    UNREACHABLE,
    Outage,
    Request,
    SimulatedReceiver,
)


def down(seconds: float, outcome: Outcome, **keys: object) -> SimulatedReceiver:
    """Make a receiver that is down at first."""
    return SimulatedReceiver(outages=[Outage(0.0, seconds, outcome)], **keys)  # type: ignore[arg-type]


def poisoned(outcome: Outcome = BROKEN) -> SimulatedReceiver:
    """Make a receiver that fails for each poisonous event."""
    return SimulatedReceiver(poisonous=is_poisonous, poison=outcome)


def session_of_bad(count: int, *, good_inside: bool = False) -> list[PlannedEvent]:
    """Make a session of `count` bad events with a good one, G, in the same second, and another, H, an hour later."""
    place = count // 2 if good_inside else count
    session = [PlannedEvent(str(number), training="session", good=False) for number in range(count)]
    session.insert(place, PlannedEvent("G", training="session" if good_inside else "other"))
    return [*session, PlannedEvent("H", at=HOUR, training="session")]


def lateness(receiver: SimulatedReceiver, news: Sequence[PlannedEvent]) -> dict[str, float]:
    """Return by how many seconds each event that was accepted came after its detection."""
    return {
        news[number - 1].record: at - news[number - 1].at for number, at in receiver.first_accepted_seconds().items()
    }


def sizes(requests: Sequence[Request]) -> list[int]:
    return [len(request.deliveries) for request in requests]


def order_is_kept(receiver: SimulatedReceiver) -> bool:
    """Return whether no event was accepted before an earlier one of its record."""
    newest: dict[str, int] = {}
    for request in receiver.accepted:
        for delivery in request.deliveries:
            sequence, subject = delivery.event.sequence, delivery.event.subject
            if sequence < newest.get(subject, 0):
                return False
            newest[subject] = sequence
    return True


# 1, 2: pace


@pytest.mark.parametrize(("every", "refused"), [(1.1, 1), (30.0, 1)])
def test_01_throttled_slack_channel_gets_2000_events_in_two_digests(every: float, refused: int) -> None:
    receiver = simulate(SimulatedReceiver(every=every), slack_settings(), make_events(2000))
    assert sizes(receiver.accepted) == [1000, 1000]
    assert len(receiver.refused) == refused
    assert max(receiver.first_accepted_seconds().values()) < every + 2


def test_01_throttled_slack_channel_without_retry_after_gets_two_digests() -> None:
    receiver = simulate(SimulatedReceiver(every=30.0, says_when=False), slack_settings(), make_events(2000))
    assert sizes(receiver.accepted) == [1000, 1000]
    assert len(receiver.refused) <= 10
    assert max(receiver.first_accepted_seconds().values()) < 60


def test_01_slack_channel_of_two_messages_a_minute_is_at_most_90_seconds_late() -> None:
    news = [PlannedEvent(str(number), at=float(number)) for number in range(1800)]
    receiver = simulate(SimulatedReceiver(every=30.0), slack_settings(), news)
    assert len(receiver.accepted) <= 62
    assert len(receiver.refused) <= 15
    assert max(lateness(receiver, news).values()) < 90


def test_02_endpoint_with_ten_requests_a_minute_gets_full_batches() -> None:
    receiver = simulate(SimulatedReceiver(a_minute=10), http_settings(batch_size=100), make_events(20_000))
    assert sizes(receiver.accepted) == [100] * 200
    assert len(receiver.refused) <= 25
    assert max(receiver.first_accepted_seconds().values()) < 25 * 60


# 3, 4: poison


@pytest.mark.parametrize("count", [3, 8, 12, 20, 40])
@pytest.mark.parametrize("outcome", [BROKEN, NOT_FOUND], ids=["500", "404"])
def test_03_session_of_bad_events_delays_good_ones_by_less_than_5_seconds(count: int, outcome: Outcome) -> None:
    news = session_of_bad(count)
    receiver = simulate(poisoned(outcome), http_settings(), news)
    late = lateness(receiver, news)
    assert late["G"] < 5
    assert late["H"] < 5


def test_03_good_event_among_40_similar_bad_ones_is_sent_within_a_minute() -> None:
    news = session_of_bad(40, good_inside=True)
    assert lateness(simulate(poisoned(), http_settings(), news), news)["G"] < 60


def test_03_good_event_among_200_similar_bad_ones_is_sent_within_a_minute() -> None:
    news = session_of_bad(200, good_inside=True)
    assert lateness(simulate(poisoned(), http_settings(), news), news)["G"] < 60


def test_03_concurrency_one_delays_good_events_by_less_than_a_minute() -> None:
    news = session_of_bad(40)
    late = lateness(simulate(poisoned(), http_settings(concurrency=1), news), news)
    assert late["G"] < 60
    assert late["H"] < 5


@pytest.mark.parametrize("concurrency", [1, 8])
def test_04_one_bad_event_in_five_delays_good_ones_by_less_than_6_seconds(concurrency: int) -> None:
    news = [PlannedEvent(str(k), at=5.0 * k, training=f"t{k % 7}", good=k % 5 != 2) for k in range(720)]
    receiver = simulate(poisoned(), http_settings(concurrency=concurrency), news)
    assert max(lateness(receiver, news).values()) < 6
    assert len(receiver.accepted) == sum(it.good for it in news)


def test_04_good_events_in_a_backlog_of_1000_are_sent_within_16_seconds() -> None:
    chance = random.Random(4)
    news = [PlannedEvent(str(k), training=f"t{k % 7}", good=chance.random() > 0.2) for k in range(1000)]
    assert max(simulate(poisoned(), http_settings(), news).first_accepted_seconds().values()) < 16


# 5: chance


@pytest.mark.parametrize(("share", "seconds"), [(0.1, 60), (0.3, 60), (0.5, 150)])
def test_05_random_failures_cause_few_requests_beyond_the_necessary_retries(share: float, seconds: float) -> None:
    receiver = simulate(SimulatedReceiver(random.Random(5), flapping=share), http_settings(), make_events(2500))
    assert max(receiver.first_accepted_seconds().values()) < seconds
    assert len(receiver.requests) < 2500 / (1 - share) * 1.15


# 6, 7, 8: groups


def test_06_batch_size_that_avoids_timeouts_is_remembered() -> None:
    receiver = simulate(SimulatedReceiver(an_event=0.05), http_settings(batch_size=1000), make_events(10_000))
    assert receiver.count_duplicates() <= 2000
    assert max(sizes([it for it in receiver.accepted[-20:] if it.outcome.reason is AttemptResult.DELIVERED])) == 250


def test_06_batch_size_after_413_is_remembered_and_rarely_exceeded() -> None:
    receiver = simulate(SimulatedReceiver(limit=50), http_settings(batch_size=100), make_events(10_000))
    assert len(receiver.accepted) == 200
    assert len(receiver.refused) <= 4


@pytest.mark.parametrize(("bad", "accepted"), [(1, 11), (3, 31)])
def test_07_invalid_records_in_a_digest_are_found_by_halving_it(bad: int, accepted: int) -> None:
    guilty = random.Random(7).sample(range(1000), bad)
    news = [PlannedEvent(str(number), good=number not in guilty) for number in range(1000)]
    receiver = simulate(poisoned(REFUSED), slack_settings(), news)
    assert len(receiver.accepted) <= accepted
    assert len(receiver.first_accepted_seconds()) == 1000 - bad


def test_08_good_events_of_a_refused_batch_are_sent_before_later_events() -> None:
    news = [PlannedEvent(str(number), good=number != 3) for number in range(400)]
    receiver = simulate(poisoned(REFUSED), http_settings(batch_size=100, concurrency=1), news)
    told = [sequence for request in receiver.accepted for sequence in request.sequences]
    assert told == [number for number in range(1, 401) if number != 4]


# 10: outages


@pytest.mark.parametrize("outcome", [BROKEN, UNREACHABLE, UNAVAILABLE], ids=["500", "refused", "503"])
def test_10_receiver_that_recovers_after_a_day_gets_all_events_within_6_minutes(outcome: Outcome) -> None:
    receiver = simulate(down(DAY, outcome), http_settings(), make_events(1000))
    assert max(receiver.first_accepted_seconds().values()) < DAY + 6 * 60
    assert len(receiver.refused) < 600
    assert receiver.count_duplicates() == 0


def test_10_retry_after_of_an_hour_is_obeyed_throughout_an_outage() -> None:
    receiver = simulate(down(DAY, Outcome(AttemptResult.SERVER_ERROR, 503, 3600.0)), http_settings(), make_events(100))
    assert len(receiver.refused) == 24
    gaps = [after.began - before.ended for before, after in zip(receiver.refused, receiver.refused[1:], strict=False)]
    assert min(gaps) >= 3600


def test_10_slack_channel_gets_digests_after_an_outage_of_a_day() -> None:
    receiver = simulate(down(DAY, BROKEN), slack_settings(), make_events(2000))
    assert sizes(receiver.accepted) == [1, 1000, 999]


def test_10_sample_that_is_accepted_ends_the_retry_wait() -> None:
    async def acts(world: DeliveryWorld) -> None:
        await asyncio.sleep(1.0)
        assert world.worker is not None
        assert world.worker.waits_until_ms is not None
        outcome, waited = await world.worker.send_sample(world.receiver.requests[0].deliveries[0].event)
        assert (outcome.reason, waited) == (AttemptResult.DELIVERED, True)

    receiver = simulate(
        down(0.5, Outcome(AttemptResult.SERVER_ERROR, 503, 20_000.0)),
        http_settings(),
        make_events(10),
        until=60.0,
        script=acts,
    )
    assert len(receiver.first_accepted_seconds()) == 10
    assert max(receiver.first_accepted_seconds().values()) < 3


def test_sample_waits_at_most_11_seconds_for_a_learned_rate_of_one_an_hour() -> None:
    seconds: list[float] = []

    async def acts(world: DeliveryWorld) -> None:
        await asyncio.sleep(5 * HOUR)
        assert world.worker is not None
        for _ in range(3):
            began = asyncio.get_running_loop().time()
            await world.worker.send_sample(world.receiver.requests[0].deliveries[0].event)
            seconds.append(asyncio.get_running_loop().time() - began)

    simulate(SimulatedReceiver(every=HOUR), http_settings(), make_events(20), wanted=0, script=acts)
    assert max(seconds) < 11


# 14, 16, 17: waits and order


def test_14_batch_wait_is_counted_from_the_detection_across_restarts() -> None:
    async def acts(world: DeliveryWorld) -> None:
        for _ in range(3):
            await asyncio.sleep(HOUR)
            await world.restart()

    receiver = simulate(
        SimulatedReceiver(), http_settings(batch_size=10, batch_wait="2h"), make_events(3), until=DAY, script=acts
    )
    assert sizes(receiver.accepted) == [3]
    assert 2 * HOUR <= max(receiver.first_accepted_seconds().values()) < 2 * HOUR + 2


def test_16_destination_gets_no_requests_after_its_last_event_is_given_up() -> None:
    states: list[dict[str, int]] = []

    async def acts(world: DeliveryWorld) -> None:
        await asyncio.sleep(5 * DAY)
        states.append(await world.states())
        requests = len(world.receiver.requests)
        await asyncio.sleep(DAY)
        assert len(world.receiver.requests) == requests

    simulate(down(30 * DAY, BROKEN), http_settings(), make_events(3), wanted=0, until=7 * DAY, script=acts)
    assert states == [{"dead": 3}]


def edits(count: int, apart: float) -> list[PlannedEvent]:
    """Make events of which every fifth is an update of the record before it."""
    kinds = (EventType.CREATED, EventType.UPDATED)
    return [PlannedEvent(str(k - (k % 5 == 4)), at=apart * k, kind=kinds[k % 5 == 4]) for k in range(count)]


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("seconds", [10.0, HOUR])
@pytest.mark.parametrize("outcome", [UNAVAILABLE, UNREACHABLE, BROKEN, THROTTLED], ids=["503", "refused", "500", "429"])
def test_17_events_of_a_record_arrive_in_order_after_an_outage(
    concurrency: int, seconds: float, outcome: Outcome
) -> None:
    receiver = simulate(down(seconds, outcome), http_settings(concurrency=concurrency), edits(60, 0.5))
    assert order_is_kept(receiver)
    assert len(receiver.first_accepted_seconds()) == 60


@pytest.mark.parametrize("seconds", [10.0, HOUR])
@pytest.mark.parametrize("outcome", [UNAVAILABLE, UNREACHABLE, THROTTLED], ids=["503", "refused", "429"])
def test_17_concurrency_one_keeps_the_order_of_all_events_after_an_outage(seconds: float, outcome: Outcome) -> None:
    receiver = simulate(down(seconds, outcome), http_settings(concurrency=1), edits(60, 0.5))
    told = [sequence for request in receiver.accepted for sequence in request.sequences]
    assert told == sorted(told)


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("same_record", [False, True])
def test_17_order_is_kept_in_an_outage_that_changes_its_kind_of_failure(concurrency: int, *, same_record: bool) -> None:
    kinds = [Outage(0.0, 0.3, BROKEN), Outage(0.3, 2.0, UNREACHABLE)]
    news = [PlannedEvent("1"), PlannedEvent("1" if same_record else "2", kind=EventType.UPDATED)]
    receiver = simulate(SimulatedReceiver(outages=kinds), http_settings(concurrency=concurrency, batch_size=2), news)
    assert order_is_kept(receiver)
    if concurrency == 1:
        assert [number for request in receiver.accepted for number in request.sequences] == [1, 2]


def test_17_update_waits_until_the_refused_event_of_its_record_is_dropped() -> None:
    news = [PlannedEvent("1", good=False), PlannedEvent("1", at=1.0), PlannedEvent("2", at=2.0)]

    async def acts(world: DeliveryWorld) -> None:
        await asyncio.sleep(HOUR)
        assert [it.subjects for it in world.receiver.accepted] == [("2",)]
        await world.store.run(lambda db: db.execute("DELETE FROM deliveries WHERE sequence = 1"))
        assert world.worker is not None
        world.worker.reload_queue()

    receiver = simulate(poisoned(REFUSED), http_settings(), news, until=2 * HOUR, script=acts)
    assert [it.sequences for it in receiver.accepted] == [(3,), (2,)]


# 503, which means "too many requests" to some servers and "this request made me fail" to others


def one_bad_of_100() -> list[PlannedEvent]:
    return [PlannedEvent(str(number), training=f"t{number % 5}", good=number != 3) for number in range(100)]


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("batch_size", [1, 20])
@pytest.mark.parametrize("retry_after", [None, 0.0, 5.0, 120.0])
def test_event_always_answered_with_503_delays_others_by_minutes_and_some_waits(
    concurrency: int, batch_size: int, retry_after: float | None
) -> None:
    news = one_bad_of_100()
    settings = http_settings(concurrency=concurrency, batch_size=batch_size)
    receiver = simulate(poisoned(Outcome(AttemptResult.SERVER_ERROR, 503, retry_after)), settings, news, until=DAY)
    assert len(receiver.first_accepted_seconds()) == 99
    assert max(lateness(receiver, news).values()) < 300 + 60 * (retry_after or 0.0)
    # Once the event is known to be at fault, only itself waits.
    began = min(request.began for request in receiver.refused)
    doubted = min(request.began for request in receiver.accepted if request.began > began)
    refused = [it.ended for it in receiver.refused if it.ended < doubted or len(it.deliveries) > 1]
    pause = (retry_after or 0.0) - 1e-3
    assert not any(1e-3 < request.began - at < pause for request in receiver.requests for at in refused)


@pytest.mark.parametrize("retry_after", [None, 5.0, 120.0])
def test_channel_is_not_blocked_by_an_event_that_is_always_answered_with_503(retry_after: float | None) -> None:
    news = one_bad_of_100()
    receiver = simulate(
        poisoned(Outcome(AttemptResult.SERVER_ERROR, 503, retry_after)), slack_settings(), news, until=DAY
    )
    assert len(receiver.first_accepted_seconds()) == 99
    assert max(lateness(receiver, news).values()) < 300 + 60 * (retry_after or 0.0)
    assert len(receiver.accepted) < 15


def test_event_proven_to_be_at_fault_waits_alone_as_its_answer_asks() -> None:
    news = [PlannedEvent(str(number), at=60.0 * number, good=number != 3) for number in range(600)]
    receiver = simulate(poisoned(Outcome(AttemptResult.SERVER_ERROR, 503, 300.0)), http_settings(), news, until=DAY)
    late = lateness(receiver, news)
    assert max(late[str(number)] for number in range(300, 600)) < 5
    refused = [request.began for request in receiver.refused]
    assert all(after - before >= 300 for before, after in pairwise(refused))


@pytest.mark.parametrize("hours", [0.2, 1.0, 6.0])
def test_channel_gets_full_digests_after_an_outage_answered_with_503(hours: float) -> None:
    receiver = simulate(down(hours * HOUR, UNAVAILABLE), slack_settings(), make_events(2000))
    assert len(receiver.accepted) <= 3


def test_event_always_answered_with_503_is_given_up() -> None:
    async def acts(world: DeliveryWorld) -> None:
        await asyncio.sleep(5 * DAY)
        assert await world.states() == {"dead": 1, "delivered": 1}

    news = [PlannedEvent("1", good=False), PlannedEvent("2", training="other")]
    simulate(poisoned(UNAVAILABLE), http_settings(), news, script=acts, until=6 * DAY)


@pytest.mark.parametrize("other", [UNAVAILABLE, THROTTLED], ids=["503", "429"])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_outage_with_alternating_kinds_of_failures_gets_few_requests(concurrency: int, other: Outcome) -> None:
    times = [Outage(float(k), k + 1.0, (BROKEN, other)[k % 2]) for k in range(6 * 3600)]
    receiver = simulate(SimulatedReceiver(outages=times), http_settings(concurrency=concurrency), make_events(50))
    assert len(receiver.refused) < 500


class LimitedWith503(SimulatedReceiver):
    """Answers 503 to what exceeds its rate."""

    def _answer(self, now: float, deliveries: Sequence[Delivery]) -> tuple[float, Outcome, bool]:
        seconds, outcome, taken = super()._answer(now, deliveries)
        is_limit = outcome.reason is AttemptResult.THROTTLED
        return seconds, Outcome(AttemptResult.SERVER_ERROR, 503, outcome.retry_after) if is_limit else outcome, taken


def test_rate_limit_answered_with_503_leads_to_full_batches() -> None:
    receiver = simulate(LimitedWith503(every=30.0, says_when=False), http_settings(batch_size=100), make_events(2000))
    assert sizes(receiver.accepted) == [100] * 20


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("outcome", [BROKEN, UNAVAILABLE], ids=["500", "503"])
@pytest.mark.parametrize("limit", [(1.0, False), (5.0, False), (30.0, True)])
def test_such_a_limit_is_no_fault_of_the_events_that_failed_in_an_outage(
    concurrency: int, outcome: Outcome, limit: tuple[float, bool]
) -> None:
    every, says_when = limit
    receiver = LimitedWith503(every=every, says_when=says_when, outages=[Outage(0.0, 600.0, outcome)])
    simulate(receiver, http_settings(batch_size=100, concurrency=concurrency), make_events(1000))
    assert len(receiver.accepted) < 20
    if concurrency == 1:
        numbers = [number for request in receiver.accepted for number in request.sequences]
        assert numbers == sorted(numbers)


# The time after which events are given up


def test_give_up_after_does_not_count_a_week_in_which_the_worker_is_stopped() -> None:
    async def acts(world: DeliveryWorld) -> None:
        await asyncio.sleep(60.0)
        await world.stop()
        await asyncio.sleep(7 * DAY)
        await world.start()
        await asyncio.sleep(HOUR)
        assert await world.states() == {"pending": 2}

    simulate(down(30 * DAY, BROKEN), http_settings(), make_events(2), wanted=0, until=8 * DAY, script=acts)


def test_refused_event_is_tried_at_least_10_times_before_it_is_given_up() -> None:
    receiver = simulate(
        poisoned(REFUSED), http_settings(give_up_after="3d"), [PlannedEvent("1", good=False)], wanted=1, until=5 * DAY
    )
    assert len(receiver.requests) >= 10


# Restarts


def test_restart_keeps_the_learned_batch_limit_and_the_health() -> None:
    async def acts(world: DeliveryWorld) -> None:
        await asyncio.sleep(20.0)
        await world.restart()
        assert world.worker is not None
        assert world.worker.learned.batch_limit == 50
        assert world.worker.health.state is HealthState.OK
        await world.enter(make_events(100))

    receiver = simulate(
        SimulatedReceiver(limit=50), http_settings(batch_size=100), make_events(200), wanted=300, script=acts
    )
    assert len(receiver.refused) == 1
