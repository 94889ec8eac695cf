"""Is it news? The written rules, one by one, and that together they leave nothing out."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.completions import CONTENT_FIELDS, Change, Completion, EventType, Net
from notifier.config import FirstRun
from notifier.ledger.records import Known, fingerprint
from notifier.watch.verdicts import (
    Baseline,
    Judgement,
    Reason,
    compare,
    held_back,
    in_order_of_entry,
    judge,
    meeting,
    removal,
)

MET = 1_795_280_400_000
FIRST_RUN_DAY = date(2026, 1, 1)
MIDNIGHT = 1_767_225_600_000  # of that day, UTC


def completion(key: str = "1", recorded_at: int | None = MET, **fields: Any) -> Completion:
    content: dict[str, Any] = {
        "training_id": "1046",
        "user_id": "5e58",
        "completed_on": "2020-02-27",
        "expires_on": None,
        "instructor_id": None,
        "group_training_id": None,
        "notes": "",
        "has_attachments": False,
    }
    return Completion(key=key, recorded_at=recorded_at, raw=json.dumps([key]).encode(), **(content | fields))


def known(one: Completion, *, revision: int = 1, changed: bool = False, removed: bool = False) -> Known:
    return Known(revision, fingerprint(one.raw) ^ changed, removed)


def verdict(recorded_at: int | None, baseline: Baseline) -> tuple[str, bool]:
    """Judge one unknown record: the reason, and whether it is told."""
    judgement = judge([completion(recorded_at=recorded_at)], {}, baseline, Net.HEAD)
    (one,) = judgement.changes or judgement.learned
    return one.reason, bool(judgement.changes)


moments = st.integers(1, 2**42)
around = st.one_of(st.none(), moments, st.sampled_from([MET - 1, MET, MET + 1, MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + 1]))
first_runs = st.sampled_from([FirstRun.SILENT, FirstRun.NOTIFY, FIRST_RUN_DAY])
baselines = st.builds(Baseline, st.none() | st.just(MET), st.booleans(), first_runs)


@given(around)
def test_what_stands_in_the_first_answer_is_history(recorded_at: int | None) -> None:
    baseline = Baseline(None, swept=False, first_run=FirstRun.SILENT)
    assert verdict(recorded_at, baseline) == (Reason.FIRST_ANSWER, False)


@given(moments, st.booleans(), first_runs)
def test_what_was_entered_since_the_first_meeting_is_news(later: int, swept: bool, first_run: FirstRun | date) -> None:
    assert verdict(MET + later - 1, Baseline(MET, swept, first_run)) == (Reason.ENTERED_SINCE, True)


@given(st.integers(1, MET), st.booleans())
def test_what_was_entered_before_it_is_history_not_read_yet(recorded_at: int, swept: bool) -> None:
    baseline = Baseline(MET + 1, swept, FirstRun.SILENT)
    assert verdict(recorded_at, baseline) == (Reason.ENTERED_BEFORE, False)


def test_without_a_moment_of_entry_it_is_news_once_the_whole_list_was_read() -> None:
    before, after = Baseline(MET, swept=False, first_run=FirstRun.SILENT), Baseline(MET, True, FirstRun.SILENT)
    assert verdict(None, before) == (Reason.UNDATED_BEFORE_SWEEP, False)
    assert verdict(None, after) == (Reason.UNDATED_AFTER_SWEEP, True)


@given(around, baselines)
def test_notify_announces_everything(recorded_at: int | None, baseline: Baseline) -> None:
    _, told = verdict(recorded_at, replace(baseline, first_run=FirstRun.NOTIFY))
    assert told


@given(around, st.none() | st.just(MET), st.booleans())
def test_a_date_announces_in_addition_what_was_entered_since_then(
    recorded_at: int | None, met_at_ms: int | None, swept: bool
) -> None:
    silently = verdict(recorded_at, Baseline(met_at_ms, swept, FirstRun.SILENT))
    reason, told = verdict(recorded_at, Baseline(met_at_ms, swept, FIRST_RUN_DAY))
    if silently[1] or recorded_at is None or recorded_at < MIDNIGHT:
        assert (reason, told) == silently
    else:
        assert (reason, told) == (Reason.FIRST_RUN, True)


@given(around, st.booleans(), first_runs)
def test_what_comes_into_the_list_later_is_called_so_whatever_the_first_run(
    recorded_at: int | None, swept: bool, first_run: FirstRun | date
) -> None:
    reason, _ = verdict(recorded_at, Baseline(MET, swept, first_run))
    came_later = swept if recorded_at is None else recorded_at >= MET
    assert Reason(reason).is_fresh is came_later


@given(around, baselines)
def test_a_record_that_was_gone_and_is_there_again_is_news(recorded_at: int | None, baseline: Baseline) -> None:
    one = completion(recorded_at=recorded_at)
    judgement = judge([one], {"1": known(one, revision=2, removed=True)}, baseline, Net.SWEEP)
    assert judgement == Judgement((), (Change(EventType.CREATED, one, 3, Net.SWEEP, Reason.CAME_BACK),), ())
    assert judgement.holds_fresh


memories = st.sampled_from(["unknown", "known", "changed", "removed"])


@given(st.lists(st.tuples(around, memories), max_size=20), baselines, st.sampled_from(Net))
def test_every_record_is_learned_or_told_or_compared_or_known_and_never_two_of_them(
    page: list[tuple[int | None, str]], baseline: Baseline, net: Net
) -> None:
    completions = [completion(str(index), recorded_at) for index, (recorded_at, _) in enumerate(page)]
    memory = {
        one.key: known(one, revision=index + 1, changed=state == "changed", removed=state == "removed")
        for index, (one, (_, state)) in enumerate(zip(completions, page, strict=True))
        if state != "unknown"
    }
    judgement = judge(completions, memory, baseline, net)
    learned = [one.completion.key for one in judgement.learned]
    told = [change.completion.key for change in judgement.changes]
    compared = [suspect.key for suspect in judgement.suspects]
    by_state = {
        state: {one.key for one, (_, its) in zip(completions, page, strict=True) if its == state}
        for state in ("unknown", "known", "changed", "removed")
    }
    assert len(learned) + len(told) + len(compared) == len({*learned, *told, *compared})
    assert {*compared} == by_state["changed"]
    assert {*learned} | {*told} == by_state["unknown"] | by_state["removed"]
    assert by_state["removed"] <= {*told}
    for change in judgement.changes:
        before = memory.get(change.completion.key)
        assert (change.type, change.net) == (EventType.CREATED, net)
        assert change.revision == (1 if before is None else before.revision + 1)


@given(st.lists(around, max_size=20))
def test_changes_are_told_in_the_order_of_entry(entries: Sequence[int | None]) -> None:
    changes = [
        Change(EventType.CREATED, completion(str(index), at), 1, Net.HEAD, Reason.ENTERED_SINCE)
        for index, at in enumerate(entries)
    ]
    ordered = in_order_of_entry(changes)
    assert sorted(ordered, key=lambda change: int(change.completion.key)) == changes
    dated = [change.completion.recorded_at for change in ordered if change.completion.recorded_at is not None]
    assert dated == sorted(dated)
    assert all(change.completion.recorded_at is None for change in ordered[len(dated) :])


def test_entries_of_the_same_moment_stay_as_the_list_has_them() -> None:
    changes = [Change(EventType.CREATED, completion(key), 1, Net.HEAD, Reason.ENTERED_SINCE) for key in "312"]
    assert [change.completion.key for change in in_order_of_entry(changes)] == ["3", "1", "2"]


@pytest.mark.parametrize("name", CONTENT_FIELDS)
def test_every_field_of_the_content_makes_an_update(name: str) -> None:
    before = completion()
    value: Any = MET + 1 if name == "recorded_at" else True if name == "has_attachments" else "another"
    after = replace(before, **{name: value})
    assert compare(after, before, 4, Net.SWEEP) == Change(
        EventType.UPDATED, after, 5, Net.SWEEP, Reason.CONTENT_CHANGED, before
    )


def test_other_json_makes_none() -> None:
    before = completion()
    assert compare(replace(before, raw=b'{"field_of_tomorrow": 1}'), before, 4, Net.SWEEP) is None


@given(served_at_ms=moments, seconds=st.floats(0, 300), now_ms=moments)
def test_the_first_meeting_is_by_the_servers_clock_and_before_its_answer(
    served_at_ms: int, seconds: float, now_ms: int
) -> None:
    assert meeting(served_at_ms, seconds, now_ms) == served_at_ms - round(seconds * 1000) <= served_at_ms
    assert meeting(None, seconds, now_ms) == now_ms - round(seconds * 1000)


@given(around, st.integers(1, 50), st.sampled_from(Net))
def test_a_removal_tells_the_last_known_state_under_the_next_revision(
    recorded_at: int | None, revision: int, net: Net
) -> None:
    one = completion(recorded_at=recorded_at)
    change = removal(one, revision, net)
    assert change == Change(EventType.REMOVED, one, revision + 1, net, Reason.GONE)
    assert not Reason(change.reason).is_fresh


@pytest.mark.parametrize(
    ("suspects", "known", "share", "held"),
    [
        (1, 1, 0.05, False),
        (20, 20, 0.05, False),
        (21, 21, 0.05, True),
        (21, 419, 0.05, True),
        (21, 420, 0.05, False),
        (50, 1000, 0.05, False),
        (51, 1000, 0.05, True),
        (50_000, 1_000_000, 0.05, False),
        (50_001, 1_000_000, 0.05, True),
        (21, 1000, 0.0, True),
        (1000, 1000, 1.0, False),
    ],
)
def test_more_than_twenty_and_more_than_the_share_are_held_back(
    suspects: int, known: int, share: float, held: bool
) -> None:
    assert held_back(suspects, known, share) is held


@given(st.integers(0, 5000), st.integers(0, 5000), st.floats(0, 1))
def test_what_is_held_back_would_be_too_if_it_were_more(suspects: int, known: int, share: float) -> None:
    if held_back(suspects, known, share):
        assert held_back(suspects + 1, known, share)
        assert suspects > 20
