"""When conditions begin and end and alerts are sent: examples, and what must hold for any sequence of evaluations."""

from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alerts.conditions import Condition, ConditionName, destination_subject, source_subject
from notifier.alerts.policy import MAX_ALERTS_A_DAY, REMIND_AFTER_MS, ChangeReason, find_changes, find_handovers
from notifier.store.tables.conditions import ConditionChange, ConditionState, Phase, StoredCondition

FIRING, RESOLVED = ConditionState.FIRING, ConditionState.RESOLVED
HOUR = 3_600_000
DAY = REMIND_AFTER_MS
NOW = 1_795_280_400_123
ACME = source_subject("acme")
HR = destination_subject("hr")

GAP = Condition(ConditionName.GAP, ACME, "something may have been missed")

ConditionKey = tuple[str, str]


def stored_gap(
    alerted_ms: int | None, summary: str = GAP.summary, subject: str = ACME, alerted_to: str = ""
) -> StoredCondition:
    return StoredCondition("gap", subject, summary, NOW - 5 * DAY, alerted_ms, alerted_to=alerted_to)


def key(what: Condition | StoredCondition) -> ConditionKey:
    return (str(what.name), what.subject)


@pytest.mark.parametrize(
    ("current", "before", "alerts_to", "reason", "told"),
    [
        (GAP, None, "safety", ChangeReason.BEGAN, True),
        (GAP, None, "", ChangeReason.BEGAN, False),
        (GAP, stored_gap(None), "safety", ChangeReason.REPORTED_LATE, True),
        (GAP, stored_gap(None), "", None, False),
        (GAP, stored_gap(NOW - DAY + 1), "safety", None, False),
        (GAP, stored_gap(NOW - DAY), "safety", ChangeReason.REMINDER, True),
        (GAP, stored_gap(NOW - DAY), "", None, False),
        (GAP, stored_gap(NOW - HOUR, "it was called otherwise"), "safety", ChangeReason.REWORDED, False),
        (GAP, stored_gap(NOW + 1), "safety", ChangeReason.CLOCK_SET_BACK, False),
        (GAP, stored_gap(NOW - HOUR, alerted_to="hr"), "safety", ChangeReason.REPORTED_LATE, True),
        (None, stored_gap(NOW - HOUR), "safety", ChangeReason.ENDED, True),
        (None, stored_gap(NOW + HOUR), "safety", ChangeReason.ENDED, True),
        (None, stored_gap(NOW - HOUR), "", ChangeReason.ENDED, False),
        (None, stored_gap(None), "safety", ChangeReason.ENDED, False),
        (None, None, "safety", None, False),
    ],
)
def test_find_changes_returns_the_reason_and_destination_of_each_change(
    current: Condition | None,
    before: StoredCondition | None,
    alerts_to: str,
    reason: ChangeReason | None,
    *,
    told: bool,
) -> None:
    changes = find_changes([current] if current else [], [before] if before else [], alerts_to, NOW)
    assert [change.reason for change in changes] == ([reason] if reason else [])
    assert [change.destination for change in changes if change.destination] == (["safety"] if told else [])


def test_find_changes_returns_begin_and_time_of_the_last_alert() -> None:
    (began,) = find_changes([GAP], [], "safety", NOW)
    condition = StoredCondition("gap", ACME, GAP.summary, NOW, NOW, alerted_to="safety", alerts=1, alerts_from_ms=NOW)
    assert began == ConditionChange(FIRING, condition, ChangeReason.BEGAN, "safety")
    (untold,) = find_changes([GAP], [], "", NOW)
    assert untold.condition.alerted_ms is None
    (reminder,) = find_changes([GAP], [began.condition], "safety", NOW + DAY)
    assert (reminder.condition.since_ms, reminder.condition.alerted_ms) == (NOW, NOW + DAY)
    (reworded,) = find_changes([GAP], [stored_gap(NOW - HOUR, "otherwise")], "safety", NOW)
    assert (reworded.condition.summary, reworded.condition.alerted_ms) == (GAP.summary, NOW - HOUR)


def test_resolved_alert_contains_the_earlier_summary() -> None:
    (over,) = find_changes([], [stored_gap(NOW)], "safety", NOW)
    assert (over.state, over.condition.summary) == (RESOLVED, "This is over: something may have been missed")


def test_alert_about_a_destination_is_sent_only_to_another_one() -> None:
    own = Condition(ConditionName.GAP, HR, "it does not get through")
    (began,) = find_changes([own], [], "hr", NOW)
    assert (began.reason, began.destination) == (ChangeReason.BEGAN, None)
    (late,) = find_changes([own], [began.condition], "safety", NOW + HOUR)
    assert (late.reason, late.destination) == (ChangeReason.REPORTED_LATE, "safety")
    (over,) = find_changes([], [late.condition], "hr", NOW + HOUR)
    assert over.destination is None


