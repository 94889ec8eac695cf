"""Which destinations new events may be for: every destination that gets one is included."""

from collections.abc import Sequence

import orjson
from hypothesis import given
from hypothesis import strategies as st

from notifier.delivery.subscriptions import affected_destinations
from notifier.events import Event, EventType
from notifier.patterns import Patterns
from notifier.store.subscriptions import Subscription

TYPES = [EventType.CREATED, EventType.UPDATED, EventType.REMOVED]
SOME = st.frozensets(st.sampled_from(["1", "2", "3"]), max_size=2)
FILTERS = st.lists(
    st.builds(Subscription, st.just(""), st.frozensets(st.sampled_from(TYPES), min_size=1), SOME, SOME, SOME),
    max_size=5,
)
KINDS = st.tuples(st.sampled_from(TYPES), *[st.sampled_from(["1", "2", "3"])] * 3)


def event(type_: str, source: str, training_id: str = "1", user_id: str = "1") -> Event:
    data = orjson.dumps({"completion": {"training_id": training_id, "user_id": user_id}})
    return Event(1, "evt_a", type_, source, "7", 0, data)


def with_names(filters: Sequence[Subscription]) -> list[Subscription]:
    return [
        Subscription(str(number), it.events, it.sources, it.training_ids, it.user_ids)
        for number, it in enumerate(filters)
    ]


@given(st.lists(KINDS, min_size=1, max_size=4), FILTERS.map(with_names))
def test_affected_destinations_includes_every_destination_that_gets_an_event(
    kinds: Sequence[tuple[str, str, str, str]], filters: Sequence[Subscription]
) -> None:
    found = affected_destinations([event(*kind) for kind in kinds], filters)
    assert found is not None
    assert {it.destination for it in filters if any(it.admits(*kind) for kind in kinds)} <= {*found}


@given(KINDS, FILTERS.map(with_names))
def test_affected_destinations_of_one_event_are_exactly_those_that_get_it(
    kind: tuple[str, str, str, str], filters: Sequence[Subscription]
) -> None:
    assert affected_destinations([event(*kind)], filters) == [it.destination for it in filters if it.admits(*kind)]


def test_affected_destinations_matches_titles_and_facts_of_the_event() -> None:
    created = frozenset({EventType.CREATED})
    wanted = [
        Subscription("cranes", created, trainings=Patterns.of(["Crane*"])),
        Subscription("ladders", created, trainings=Patterns.of(["Ladder*"])),
        Subscription("riggers", created, job_titles=Patterns.of(["Rigger"])),
        Subscription("drivers", created, job_titles=Patterns.of(["Driver"])),
        Subscription("number", created, people=Patterns.of(["AC-17"])),
    ]
    completion = {"training_id": "1", "user_id": "1", "training_title": "Crane Operation"}
    user = {"id": "1", "job_title": "Rigger", "job_title_id": "j"}
    data = orjson.dumps({"completion": completion, "user": user})
    created_event = Event(1, "evt_a", EventType.CREATED, "acme", "7", 0, data)
    # The employee number is not known, so its filter does not reject the event.
    assert affected_destinations([created_event], wanted) == ["cranes", "riggers", "number"]


def test_affected_destinations_with_an_alert_returns_none() -> None:
    created, alert = event(EventType.CREATED, "acme"), event(EventType.ALERT, "acme")
    assert affected_destinations([created, alert], [Subscription("hr", frozenset({EventType.CREATED}))]) is None
