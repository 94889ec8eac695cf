"""What is told of conditions and when: examples, and what must hold for any sequence of looks."""

from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alerts.conditions import Condition, ConditionName, destination_subject, source_subject
from notifier.alerts.policy import MOST_A_DAY, REMIND_AFTER_MS, NoticeReason, decide, handed_over
from notifier.store.tables.conditions import ConditionState, FiringCondition, Notice, Phase

FIRING, RESOLVED = ConditionState.FIRING, ConditionState.RESOLVED
HOUR = 3_600_000
DAY = REMIND_AFTER_MS
NOW = 1_795_280_400_123
ACME = source_subject("acme")
HR = destination_subject("hr")

GAP = Condition(ConditionName.GAP, ACME, "something may have been missed")

ConditionKey = tuple[str, str]


def standing(
    told_ms: int | None, summary: str = GAP.summary, subject: str = ACME, told_to: str = ""
) -> FiringCondition:
    return FiringCondition("gap", subject, summary, NOW - 5 * DAY, told_ms, told_to=told_to)


def key(what: Condition | FiringCondition) -> ConditionKey:
    return (str(what.name), what.subject)


@pytest.mark.parametrize(
    ("current", "before", "alerts_to", "reason", "told"),
    [
        (GAP, None, "safety", NoticeReason.BEGAN, True),
        (GAP, None, "", NoticeReason.BEGAN, False),
        (GAP, standing(None), "safety", NoticeReason.TOLD_LATE, True),
        (GAP, standing(None), "", None, False),
        (GAP, standing(NOW - DAY + 1), "safety", None, False),
        (GAP, standing(NOW - DAY), "safety", NoticeReason.REMINDER, True),
        (GAP, standing(NOW - DAY), "", None, False),
        (GAP, standing(NOW - HOUR, "it was called otherwise"), "safety", NoticeReason.REWORDED, False),
        (GAP, standing(NOW + 1), "safety", NoticeReason.CLOCK_SET_BACK, False),
        (GAP, standing(NOW - HOUR, told_to="hr"), "safety", NoticeReason.TOLD_LATE, True),
        (None, standing(NOW - HOUR), "safety", NoticeReason.ENDED, True),
        (None, standing(NOW + HOUR), "safety", NoticeReason.ENDED, True),
        (None, standing(NOW - HOUR), "", NoticeReason.ENDED, False),
        (None, standing(None), "safety", NoticeReason.ENDED, False),
        (None, None, "safety", None, False),
    ],
)
def test_each_turn_has_its_reason(
    current: Condition | None,
    before: FiringCondition | None,
    alerts_to: str,
    reason: NoticeReason | None,
    *,
    told: bool,
) -> None:
    notices = decide([current] if current else [], [before] if before else [], alerts_to, NOW)
    assert [notice.reason for notice in notices] == ([reason] if reason else [])
    assert [notice.destination for notice in notices if notice.destination] == (["safety"] if told else [])


def test_what_is_remembered_is_since_when_and_when_it_was_told() -> None:
    (began,) = decide([GAP], [], "safety", NOW)
    life = FiringCondition("gap", ACME, GAP.summary, NOW, NOW, told_to="safety", messages=1, counted_from_ms=NOW)
    assert began == Notice(FIRING, life, NoticeReason.BEGAN, "safety")
    (untold,) = decide([GAP], [], "", NOW)
    assert untold.standing.told_ms is None
    (reminder,) = decide([GAP], [began.standing], "safety", NOW + DAY)
    assert (reminder.standing.since_ms, reminder.standing.told_ms) == (NOW, NOW + DAY)
    (reworded,) = decide([GAP], [standing(NOW - HOUR, "otherwise")], "safety", NOW)
    assert (reworded.standing.summary, reworded.standing.told_ms) == (GAP.summary, NOW - HOUR)


def test_the_all_clear_says_what_it_was() -> None:
    (over,) = decide([], [standing(NOW)], "safety", NOW)
    assert (over.state, over.standing.summary) == (RESOLVED, "This is over: something may have been missed")


def test_a_destination_does_not_hear_of_itself_but_another_one_does() -> None:
    own = Condition(ConditionName.GAP, HR, "it does not get through")
    (began,) = decide([own], [], "hr", NOW)
    assert (began.reason, began.destination) == (NoticeReason.BEGAN, None)
    (late,) = decide([own], [began.standing], "safety", NOW + HOUR)
    assert (late.reason, late.destination) == (NoticeReason.TOLD_LATE, "safety")
    (over,) = decide([], [late.standing], "hr", NOW + HOUR)
    assert over.destination is None


