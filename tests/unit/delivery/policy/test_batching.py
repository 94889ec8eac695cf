"""Which deliveries share a request: full groups, digests, halves of a refused batch; and the accepted batch size."""

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.delivery.policy.batching import (
    MAX_IN_A_DIGEST,
    Batch,
    BatchSize,
    after_success,
    after_too_large,
    next_batch,
    select_for_request,
    split_in_half,
)
from notifier.destinations.base import Grouping
from notifier.events import Event, EventType
from notifier.store.tables.outbox import Delivery

NOW = 1_000_000


def waiting(count: int, **keys: Any) -> list[Delivery]:
    return [Delivery(event(number), "there", **keys) for number in range(1, count + 1)]


def event(number: int, record: str = "") -> Event:
    return Event(number, f"evt_{number}", EventType.CREATED, "acme", record or str(number), NOW, b"{}")


def batch(queue: list[Delivery], grouping: Grouping, **keys: Any) -> Batch:
    return next_batch(queue, grouping, keys.pop("size", BatchSize()), **{"rate": inf, "now_ms": NOW, **keys})


records = st.integers(1, 6).map(str)
queues = st.lists(st.tuples(records, st.booleans(), st.integers(0, 2)), min_size=1, max_size=60).map(
    lambda rows: [
        Delivery(event(number, record), "there", attempts=tried, failures=tried, proven=proven)
        for number, (record, proven, tried) in enumerate(rows, 1)
    ]
)
groupings = st.builds(Grouping, st.integers(1, 40), st.sampled_from([0.0, 30.0]), st.none() | st.integers(1, 60))


@given(queue=queues, grouping=groupings, busy=st.sets(records, max_size=3), in_order=st.booleans())
def test_next_batch_is_ordered_bounded_and_skips_no_earlier_event_of_a_record(
    queue: list[Delivery], grouping: Grouping, busy: set[str], *, in_order: bool
) -> None:
    found = batch(queue, grouping, busy={("acme", record) for record in busy}, in_order=in_order)
    chosen = [it.event.sequence for it in found.deliveries]
    assert chosen == sorted(chosen)
    assert len(chosen) <= (MAX_IN_A_DIGEST if grouping.digest_above is not None else grouping.size)
    assert not busy & {it.event.subject for it in found.deliveries}
    for it in found.deliveries:
        earlier = [
            one for one in queue if one.event.record == it.event.record and one.event.sequence < it.event.sequence
        ]
        assert {one.event.sequence for one in earlier} <= set(chosen)
    if any(it.proven for it in found.deliveries):
        assert len(chosen) == 1
    if found.wait_seconds:
        assert not chosen


@given(st.integers(1, 30), st.integers(0, 29))
def test_select_for_request_in_order_stops_before_a_proven_delivery(count: int, guilty: int) -> None:
    queue = waiting(count)
    if guilty < count:
        queue[guilty] = replace(queue[guilty], proven=True)
    chosen = select_for_request(queue, 100, (), in_order=True)
    assert chosen == (queue[:guilty] or queue[:1])


@pytest.mark.parametrize(
    ("queued", "sent"), [(1, 1), (10, 10), (11, 10), (50, 10), (51, 51), (1000, 1000), (1500, 1000)]
)
def test_next_batch_is_a_digest_if_more_than_digest_above_are_queued(queued: int, sent: int) -> None:
    assert len(batch(waiting(queued), Grouping(10, digest_above=50)).deliveries) == sent


@pytest.mark.parametrize(("rate", "sent"), [(1.0, 10), (1 / 15, 10), (1 / 16, 40), (1 / 30, 40)])
def test_next_batch_is_a_digest_if_messages_of_ten_would_take_over_a_minute(rate: float, sent: int) -> None:
    assert len(batch(waiting(40), Grouping(10, digest_above=50), rate=rate).deliveries) == sent


def test_next_batch_at_one_request_per_second_is_no_digest_below_digest_above() -> None:
    assert len(batch(waiting(500), Grouping(10, digest_above=1000), rate=1.0).deliveries) == 10


