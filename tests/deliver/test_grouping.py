"""Which deliveries travel together: full groups, digests, and ever smaller groups for what has failed."""

from collections import deque
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.completions import Event, EventType
from notifier.deliver.destination import Grouping
from notifier.deliver.grouping import MOST_IN_A_DIGEST, Group, next_group
from notifier.deliver.policy import group_limit
from notifier.ledger.outbox import Delivery


def waiting(*attempts: int | tuple[int, int]) -> list[Delivery]:
    """Make deliveries that have been attempted so often; of each attempt, or of so many, it may have been the fault."""
    counts = [(count, count) if isinstance(count, int) else count for count in attempts]
    return [
        Delivery(_event(number), "there", tried, None, suspicions) for number, (tried, suspicions) in enumerate(counts)
    ]


def _event(number: int) -> Event:
    return Event(number, f"evt_{number}", EventType.CREATED, "acme", str(number), 0, b"{}")


groupings = st.builds(
    Grouping,
    st.integers(1, 1000),
    st.sampled_from([0.0, 1.0, 30.0]),
    st.none() | st.integers(1, 60),
)
counts = st.integers(0, 30).flatmap(lambda tried: st.tuples(st.just(tried), st.integers(0, tried)))
queues = st.lists(st.just(0) | counts, min_size=1, max_size=120).map(lambda ages: waiting(*ages))
times = st.floats(0.0, 60.0)


def limit_of(queue: Sequence[Delivery], grouping: Grouping) -> int:
    digest = grouping.digest_above is not None and len(queue) > grouping.digest_above
    return MOST_IN_A_DIGEST if digest else grouping.size


@given(queues, groupings, times)
def test_a_group_is_empty_only_to_wait_for_company(queue: list[Delivery], grouping: Grouping, waited: float) -> None:
    group = next_group(queue, grouping, waited)
    assert 0 <= group.count <= min(len(queue), limit_of(queue, grouping))
    if group.count:
        assert group.wait == 0.0
    else:
        assert 0.0 < group.wait <= grouping.wait
        assert all(one.attempts == 0 for one in queue)
        assert next_group(queue, grouping, waited + group.wait + 1e-6).count == len(queue)


@given(queues, groupings, times)
def test_whatever_may_have_spoiled_a_request_travels_with_ever_fewer_others(
    queue: list[Delivery], grouping: Grouping, waited: float
) -> None:
    group = next_group(queue, grouping, waited)
    limit = limit_of(queue, grouping)
    assert all(group.count <= group_limit(limit, one.suspicions) for one in queue[: group.count])


@given(queues, groupings)
def test_a_queue_is_worked_off_to_its_end_and_no_group_could_have_been_larger(
    queue: list[Delivery], grouping: Grouping
) -> None:
    while queue:
        count = next_group(queue, grouping, grouping.wait).count
        assert count >= 1
        if count < len(queue):
            limit = limit_of(queue, grouping)
            assert any(count + 1 > group_limit(limit, one.suspicions) for one in queue[: count + 1])
        queue = queue[count:]


@pytest.mark.parametrize("size", [1, 2, 10, 1000])
def test_a_delivery_that_has_failed_three_times_goes_alone(size: int) -> None:
    assert next_group(waiting(*[3] * 50), Grouping(size), 0.0) == Group(1)
    assert next_group(waiting(*[3] * 60), Grouping(size, digest_above=50), 0.0) == Group(1)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=120), groupings)
def test_what_failed_for_the_endpoints_sake_alone_goes_on_with_all_others(tried: list[int], grouping: Grouping) -> None:
    failed = waiting(*((count, 0) for count in tried))
    assert next_group(failed, grouping, 1e6) == next_group(waiting(*[0] * len(tried)), grouping, 1e6)


@pytest.mark.parametrize(
    ("queued", "sent"), [(1, 1), (10, 10), (11, 10), (50, 10), (51, 51), (1000, 1000), (1500, 1000)]
)
def test_more_than_so_many_become_one_digest(queued: int, sent: int) -> None:
    grouping = Grouping(10, digest_above=50)
    assert next_group(waiting(*[0] * queued), grouping, 0.0) == Group(sent)


def sessions(*names: str | None) -> list[Delivery]:
    """Make deliveries, each of the session of that name."""
    return [
        delivery._replace(event=delivery.event._replace(subject=name or ""))
        for name, delivery in zip(names, waiting(*[0] * len(names)), strict=True)
    ]


BY_SESSION = Grouping(10, digest_above=100, together=lambda event: event.subject or None)


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
def test_what_belongs_together_is_not_divided(queue: list[str | None], sent: list[int]) -> None:
    left = sessions(*queue)
    counts = []
    while left:
        counts.append(next_group(deque(left), BY_SESSION, 0.0).count)
        left = left[counts[-1] :]
    assert counts == sent


def test_what_has_failed_is_divided_whether_it_belongs_together_or_not() -> None:
    failed = [delivery._replace(attempts=1, suspicions=1) for delivery in sessions(*["a"] * 15)]
    assert next_group(failed, BY_SESSION, 0.0) == Group(5)
    fresh = sessions(*["a"] * 12)
    assert next_group([*fresh, *failed], BY_SESSION, 0.0) == Group(12)


def test_a_full_group_does_not_wait() -> None:
    assert next_group(waiting(*[0] * 100), Grouping(100, wait=1.0), 0.0) == Group(100)


def test_a_group_that_is_not_full_waits_for_the_rest_of_its_time() -> None:
    assert next_group(waiting(0, 0), Grouping(100, wait=1.0), 0.25) == Group(0, 0.75)
    assert next_group(waiting(0, 0), Grouping(100, wait=1.0), 1.0) == Group(2)


def test_a_second_attempt_does_not_wait_for_company() -> None:
    assert next_group(waiting(1, 0), Grouping(100, wait=1.0), 0.0) == Group(2)