def test_a_condition_that_this_version_does_not_know_is_over() -> None:
    unknown = FiringCondition("of_a_newer_version", ACME, "who knows", NOW, NOW)
    (over,) = decide([], [unknown], "safety", NOW)
    assert (over.state, over.reason) == (RESOLVED, NoticeReason.ENDED)


FAILS = Condition(
    ConditionName.SOURCE_FAILING, ACME, "acme: it fails", cause="http_status", begins_after=900.0, ends_after=300.0
)
FAILS_KEY = (FAILS.name.value, FAILS.subject)
MINUTE = 60_000
STEP = 30_000


@dataclass
class Life:
    """Looks again and again, remembers like the store does, and keeps what was told: state, moment, reason."""

    lives: dict[tuple[str, str], FiringCondition] = field(default_factory=dict)
    told: list[tuple[ConditionState, int, str]] = field(default_factory=list)
    now_ms: int = NOW
    alerts_to: str = "safety"

    def look(self, *current: Condition, step_ms: int = STEP, withdrawn: str = "", jump_ms: int = 0) -> None:
        self.now_ms += step_ms + jump_ms
        lives = list(self.lives.values())
        reasons = {life.key: withdrawn for life in lives} if withdrawn else {}
        for notice in decide(current, lives, self.alerts_to, self.now_ms, step_ms=step_ms, withdrawn=reasons):
            if notice.is_forgotten:
                del self.lives[notice.standing.key]
            else:
                self.lives[notice.standing.key] = notice.standing
            if notice.destination is not None:
                self.told.append((notice.state, self.now_ms, notice.reason))

    def minutes(self, minutes: float, *current: Condition) -> None:
        for _ in range(round(minutes * MINUTE / STEP)):
            self.look(*current)

    @property
    def states(self) -> list[str]:
        return [state.value for state, *_ in self.told]

    @property
    def fires(self) -> bool:
        return any(life.phase is Phase.FIRING for life in self.lives.values())


def test_it_begins_after_the_time_lived_through_and_ends_after_some_minutes() -> None:
    life = Life()
    life.minutes(14, FAILS)
    assert (life.fires, life.told) == (False, [])
    life.minutes(2, FAILS)
    assert (life.fires, life.states) == (True, ["firing"])
    life.minutes(4)
    assert life.states == ["firing"]
    life.minutes(2)
    assert (life.fires, life.states) == (False, ["firing", "resolved"])


def test_a_daemon_that_is_killed_every_thirteen_minutes_raises_it_all_the_same() -> None:
    life = Life()
    for _ in range(2):
        # Nothing of what a process knows outlives it; the time between is not lived through.
        life.look(FAILS, step_ms=0, jump_ms=HOUR)
        life.minutes(13, FAILS)
    assert life.states == ["firing"]


def test_a_success_in_twenty_polls_makes_one_message_and_not_a_hundred() -> None:
    life = Life()
    for _ in range(75):
        life.minutes(19, FAILS)
        life.minutes(1)
    assert life.states == ["firing", "firing"]
    assert [reason for *_, reason in life.told] == ["began", "reminder"]


def test_what_comes_back_within_an_hour_is_the_same_and_takes_an_hour_to_end_again() -> None:
    life = Life()
    life.minutes(16, FAILS)
    life.minutes(6)
    life.minutes(30)
    life.look(FAILS)
    assert [reason for *_, reason in life.told] == ["began", "ended", "returned"]
    assert life.lives[FAILS_KEY].since_ms == NOW + STEP
    life.minutes(59)
    assert life.fires
    life.minutes(2)
    assert (life.fires, life.states[-1]) == (False, "resolved")


def test_what_was_withdrawn_is_no_all_clear() -> None:
    life = Life()
    life.minutes(16, FAILS)
    life.look(withdrawn="acme was removed from the configuration")
    assert (life.states, life.fires) == (["firing", "withdrawn"], False)
    assert life.lives[FAILS_KEY].summary == "acme was removed from the configuration. Before: acme: it fails"


def test_what_has_passed_before_it_was_told_leaves_nothing() -> None:
    life = Life()
    life.minutes(10, FAILS)
    life.minutes(6)
    assert (life.lives, life.told) == ({}, [])


def test_another_destination_hears_what_stands_and_gets_the_end() -> None:
    life = Life()
    life.minutes(16, FAILS)
    life.alerts_to = "hr"
    life.minutes(1, FAILS)
    assert [reason for *_, reason in life.told] == ["began", "told_late"]
    life.minutes(6)
    assert life.states[-1] == "resolved"