def deliveries_of_sessions(*names: str | None) -> list[Delivery]:
    return [Delivery(replace(event(number), type=name or ""), "there") for number, name in enumerate(names, 1)]


BY_SESSION = Grouping(10, digest_above=100, group_key=lambda event: event.type or None)


@pytest.mark.parametrize(
    ("queue", "sent"),
    [
        ([None] * 15, [10, 5]),
        (["a"] * 15, [15]),
        (["a"] * 49 + ["b"] * 3, [49, 3]),
        (["a"] * 60, [50, 10]),
        ([None] * 3 + ["a"] * 12, [3, 12]),
        ([None] * 3 + ["a"] * 12 + [None] * 4, [3, 12, 4]),
        (["a"] * 4 + ["b"] * 6 + ["c"] * 11, [10, 11]),
        ([None, "a", "b"] * 10, [10, 10, 10]),
    ],
)
def test_next_batch_keeps_up_to_50_events_of_a_group_together(queue: list[str | None], sent: list[int]) -> None:
    left = deliveries_of_sessions(*queue)
    counts = []
    while left:
        counts.append(len(batch(left, BY_SESSION).deliveries))
        left = left[counts[-1] :]
    assert counts == sent


def test_next_batch_waits_from_the_detection_unless_the_batch_is_full() -> None:
    grouping = Grouping(100, wait_seconds=1.0)
    assert len(batch(waiting(100), grouping).deliveries) == 100
    assert batch(waiting(2), grouping, now_ms=NOW + 250) == Batch(wait_seconds=0.75)
    assert len(batch(waiting(2), grouping, now_ms=NOW + 1000).deliveries) == 2
    assert len(batch(waiting(2), grouping, now_ms=NOW - 5000).deliveries) == 2, "the clock was set back"


def test_next_batch_with_a_second_attempt_does_not_wait() -> None:
    queue = [waiting(1, attempts=1)[0], *waiting(2)[1:]]
    assert len(batch(queue, Grouping(100, wait_seconds=1.0)).deliveries) == 2


@given(st.integers(2, 1000))
def test_split_in_half_returns_two_nonempty_halves_in_order(count: int) -> None:
    group = waiting(count)
    first, second = split_in_half(group)
    assert [*first, *second] == group
    assert 0 <= len(second) - len(first) <= 1
    assert first


def test_batch_size_is_halved_only_after_a_half_is_accepted() -> None:
    size = after_too_large(BatchSize(), 100, 100, is_trial=False)
    assert size.effective_limit(100) == 100
    size = after_success(size, 50, 100, is_half=True, is_trial=False)
    assert size.limit == 50


@given(st.integers(1, 200), st.integers(2, 1000))
def test_batch_size_finds_the_accepted_size_with_at_most_14_refusals(works: int, most: int) -> None:
    size, too_large = BatchSize(), 0
    group = most
    half = False
    for _ in range(600):
        trial = not half and size.limit is not None and size.full_successes >= size.successes_before_trial
        count = (
            min(most, 2 * size.effective_limit(most))
            if trial
            else min(group, size.effective_limit(most))
            if half
            else size.effective_limit(most)
        )
        if count > works:
            too_large += 1
            size = after_too_large(size, count, most, is_trial=trial)
            group, half = (max(1, count // 2), True) if not trial else (count, False)
        else:
            size = after_success(size, count, most, is_half=half, is_trial=trial)
            group, half = most, False
    assert works / 2 <= size.effective_limit(most) <= max(works, 1) or most <= works
    assert too_large <= 10 + 4


def test_batch_size_grows_after_successes_of_full_batches() -> None:
    size = BatchSize(limit=10)
    for _ in range(10):
        size = after_success(size, 10, 100, is_half=False, is_trial=False)
    assert batch(waiting(100), Grouping(100), size=size).is_trial
    size = after_success(size, 20, 100, is_half=False, is_trial=True)
    assert size.limit == 20
    assert after_success(size, 100, 100, is_half=False, is_trial=True).limit is None