def test_stored_condition_unknown_to_this_version_is_resolved() -> None:
    unknown = StoredCondition("of_a_newer_version", ACME, "who knows", NOW, NOW)
    (over,) = find_changes([], [unknown], "safety", NOW)
    assert (over.state, over.reason) == (RESOLVED, ChangeReason.ENDED)


FAILS = Condition(
    ConditionName.SOURCE_FAILING,
    ACME,
    "acme: it fails",
    cause="http_status",
    begins_after_seconds=900.0,
    ends_after_seconds=300.0,
)
FAILS_KEY = (FAILS.name.value, FAILS.subject)
MINUTE = 60_000
STEP = 30_000


@dataclass
class Evaluations:
    """A sequence of evaluations: stores conditions like the store, and keeps each alert: state, time, reason."""

    stored: dict[tuple[str, str], StoredCondition] = field(default_factory=dict)
    told: list[tuple[ConditionState, int, str]] = field(default_factory=list)
    now_ms: int = NOW
    alerts_to: str = "safety"

    def evaluate(self, *current: Condition, step_ms: int = STEP, withdrawn: str = "", jump_ms: int = 0) -> None:
        self.now_ms += step_ms + jump_ms
        stored = list(self.stored.values())
        reasons = {it.key: withdrawn for it in stored} if withdrawn else {}
        for change in find_changes(current, stored, self.alerts_to, self.now_ms, step_ms=step_ms, withdrawn=reasons):
            if change.is_forgotten:
                del self.stored[change.condition.key]
            else:
                self.stored[change.condition.key] = change.condition
            if change.destination is not None:
                self.told.append((change.state, self.now_ms, change.reason))

    def minutes(self, minutes: float, *current: Condition) -> None:
        for _ in range(round(minutes * MINUTE / STEP)):
            self.evaluate(*current)

    @property
    def states(self) -> list[str]:
        return [state.value for state, *_ in self.told]

    @property
    def fires(self) -> bool:
        return any(it.phase is Phase.FIRING for it in self.stored.values())


def test_condition_begins_and_ends_after_its_observed_times() -> None:
    evaluations = Evaluations()
    evaluations.minutes(14, FAILS)
    assert (evaluations.fires, evaluations.told) == (False, [])
    evaluations.minutes(2, FAILS)
    assert (evaluations.fires, evaluations.states) == (True, ["firing"])
    evaluations.minutes(4)
    assert evaluations.states == ["firing"]
    evaluations.minutes(2)
    assert (evaluations.fires, evaluations.states) == (False, ["firing", "resolved"])


def test_condition_begins_although_the_daemon_is_killed_every_13_minutes() -> None:
    evaluations = Evaluations()
    for _ in range(2):
        # A process keeps nothing in memory after its end, and the time between two processes does not count.
        evaluations.evaluate(FAILS, step_ms=0, jump_ms=HOUR)
        evaluations.minutes(13, FAILS)
    assert evaluations.states == ["firing"]


def test_condition_with_rare_successes_sends_one_alert_and_one_reminder() -> None:
    evaluations = Evaluations()
    for _ in range(75):
        evaluations.minutes(19, FAILS)
        evaluations.minutes(1)
    assert evaluations.states == ["firing", "firing"]
    assert [reason for *_, reason in evaluations.told] == ["began", "reminder"]


def test_condition_that_returns_within_an_hour_keeps_its_start_and_lasts_an_hour() -> None:
    evaluations = Evaluations()
    evaluations.minutes(16, FAILS)
    evaluations.minutes(6)
    evaluations.minutes(30)
    evaluations.evaluate(FAILS)
    assert [reason for *_, reason in evaluations.told] == ["began", "ended", "returned"]
    assert evaluations.stored[FAILS_KEY].since_ms == NOW + STEP
    evaluations.minutes(59)
    assert evaluations.fires
    evaluations.minutes(2)
    assert (evaluations.fires, evaluations.states[-1]) == (False, "resolved")


def test_withdrawn_condition_is_alerted_as_withdrawn_and_not_as_resolved() -> None:
    evaluations = Evaluations()
    evaluations.minutes(16, FAILS)
    evaluations.evaluate(withdrawn="acme was removed from the configuration")
    assert (evaluations.states, evaluations.fires) == (["firing", "withdrawn"], False)
    assert evaluations.stored[FAILS_KEY].summary == "acme was removed from the configuration. Before: acme: it fails"


def test_find_changes_leaves_an_unknown_condition_unchanged() -> None:
    evaluations = Evaluations()
    evaluations.minutes(16, FAILS)
    stored = list(evaluations.stored.values())
    later_ms = evaluations.now_ms + HOUR
    assert find_changes((), stored, "safety", later_ms, step_ms=HOUR, unknown={FAILS_KEY}) == ()
    assert len(find_changes((), stored, "safety", later_ms, step_ms=HOUR)) == 1


def test_condition_that_passes_before_it_begins_leaves_nothing_stored() -> None:
    evaluations = Evaluations()
    evaluations.minutes(10, FAILS)
    evaluations.minutes(6)
    assert (evaluations.stored, evaluations.told) == ({}, [])


