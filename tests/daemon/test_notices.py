"""What is told of conditions and when: examples, and what must hold for any sequence of looks."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.conditions import Condition, ConditionName, destination_subject, source_subject
from notifier.daemon.notices import REMIND_AFTER_MS, NoticeReason, decide
from notifier.ledger.conditions import ConditionState, Notice, Standing

FIRING, RESOLVED = ConditionState.FIRING, ConditionState.RESOLVED
HOUR = 3_600_000
DAY = REMIND_AFTER_MS
NOW = 1_795_280_400_123
ACME = source_subject("acme")
HR = destination_subject("hr")

GAP = Condition(ConditionName.GAP, ACME, "something may have been missed")

Key = tuple[str, str]


def standing(told_ms: int | None, summary: str = GAP.summary, subject: str = ACME) -> Standing:
    return Standing("gap", subject, summary, NOW - 5 * DAY, told_ms)


def key(what: Condition | Standing) -> Key:
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
        (None, standing(NOW - HOUR), "safety", NoticeReason.ENDED, True),
        (None, standing(NOW + HOUR), "safety", NoticeReason.ENDED, True),
        (None, standing(NOW - HOUR), "", NoticeReason.ENDED, False),
        (None, standing(None), "safety", NoticeReason.ENDED, False),
        (None, None, "safety", None, False),
    ],
)
def test_each_turn_has_its_reason(
    current: Condition | None, before: Standing | None, alerts_to: str, reason: NoticeReason | None, *, told: bool
) -> None:
    notices = decide([current] if current else [], [before] if before else [], alerts_to, NOW)
    assert [notice.reason for notice in notices] == ([reason] if reason else [])
    assert [notice.destination for notice in notices if notice.destination] == (["safety"] if told else [])


def test_what_is_remembered_is_since_when_and_when_it_was_told() -> None:
    (began,) = decide([GAP], [], "safety", NOW)
    assert began == Notice(FIRING, Standing("gap", ACME, GAP.summary, NOW, NOW), NoticeReason.BEGAN, "safety")
    (untold,) = decide([GAP], [], "", NOW)
    assert untold.standing.told_ms is None
    (reminder,) = decide([GAP], [began.standing], "safety", NOW + DAY)
    assert (reminder.standing.since_ms, reminder.standing.told_ms) == (NOW, NOW + DAY)
    (reworded,) = decide([GAP], [standing(NOW - HOUR, "otherwise")], "safety", NOW)
    assert (reworded.standing.summary, reworded.standing.told_ms) == (GAP.summary, NOW - HOUR)


def test_the_all_clear_says_what_it_was() -> None:
    (over,) = decide([], [standing(NOW)], "safety", NOW)
    assert (over.state, over.standing.summary) == (RESOLVED, "No longer so: something may have been missed")


def test_a_destination_does_not_hear_of_itself_but_another_one_does() -> None:
    own = Condition(ConditionName.GAP, HR, "it does not get through")
    (began,) = decide([own], [], "hr", NOW)
    assert (began.reason, began.destination) == (NoticeReason.BEGAN, None)
    (late,) = decide([own], [began.standing], "safety", NOW + HOUR)
    assert (late.reason, late.destination) == (NoticeReason.TOLD_LATE, "safety")
    (over,) = decide([], [late.standing], "hr", NOW + HOUR)
    assert over.destination is None


def test_a_condition_that_this_version_does_not_know_is_over() -> None:
    unknown = Standing("of_a_newer_version", ACME, "who knows", NOW, NOW)
    (over,) = decide([], [unknown], "safety", NOW)
    assert (over.state, over.reason) == (RESOLVED, NoticeReason.ENDED)


@dataclass
class Told:
    """A message that somebody got, and when the clock said so."""

    state: ConditionState
    at_ms: int
    look: int
    destination: str


@dataclass
class Notes:
    """Looks again and again, remembers like the ledger does, and keeps what was told of each condition."""

    remembered: dict[Key, Standing] = field(default_factory=dict)
    told: dict[Key, list[Told]] = field(default_factory=lambda: defaultdict(list))
    clock: list[int] = field(default_factory=list)

    def look(self, current: Sequence[Condition], now_ms: int, alerts_to: str = "safety") -> None:
        for notice in decide(current, list(self.remembered.values()), alerts_to, now_ms):
            which = key(notice.standing)
            if notice.state is FIRING:
                self.remembered[which] = notice.standing
            else:
                del self.remembered[which]
            if notice.destination is not None:
                message = Told(notice.state, now_ms, len(self.clock), notice.destination)
                self.told[which].append(message)
        self.clock.append(now_ms)
        assert set(self.remembered) == {key(condition) for condition in current}
        assert decide(current, list(self.remembered.values()), alerts_to, now_ms) == ()

    def reminders(self) -> Iterable[tuple[Told, Told]]:
        """Pair every firing message with the one before it, of the same condition with no all-clear in between."""
        for messages in self.told.values():
            for before, after in pairwise(messages):
                if before.state is FIRING and after.state is FIRING:
                    yield before, after


conditions = st.builds(
    Condition, st.sampled_from(ConditionName), st.sampled_from([ACME, HR]), st.sampled_from(["so", "otherwise"])
)
looks = st.lists(conditions, max_size=4, unique_by=key)
waits = st.one_of(st.just(30_000), st.integers(0, 2 * DAY))
jumps = st.one_of(waits, st.integers(-3 * DAY, 3 * DAY))


@given(st.lists(st.tuples(waits, looks), max_size=30))
def test_a_day_passes_between_two_messages_that_a_condition_fires(sequence: list[tuple[int, list[Condition]]]) -> None:
    notes, now = Notes(), NOW
    for wait, current in sequence:
        now += wait
        notes.look(current, now)
    assert all(after.at_ms - before.at_ms >= DAY for before, after in notes.reminders())


@given(st.lists(st.tuples(jumps, looks), max_size=30))
def test_a_clock_that_jumps_does_not_flood(sequence: list[tuple[int, list[Condition]]]) -> None:
    notes, now = Notes(), NOW
    for jump, current in sequence:
        now += jump
        notes.look(current, now)
    for before, after in notes.reminders():
        lowest = min(notes.clock[before.look : after.look])
        assert after.at_ms - lowest >= DAY


@given(st.lists(st.tuples(jumps, looks), max_size=30))
def test_whatever_the_clock_did_a_day_later_there_is_a_reminder(sequence: list[tuple[int, list[Condition]]]) -> None:
    notes, now = Notes(), NOW
    for jump, others in sequence:
        now += jump
        notes.look([GAP, *(other for other in others if key(other) != key(GAP))], now)
    notes.look([GAP], now)
    notes.look([GAP], now + DAY)
    assert notes.told[key(GAP)][-1].at_ms == now + DAY


@given(st.lists(st.tuples(jumps, looks), max_size=30))
def test_whatever_fires_ends_with_one_all_clear_and_nothing_else_does(
    sequence: list[tuple[int, list[Condition]]],
) -> None:
    notes, now = Notes(), NOW
    fired: dict[Key, int] = defaultdict(int)
    for jump, current in sequence:
        now += jump
        for condition in current:
            fired[key(condition)] += key(condition) not in notes.remembered
        notes.look(current, now)
    notes.look([], now)
    for which, messages in notes.told.items():
        states = "".join("F" if message.state is FIRING else "R" for message in messages)
        assert "RR" not in f"R{states}"
        assert states.endswith("R")
        assert states.count("R") == fired[which]
    assert set(notes.told) == {which for which, times in fired.items() if times}


@given(st.lists(st.tuples(jumps, looks, st.sampled_from(["", "hr", "safety"])), max_size=30))
def test_nobody_hears_of_itself_nor_of_the_end_of_what_nobody_heard_of(
    sequence: list[tuple[int, list[Condition], str]],
) -> None:
    notes, now = Notes(), NOW
    for jump, current, alerts_to in sequence:
        now += jump
        notes.look(current, now, alerts_to)
    for (_, subject), messages in notes.told.items():
        assert all(destination_subject(message.destination) != subject for message in messages)
        assert "RR" not in "R" + "".join("F" if message.state is FIRING else "R" for message in messages)
