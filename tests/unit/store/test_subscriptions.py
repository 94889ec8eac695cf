"""Which events a destination receives, compared with a plain statement of the rule."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.events import EventType
from notifier.facts import PersonFacts
from notifier.patterns import Patterns
from notifier.store.subscriptions import Filter, KnownFacts, Subscription, facts_of_data

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
def test_subscription_admits_an_event_unless_a_filter_rejects_it(
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
    objection = subscription.rejecting_filter(event_type, source, training, user)
    assert objection == next((named for named, holds in zip(Filter, objections, strict=False) if holds), None)


def test_subscription_without_filters_admits_all_and_without_types_nothing() -> None:
    assert Subscription("hr", frozenset({"completion.created"})).admits(EventType.CREATED, "acme", "1046", "5e58")
    assert not Subscription("hr", frozenset()).admits(EventType.CREATED, "acme", "1046", "5e58")


DAVID = "5e580f0cb780600088bd2c11"
KNOWN = KnownFacts(
    "Crane Operation",
    {
        "employee_number": "AC-17",
        "job_title": "Rigger",
        "job_title_id": "j1",
        "field_office_ids": ["f1", "f2"],
        "line_of_business_ids": [],
    },
)


def with_patterns(name: str, key: str, patterns: list[str]) -> Subscription:
    more: dict[str, Any] = {key: Patterns.of(patterns)}
    return Subscription(name, frozenset({EventType.CREATED}), **more)


@pytest.mark.parametrize(
    ("key", "patterns", "is_sent"),
    [
        ("trainings", ["crane*"], True),
        ("trainings", ["crane*", "!*operation"], False),
        ("trainings", ["Ladder*"], False),
        ("people", ["ac-17"], True),
        ("people", [DAVID.upper()], True),
        ("people", ["AC-18", "5e580f0cb780600088bd2c12"], False),
        ("people", ["!AC-17"], False),
        ("job_titles", ["Rig*"], True),
        ("job_titles", ["j1"], True),
        ("job_titles", ["Driver"], False),
        ("field_offices", ["f2"], True),
        ("field_offices", ["f3"], False),
        ("field_offices", ["*", "!f1"], False),
        ("lines_of_business", ["*"], False),
        ("lines_of_business", ["!b1"], True),
    ],
)
def test_patterns_decide_by_known_facts_and_admit_unknown_ones(key: str, patterns: list[str], is_sent: bool) -> None:
    subscription = with_patterns("hr", key, patterns)
    objection = subscription.rejecting_filter(EventType.CREATED, "acme", "1043", DAVID, KNOWN)
    assert objection == (None if is_sent else Filter(key))
    # A filter rejects nothing because of unknown facts: a superfluous message is better than a lost one.
    assert subscription.admits(EventType.CREATED, "acme", "1043", DAVID, KnownFacts())


@pytest.mark.parametrize(
    ("key", "patterns", "person", "is_sent"),
    [
        ("people", [DAVID], None, True),
        ("people", ["5e580f0cb780600088bd2c12"], None, False),
        ("people", [f"!{DAVID}", "AC-18"], None, False),
        ("people", ["AC-18"], {}, True),
        ("people", ["AC-18"], {"employee_number": None}, False),
        ("job_titles", ["Rigger"], {"job_title_id": "j1"}, True),
        ("job_titles", ["Rigger"], {"job_title": "Driver"}, False),
        ("job_titles", ["!j1"], {"job_title_id": "j1"}, False),
        ("job_titles", ["Rigger"], {"job_title_id": None, "job_title": None}, False),
    ],
)
def test_patterns_with_partly_known_facts_decide_by_the_known_ones(
    key: str, patterns: list[str], person: PersonFacts | None, is_sent: bool
) -> None:
    subscription = with_patterns("hr", key, patterns)
    assert subscription.admits(EventType.CREATED, "acme", "1043", DAVID, KnownFacts("Crane", person)) is is_sent


def test_facts_of_data_of_an_earlier_version_contains_no_person() -> None:
    assert facts_of_data({"completion": {"training_title": "Crane"}}) == KnownFacts("Crane", None)