def test_new_alert_destination_gets_active_conditions_and_their_end() -> None:
    evaluations = Evaluations()
    evaluations.minutes(16, FAILS)
    evaluations.alerts_to = "hr"
    evaluations.minutes(1, FAILS)
    assert [reason for *_, reason in evaluations.told] == ["began", "told_late"]
    evaluations.minutes(6)
    assert evaluations.states[-1] == "resolved"


conditions = st.builds(
    Condition,
    st.sampled_from([ConditionName.GAP, ConditionName.SOURCE_FAILING, ConditionName.DELIVERIES_DEAD]),
    st.sampled_from([ACME, HR]),
    st.sampled_from(["so", "otherwise"]),
    begins_after_seconds=st.sampled_from([0.0, 900.0]),
    ends_after_seconds=st.sampled_from([0.0, 300.0]),
)
looks = st.lists(conditions, max_size=3, unique_by=lambda it: it.key)
steps = st.one_of(st.just(STEP), st.integers(0, 2 * HOUR))
jumps = st.one_of(st.just(0), st.integers(-3 * DAY, 3 * DAY))


@given(st.lists(st.tuples(steps, looks), max_size=60))
def test_alerts_about_one_condition_do_not_exceed_the_daily_maximum(
    sequence: list[tuple[int, list[Condition]]],
) -> None:
    evaluations, told = Evaluations(), defaultdict(list)
    for step_ms, current in sequence:
        before = len(evaluations.told)
        evaluations.evaluate(*current, step_ms=step_ms)
        assert len(evaluations.told) - before <= len(evaluations.stored) + len(current) + 1
        for which in evaluations.stored.values():
            told[which.key].append(which.alerts)
    assert all(messages <= MAX_ALERTS_A_DAY for counts in told.values() for messages in counts)


@given(st.lists(st.tuples(steps, jumps, looks, st.sampled_from(["", "hr", "safety"])), max_size=40))
def test_last_alert_matches_the_condition(sequence: list[tuple[int, int, list[Condition], str]]) -> None:
    evaluations = Evaluations()
    last: dict[tuple[str, str], ConditionState] = {}
    for step_ms, jump_ms, current, alerts_to in sequence:
        evaluations.now_ms += step_ms + jump_ms
        stored = list(evaluations.stored.values())
        for change in find_changes(current, stored, alerts_to, evaluations.now_ms, step_ms=step_ms):
            key = change.condition.key
            if change.is_forgotten:
                evaluations.stored.pop(key)
            else:
                evaluations.stored[key] = change.condition
            if change.destination is not None:
                assert destination_subject(change.destination) != change.condition.subject
                assert change.state is FIRING or last.get(key) is FIRING
                last[key] = change.state
        # While a condition fires and has been alerted, the last alert about it is not a resolved one.
        for key, condition in evaluations.stored.items():
            if condition.phase is Phase.FIRING and condition.alerted_ms is not None:
                assert last[key] is FIRING
        assert find_changes(current, list(evaluations.stored.values()), alerts_to, evaluations.now_ms) == ()


@given(st.lists(st.tuples(steps, looks, st.sampled_from(["", "hr", "safety"])), max_size=40))
def test_former_destination_keeps_no_unresolved_alert(sequence: list[tuple[int, list[Condition], str]]) -> None:
    evaluations, both = Evaluations(), ("hr", "safety")
    open_: dict[str, set[ConditionKey]] = {name: set() for name in both}
    for step_ms, current, alerts_to in sequence:
        evaluations.now_ms += step_ms
        stored = list(evaluations.stored.values())
        changes = find_changes(
            current, stored, alerts_to, evaluations.now_ms, step_ms=step_ms, configured_destinations=both
        )
        handovers = find_handovers(stored, changes, alerts_to, both)
        for change in changes:
            if change.is_forgotten:
                evaluations.stored.pop(change.condition.key)
            else:
                evaluations.stored[change.condition.key] = change.condition
            if change.destination is not None:
                heard = open_[change.destination]
                (heard.add if change.state is FIRING else heard.discard)(change.condition.key)
        for handover in handovers:
            assert (handover.new, handover.old != alerts_to) == (alerts_to, True)
            told = {it.key for it in handover.conditions}
            # The former destination is informed once, and only of conditions that it was alerted to.
            assert told <= open_[handover.old]
            open_[handover.old] -= told
        assert not any(open_[name] for name in both if name != alerts_to)


def test_condition_that_ends_as_alerts_move_is_resolved_at_the_former_destination() -> None:
    before = stored_gap(NOW - HOUR, alerted_to="hr")
    (over,) = find_changes([], [before], "safety", NOW, configured_destinations=("hr", "safety"))
    assert (over.state, over.destination) == (RESOLVED, "hr")
    assert find_handovers([before], [over], "safety", ("hr", "safety")) == ()
    # A destination that was removed gets no alert.
    (over,) = find_changes([], [before], "safety", NOW, configured_destinations=("safety",))
    assert over.destination is None
    assert find_handovers([before], [], "safety", ("safety",)) == ()