conditions = st.builds(
    Condition,
    st.sampled_from([ConditionName.GAP, ConditionName.SOURCE_FAILING, ConditionName.DELIVERIES_DEAD]),
    st.sampled_from([ACME, HR]),
    st.sampled_from(["so", "otherwise"]),
    begins_after=st.sampled_from([0.0, 900.0]),
    ends_after=st.sampled_from([0.0, 300.0]),
)
looks = st.lists(conditions, max_size=3, unique_by=lambda it: it.key)
steps = st.one_of(st.just(STEP), st.integers(0, 2 * HOUR))
jumps = st.one_of(st.just(0), st.integers(-3 * DAY, 3 * DAY))


@given(st.lists(st.tuples(steps, looks), max_size=60))
def test_nobody_gets_more_than_a_handful_of_messages_a_day_about_one_condition(
    sequence: list[tuple[int, list[Condition]]],
) -> None:
    life, told = Life(), defaultdict(list)
    for step_ms, current in sequence:
        before = len(life.told)
        life.look(*current, step_ms=step_ms)
        assert len(life.told) - before <= len(life.lives) + len(current) + 1
        for which in life.lives.values():
            told[which.key].append(which.messages)
    assert all(messages <= MOST_A_DAY for counts in told.values() for messages in counts)


@given(st.lists(st.tuples(steps, jumps, looks, st.sampled_from(["", "hr", "safety"])), max_size=40))
def test_the_last_word_is_never_wrong(sequence: list[tuple[int, int, list[Condition], str]]) -> None:
    life = Life()
    last: dict[tuple[str, str], ConditionState] = {}
    for step_ms, jump_ms, current, alerts_to in sequence:
        life.now_ms += step_ms + jump_ms
        lives = list(life.lives.values())
        for notice in decide(current, lives, alerts_to, life.now_ms, step_ms=step_ms):
            key = notice.standing.key
            if notice.is_forgotten:
                life.lives.pop(key)
            else:
                life.lives[key] = notice.standing
            if notice.destination is not None:
                assert destination_subject(notice.destination) != notice.standing.subject
                assert notice.state is FIRING or last.get(key) is FIRING
                last[key] = notice.state
        # Whoever was told last that it is over is not left with that word while it fires and can be told of.
        for key, standing_ in life.lives.items():
            if standing_.phase is Phase.FIRING and standing_.told_ms is not None:
                assert last[key] is FIRING
        assert decide(current, list(life.lives.values()), alerts_to, life.now_ms) == ()


@given(st.lists(st.tuples(steps, looks, st.sampled_from(["", "hr", "safety"])), max_size=40))
def test_nobody_is_left_with_an_alarm_who_gets_no_more(sequence: list[tuple[int, list[Condition], str]]) -> None:
    life, both = Life(), ("hr", "safety")
    open_: dict[str, set[ConditionKey]] = {name: set() for name in both}
    for step_ms, current, alerts_to in sequence:
        life.now_ms += step_ms
        lives = list(life.lives.values())
        notices = decide(current, lives, alerts_to, life.now_ms, step_ms=step_ms, reachable=both)
        handovers = handed_over(lives, notices, alerts_to, both)
        for notice in notices:
            if notice.is_forgotten:
                life.lives.pop(notice.standing.key)
            else:
                life.lives[notice.standing.key] = notice.standing
            if notice.destination is not None:
                heard = open_[notice.destination]
                (heard.add if notice.state is FIRING else heard.discard)(notice.standing.key)
        for handover in handovers:
            assert (handover.new, handover.old != alerts_to) == (alerts_to, True)
            told = {it.key for it in handover.lives}
            # It hears once, of what it was told of, and of nothing else.
            assert told <= open_[handover.old]
            open_[handover.old] -= told
        assert not any(open_[name] for name in both if name != alerts_to)


def test_what_ends_as_alerts_move_ends_where_it_was_told() -> None:
    before = standing(NOW - HOUR, told_to="hr")
    (over,) = decide([], [before], "safety", NOW, reachable=("hr", "safety"))
    assert (over.state, over.destination) == (RESOLVED, "hr")
    assert handed_over([before], [over], "safety", ("hr", "safety")) == ()
    # A destination that is gone is told of nothing.
    (over,) = decide([], [before], "safety", NOW, reachable=("safety",))
    assert over.destination is None
    assert handed_over([before], [], "safety", ("safety",)) == ()
