"""Which destination wants which events: compared with the rule as one would say it."""

from hypothesis import given
from hypothesis import strategies as st

from notifier.events import EventType
from notifier.store.subscriptions import Filter, Subscription

few = st.sampled_from(["1", "2", "3"])
filters = st.frozensets(few, max_size=2)
types = st.sampled_from(EventType)


@given(
    event_type=types,
    source=few,
    training=few,
    user=few,
    wanted=st.frozensets(types),
    sources=filters,
    trainings=filters,
    users=filters,
)
def test_an_event_is_admitted_unless_a_filter_speaks_against_it(
    event_type: EventType,
    source: str,
    training: str,
    user: str,
    wanted: frozenset[EventType],
    sources: frozenset[str],
    trainings: frozenset[str],
    users: frozenset[str],
) -> None:
    subscription = Subscription("hr", frozenset(wanted), sources, trainings, users)
    objections = [
        event_type not in wanted,
        bool(sources) and source not in sources,
        bool(trainings) and training not in trainings,
        bool(users) and user not in users,
    ]
    assert subscription.admits(event_type, source, training, user) is not any(objections)
    objection = subscription.objection(event_type, source, training, user)
    assert objection == next((named for named, holds in zip(Filter, objections, strict=True) if holds), None)


def test_empty_filters_admit_everything_and_no_events_nothing() -> None:
    assert Subscription("hr", frozenset({"completion.created"})).admits(EventType.CREATED, "acme", "1046", "5e58")
    assert not Subscription("hr", frozenset()).admits(EventType.CREATED, "acme", "1046", "5e58")
