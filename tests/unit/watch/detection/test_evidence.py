"""What an answer proves about the records in it: each rule by itself, and that the rules cover every case."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.config import FirstRun
from notifier.events import CONTENT_FIELDS, Change, Completion, DetectedBy, EventType
from notifier.kpa.client import Page
from notifier.kpa.versions import InvalidRecord
from notifier.store.tables.record_lookups import StoredRecord
from notifier.store.tables.records import Findings
from notifier.store.tables.second_looks import LookKind, SecondLook
from notifier.store.tables.sources import Release
from notifier.watch.detection.evidence import (
    AnswerContext,
    Evidence,
    HoldState,
    changed_fields,
    changed_keys,
    contradicted_look,
    evaluate_absences,
    evaluate_records,
    has_new_records,
    removal_change,
    sorted_by_entry,
)
from notifier.watch.detection.holds import HoldLimits
from notifier.watch.detection.news import Baseline, NewsReason, classify_unknown
from notifier.watch.source_reader import PageFault, page_fault

MET = 1_795_280_400_000
NOW = MET + 1_000_000
FIRST_RUN_DAY = date(2026, 1, 1)
MIDNIGHT = 1_767_225_600_000  # of that day, UTC
ASKED = 100.0
SWEPT = Baseline(MET, swept=True, first_run=FirstRun.SILENT)
NO_HOLDS = HoldState(HoldLimits(arrivals=10**6, changes=10**6))


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
    content |= fields
    return Completion(key=key, recorded_at=recorded_at, raw=json.dumps([key, recorded_at, content]).encode(), **content)


def known(one: Completion, **fields: Any) -> StoredRecord:
    return replace(StoredRecord(revision=1, fingerprint=one.fingerprint(), removed=False, id=7), **fields)


def look(kind: LookKind, one: Completion, form: int = 0, since_ms: int | None = NOW - 1, **fields: Any) -> SecondLook:
    waiting = SecondLook(one.key, kind, since_ms, NOW - 9, "count", form, one.user_id, one.training_id)
    return replace(waiting, **fields)


def context(
    baseline: Baseline = SWEPT,
    holds: HoldState = NO_HOLDS,
    net: DetectedBy = DetectedBy.HEAD,
    requested_at: float = ASKED,
) -> AnswerContext:
    return AnswerContext("acme", "space", net, requested_at, NOW, baseline, holds)


def is_empty(findings: Findings) -> bool:
    return not findings


moments = st.integers(1, 2**42)
around = st.one_of(st.none(), moments, st.sampled_from([MET - 1, MET, MET + 1, MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + 1]))
first_runs = st.sampled_from([FirstRun.SILENT, FirstRun.NOTIFY, FIRST_RUN_DAY])
baselines = st.builds(
    Baseline,
    st.none() | st.just(MET),
    st.booleans(),
    first_runs,
    st.none() | st.just(MET + 5),
    st.none() | st.just(MET + 7),
)


# Pages.


def page(*days: str | None, limit: int = 10, last_page: int | None = 1, bad: Sequence[InvalidRecord] = ()) -> Page:
    completions = tuple(completion(str(place), completed_on=day) for place, day in enumerate(days))
    size = len(completions) + len(bad)
    return Page(1, limit, size, completions, tuple(bad), last_page, None, None, requested_at=0.0, seconds=0.1)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (page(), None),
        (page("2020-01-02", "2020-01-02", "2020-01-01", None), None),
        (page("2020-01-02", limit=1, last_page=2), None),
        (page("2020-01-02", limit=2, last_page=2), PageFault.SHORT),
        (page("2020-01-02", limit=2, last_page=None), None),
        (page("2020-01-02", "2020-01-01", limit=1), PageFault.LONG),
        (page("2020-01-01", "2020-01-02"), PageFault.UNSORTED),
        (page(None, "2020-01-02"), PageFault.UNSORTED),
        (page("2020-01-01", bad=[InvalidRecord("1", "?", 1, is_repeated=True)]), PageFault.REPEATED_RECORD),
        (page("2020-01-01", bad=[InvalidRecord("1", "?", 1)]), None),
    ],
)
def test_page_fault_names_the_fault_of_a_page(answer: Page, fault: PageFault | None) -> None:
    assert page_fault(answer) is fault


@given(st.lists(st.none() | st.sampled_from(["2019-07-04", "2020-01-01", "2026-11-21"]), max_size=20))
def test_page_fault_is_none_for_a_complete_sorted_page(days: list[str | None]) -> None:
    assert page_fault(page(*sorted(days, key=lambda day: day or "", reverse=True), limit=20)) is None


# Unknown records.


@given(around)
def test_classify_unknown_first_answer_is_history(recorded_at: int | None) -> None:
    baseline = Baseline(None, swept=False, first_run=FirstRun.SILENT)
    assert classify_unknown(recorded_at, baseline) == (NewsReason.FIRST_ANSWER, False)


@given(moments, st.booleans(), first_runs)
def test_classify_unknown_since_first_contact_is_news(later: int, swept: bool, first_run: FirstRun | date) -> None:
    assert classify_unknown(MET + later - 1, Baseline(MET, swept, first_run)) == (NewsReason.ENTERED_SINCE, True)


@given(st.integers(1, MET))
def test_classify_unknown_entered_before_first_contact_is_history_until_first_sweep(recorded_at: int) -> None:
    baseline = Baseline(MET + 1, swept=False, first_run=FirstRun.SILENT)
    assert classify_unknown(recorded_at, baseline) == (NewsReason.ENTERED_BEFORE, False)


@given(around, first_runs, st.none() | st.just(MET + 5), st.none() | st.just(MET + 7))
def test_classify_unknown_after_the_first_sweep_is_news_at_any_time_of_entry(
    recorded_at: int | None, first_run: FirstRun | date, announced_until_ms: int | None, view_since_ms: int | None
) -> None:
    reason, is_news = classify_unknown(recorded_at, Baseline(MET, True, first_run, announced_until_ms, view_since_ms))
    assert is_news
    assert reason.is_new_entry


@given(around)
def test_classify_unknown_after_file_damage_only_later_entries_are_news(recorded_at: int | None) -> None:
    reason, is_news = classify_unknown(recorded_at, Baseline(MET - 9, False, FirstRun.NOTIFY, announced_until_ms=MET))
    assert is_news is (recorded_at is not None and recorded_at >= MET)
    assert (reason is NewsReason.READ_BEFORE_DAMAGE) is not is_news


@given(around)
def test_classify_unknown_in_another_view_only_later_entries_are_news(recorded_at: int | None) -> None:
    reason, is_news = classify_unknown(recorded_at, Baseline(MET - 9, False, FirstRun.NOTIFY, view_since_ms=MET))
    assert is_news is (recorded_at is not None and recorded_at >= MET)
    assert (reason is NewsReason.ENTERED_BEFORE_VIEW) is not is_news


@given(around, st.none() | st.just(MET), st.booleans())
def test_classify_unknown_first_run_notify_makes_everything_news(
    recorded_at: int | None, first_contact_ms: int | None, swept: bool
) -> None:
    assert classify_unknown(recorded_at, Baseline(first_contact_ms, swept, FirstRun.NOTIFY))[1]


@given(around, st.none() | st.just(MET), st.booleans())
def test_classify_unknown_first_run_date_adds_entries_since_that_date(
    recorded_at: int | None, first_contact_ms: int | None, swept: bool
) -> None:
    silently = classify_unknown(recorded_at, Baseline(first_contact_ms, swept, FirstRun.SILENT))
    reason, is_news = classify_unknown(recorded_at, Baseline(first_contact_ms, swept, FIRST_RUN_DAY))
    if silently[1] or recorded_at is None or recorded_at < MIDNIGHT:
        assert (reason, is_news) == silently
    else:
        assert (reason, is_news) == (NewsReason.FIRST_RUN, True)


# Records of an answer.

STATES = ("unknown", "same", "new_form", "earlier_form", "other_json", "removed", "held", "out_of_view")
LOOKS = ("none", "waiting", "due", "interrupted")


class Case:
    """An answer with records in different states, each with its own key, and what is known about them."""

    def __init__(self, rows: Sequence[tuple[int | None, str, str, bool]]) -> None:
        self.rows = {str(number): row for number, row in enumerate(rows)}
        self.completions = [completion(key, at, notes="now") for key, (at, *_) in self.rows.items()]
        self.by_key = {one.key: one for one in self.completions}
        self.evidence = Evidence(
            known={key: self._known(key) for key, (_, state, *_) in self.rows.items() if state != "unknown"},
            contents={one.key: self._before(one) for one in self.completions if self._differs(one.key)},
            earlier_forms={
                key: {self.by_key[key].content_fingerprint()}
                for key, (_, state, *_) in self.rows.items()
                if state == "earlier_form"
            },
            looks={key: self._look(key) for key, (_, _, waits, _) in self.rows.items() if waits != "none"},
            due={key for key, (_, _, waits, _) in self.rows.items() if waits == "due"},
            changed_at={key: ASKED + 1 for key, (*_, newer) in self.rows.items() if newer},
        )

    def _differs(self, key: str) -> bool:
        return self.rows[key][1] in ("new_form", "earlier_form", "other_json")

    def _before(self, one: Completion) -> Completion:
        return one if self.rows[one.key][1] == "other_json" else replace(one, notes="before")

    def _known(self, key: str) -> StoredRecord:
        state, one = self.rows[key][1], self.by_key[key]
        mark = one.fingerprint() + self._differs(key)
        return StoredRecord(4, mark, state == "removed", 7, state == "held", state == "out_of_view")

    def _look(self, key: str) -> SecondLook:
        _, state, waits, _ = self.rows[key]
        kinds = {"removed": LookKind.RETURN, "earlier_form": LookKind.EARLIER_FORM}
        one, kind = self.by_key[key], kinds.get(state, LookKind.REMOVAL)
        form = 0 if kind is LookKind.REMOVAL else one.content_fingerprint()
        return look(kind, one, form, None if waits == "interrupted" else NOW - 1)

    def result_counts(self, findings: Findings) -> Counter[str]:
        """Count how often each key was reported, learned, held, refreshed without an event, or made to wait."""
        return Counter(
            [
                *(change.completion.key for change in findings.changes),
                *(learned.completion.key for learned in (*findings.learned, *findings.held)),
                *(held.key for held in findings.held_changes),
                *(one.key for one in findings.refreshed),
                *(waiting.key for waiting in findings.looks),
            ]
        )


rows = st.tuples(around, st.sampled_from(STATES), st.sampled_from(LOOKS), st.booleans())
cases = st.lists(rows, max_size=12).map(Case)
holds = st.builds(
    HoldState,
    st.builds(HoldLimits, st.integers(0, 4), st.integers(0, 4)),
    st.integers(0, 4),
    st.fixed_dictionaries({"notes": st.integers(0, 4)}),
    arrivals_held=st.booleans(),
    held_field=st.sampled_from([None, "notes", "user_id"]),
    release_changes=st.sampled_from([None, Release.TELL, Release.LEARN]),
)


@given(cases, baselines, holds, st.sampled_from(DetectedBy))
def test_evaluate_records_returns_each_record_at_most_once(
    case: Case, baseline: Baseline, held: HoldState, net: DetectedBy
) -> None:
    result_counts = case.result_counts(evaluate_records(case.completions, case.evidence, context(baseline, held, net)))
    assert set(result_counts.values()) <= {1}
    for key, (_, state, waits, newer) in case.rows.items():
        if newer:
            assert key not in result_counts
        elif state in ("unknown", "new_form", "other_json"):
            assert key in result_counts
        elif state in ("same", "held", "out_of_view"):
            # These can only wait for a removal, and they are in the answer.
            assert key not in result_counts
        elif waits in ("none", "interrupted"):
            assert key in result_counts


@given(cases, baselines, holds, st.sampled_from(DetectedBy))
def test_evaluate_records_change_has_the_next_revision_and_the_right_type(
    case: Case, baseline: Baseline, held: HoldState, net: DetectedBy
) -> None:
    for change in evaluate_records(case.completions, case.evidence, context(baseline, held, net)).changes:
        memory = case.evidence.known.get(change.completion.key)
        assert change.revision == (1 if memory is None else memory.revision + 1)
        assert change.detected_by is net
        expected = EventType.UPDATED if memory is not None and not memory.removed else EventType.CREATED
        assert change.type is expected


@given(cases, baselines, holds)
def test_evaluate_records_stale_answer_changes_nothing(case: Case, baseline: Baseline, held: HoldState) -> None:
    stale = replace(case.evidence, changed_at=dict.fromkeys(case.by_key, ASKED + 0.001))
    assert is_empty(evaluate_records(case.completions, stale, context(baseline, held)))


@given(cases, baselines)
def test_evaluate_records_answer_requested_at_the_last_change_is_not_stale(case: Case, baseline: Baseline) -> None:
    same_moment = replace(case.evidence, changed_at=dict.fromkeys(case.by_key, ASKED))
    fresh = replace(case.evidence, changed_at={})
    given_ = context(baseline)
    assert evaluate_records(case.completions, same_moment, given_) == evaluate_records(case.completions, fresh, given_)


@given(cases, baselines)
def test_evaluate_records_same_answer_again_returns_no_changes(case: Case, baseline: Baseline) -> None:
    """Afterwards, what was reported, learned or refreshed is known, as the store records it."""
    given_ = context(baseline)
    first = evaluate_records(case.completions, case.evidence, given_)
    memory = {**case.evidence.known}
    for change in first.changes:
        memory[change.completion.key] = StoredRecord(change.revision, change.completion.fingerprint(), removed=False)
    for one in (*(learned.completion for learned in first.learned), *first.refreshed):
        memory[one.key] = StoredRecord(1, one.fingerprint(), removed=False)
    looks = {key: waiting for key, waiting in case.evidence.looks.items() if key not in first.ended_looks}
    looks |= {waiting.key: waiting for waiting in first.looks}
    changed = changed_keys(case.completions, memory)
    second = evaluate_records(
        case.completions,
        replace(
            case.evidence,
            known=memory,
            contents={key: case.evidence.contents[key] for key in changed},
            looks=looks,
            due={key for key in case.evidence.due if key not in looks},
        ),
        given_,
    )
    assert second.changes == ()
    assert second.learned == ()
    assert second.refreshed == ()


@given(around, st.sampled_from(LOOKS))
def test_evaluate_records_new_form_is_reported_at_once(recorded_at: int | None, waits: str) -> None:
    case = Case([(recorded_at, "new_form", waits, False)])
    findings = evaluate_records(case.completions, case.evidence, context())
    (change,) = findings.changes
    assert (change.type, change.previous) == (EventType.UPDATED, case.evidence.contents["0"])
    assert findings.looks == ()
    assert set(findings.ended_looks) == case.evidence.looks.keys()


@pytest.mark.parametrize(
    ("waits", "told", "begins"),
    [("none", False, True), ("interrupted", False, True), ("waiting", False, False), ("due", True, False)],
)
@pytest.mark.parametrize("state", ["earlier_form", "removed"])
def test_evaluate_records_earlier_form_and_return_wait_for_a_second_look(
    state: str, waits: str, told: bool, begins: bool
) -> None:
    case = Case([(MET, state, waits, False)])
    findings = evaluate_records(case.completions, case.evidence, context())
    assert len(findings.changes) == told
    assert [waiting.since_ms for waiting in findings.looks] == [NOW] * begins
    assert list(findings.ended_looks) == ["0"] * told


def test_evaluate_records_another_earlier_form_restarts_the_wait() -> None:
    case = Case([(MET, "earlier_form", "due", False)])
    other = look(LookKind.EARLIER_FORM, case.completions[0], form=12345, flips=2, flipped_ms=5)
    findings = evaluate_records(case.completions, replace(case.evidence, looks={"0": other}), context())
    assert findings.changes == ()
    (waiting,) = findings.looks
    assert (waiting.form, waiting.since_ms, waiting.flips) == (case.completions[0].content_fingerprint(), NOW, 2)


def test_evaluate_records_current_form_interrupts_the_wait_of_an_earlier_form() -> None:
    one = completion()
    waiting = look(LookKind.EARLIER_FORM, one, form=1)
    findings = evaluate_records([one], Evidence({"1": known(one)}, looks={"1": waiting}, due={"1"}), context())
    assert findings == Findings("acme", "space", looks=(contradicted_look(waiting, NOW),))


def test_evaluate_records_current_form_with_other_json_interrupts_the_wait() -> None:
    before = completion()
    one = replace(before, raw=before.raw.replace(b"}", b', "link": "another"}'))
    assert one.fingerprint() != before.fingerprint()
    waiting = look(LookKind.EARLIER_FORM, one, form=1)
    evidence = Evidence({"1": known(before)}, contents={"1": before}, looks={"1": waiting}, due={"1"})
    findings = evaluate_records([one], evidence, context())
    assert findings.refreshed == (one,)
    assert findings.looks == (contradicted_look(waiting, NOW),)


@given(cases)
def test_evaluate_records_present_record_ends_the_wait_for_its_removal(case: Case) -> None:
    findings = evaluate_records(case.completions, case.evidence, context())
    for key, waiting in case.evidence.looks.items():
        if waiting.kind is LookKind.REMOVAL and case.rows[key][1] != "unknown" and not case.rows[key][3]:
            assert key in findings.ended_looks


def test_evaluate_records_present_record_out_of_view_is_in_view_again() -> None:
    one = completion()
    findings = evaluate_records([one], Evidence({"1": known(one, out_of_view=True)}), context())
    assert findings == Findings("acme", "space", in_view=("1",))


def test_evaluate_records_edited_held_arrival_stays_held_in_its_new_form() -> None:
    before, after = completion(notes="before"), completion(notes="after")
    evidence = Evidence({"1": known(before, held=True)}, contents={"1": before})
    assert evaluate_records([after], evidence, context()) == Findings("acme", "space", refreshed=(after,))


def test_evaluate_records_answer_that_lacks_fields_does_not_refresh_records() -> None:
    one = completion()
    evidence = Evidence({"1": known(one)}, contents={"1": one}, lacks_fields=True)
    assert is_empty(evaluate_records([one], evidence, context()))
    assert evaluate_records([one], replace(evidence, lacks_fields=False), context()).refreshed == (one,)


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_evaluate_records_holds_arrivals_above_the_limit_but_not_news(arrivals: int, counted: int, limit: int) -> None:
    answer = [completion(str(number), MET - 1) for number in range(arrivals)]
    news = completion("news", MET + 1)
    findings = evaluate_records(
        [*answer, news], Evidence({}), context(holds=HoldState(HoldLimits(limit, 9), counted_arrivals=counted))
    )
    told = {change.completion.key for change in findings.changes}
    held = {learned.completion.key for learned in findings.held}
    everything = {one.key for one in answer}
    assert (told, held) == (({"news"}, everything) if counted + arrivals > limit else ({"news"} | everything, set()))


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9), st.sampled_from([None, Release.TELL, Release.LEARN]))
def test_evaluate_records_holds_changes_of_a_field_above_the_limit_unless_released(
    changes: int, counted: int, limit: int, release: Release | None
) -> None:
    before = [completion(str(number), notes="before") for number in range(changes)]
    after = [replace(one, notes="after", raw=one.raw + b" ") for one in before]
    evidence = Evidence(
        {one.key: known(one) for one in before},
        contents={one.key: one for one in before},
        held_changes={one.key for one in before if release is not None},
    )
    held = HoldState(HoldLimits(9, limit), counted_changes={"notes": counted}, release_changes=release)
    findings = evaluate_records(after, evidence, context(holds=held))
    too_many = release is None and counted + changes > limit
    assert len(findings.held_changes) == changes * too_many
    assert len(findings.changes) == changes * (release is not Release.LEARN and not too_many)
    assert len(findings.refreshed) == changes * (release is Release.LEARN)


def test_evaluate_records_silent_release_accepts_only_held_and_same_field_changes() -> None:
    before = [completion(str(number), notes="before") for number in range(3)]
    after = [
        replace(before[0], user_id="another", raw=b"0"),
        replace(before[1], notes="after", raw=b"1"),
        replace(before[2], user_id="another", raw=b"2"),
    ]
    evidence = Evidence(
        {one.key: known(one) for one in before}, contents={one.key: one for one in before}, held_changes={"0"}
    )
    held = HoldState(HoldLimits(9, 9), held_field="notes", release_changes=Release.LEARN)
    findings = evaluate_records(after, evidence, context(holds=held))
    assert [one.key for one in findings.refreshed] == ["0", "1"]
    assert [change.completion.key for change in findings.changes] == ["2"]


# Absences.


def suspects(states: Sequence[tuple[str, bool]]) -> tuple[list[Completion], Evidence]:
    """Make suspects; each is known, held or removed already, and its second look is due or has not begun."""
    absent = [completion(str(number)) for number in range(len(states))]
    return absent, Evidence(
        known={
            one.key: known(one, held=state == "held", removed=state == "removed")
            for one, (state, _) in zip(absent, states, strict=True)
        },
        looks={one.key: look(LookKind.REMOVAL, one) for one, (_, due) in zip(absent, states, strict=True) if due},
        due={one.key for one, (_, due) in zip(absent, states, strict=True) if due},
    )


suspected = st.lists(st.tuples(st.sampled_from(["known", "held", "removed"]), st.booleans()), max_size=12)
rooms = st.none() | st.integers(0, 12)


@given(suspected, rooms)
def test_evaluate_absences_never_exceeds_max_gone(states: list[tuple[str, bool]], max_gone: int | None) -> None:
    absent, evidence = suspects(states)
    findings = evaluate_absences(absent, max_gone, evidence, context())
    gone = len(findings.changes) + len(findings.dropped)
    due = sum(due for state, due in states if state != "removed")
    assert gone == (due if max_gone is None else min(max_gone, due))


@given(suspected, rooms)
def test_evaluate_absences_reports_only_due_removals(states: list[tuple[str, bool]], max_gone: int | None) -> None:
    absent, evidence = suspects(states)
    findings = evaluate_absences(absent, max_gone, evidence, context())
    told = [change.completion.key for change in findings.changes]
    assert {*told, *findings.dropped} <= {*evidence.due}
    assert all(states[int(key)] == ("known", True) for key in told)
    assert all(states[int(key)] == ("held", True) for key in findings.dropped)
    assert all(change.revision == 2 and change.type is EventType.REMOVED for change in findings.changes)
    assert {*findings.ended_looks} == {*told, *findings.dropped}


@given(suspected)
def test_evaluate_absences_first_absence_starts_the_wait(states: list[tuple[str, bool]]) -> None:
    absent, evidence = suspects(states)
    begun = {waiting.key for waiting in evaluate_absences(absent, None, evidence, context()).looks if waiting.since_ms}
    assert begun == {str(number) for number, (state, due) in enumerate(states) if state != "removed" and not due}


@given(suspected)
def test_evaluate_absences_with_max_gone_zero_starts_no_wait(states: list[tuple[str, bool]]) -> None:
    absent, evidence = suspects(states)
    findings = evaluate_absences(absent, 0, evidence, context())
    assert findings.changes == ()
    assert findings.dropped == ()
    assert all(waiting.since_ms is None for waiting in findings.looks)


@given(suspected, rooms)
def test_evaluate_absences_stale_answer_changes_nothing(states: list[tuple[str, bool]], max_gone: int | None) -> None:
    absent, evidence = suspects(states)
    newer = replace(evidence, changed_at={one.key: ASKED + 1 for one in absent})
    assert is_empty(evaluate_absences(absent, max_gone, newer, context()))


@given(suspected, rooms)
def test_evaluate_absences_unfinished_wait_is_unchanged(states: list[tuple[str, bool]], max_gone: int | None) -> None:
    absent, evidence = suspects([("known", True) for _ in states])
    assert is_empty(evaluate_absences(absent, max_gone, replace(evidence, due=set()), context()))


def test_evaluate_absences_interrupts_a_return_that_is_absent_again() -> None:
    one = completion()
    waiting = look(LookKind.RETURN, one)
    evidence = Evidence({"1": known(one, removed=True)}, looks={"1": waiting})
    assert evaluate_absences([one], None, evidence, context()).looks == (contradicted_look(waiting, NOW),)


@given(around, st.integers(1, 50), st.sampled_from(DetectedBy))
def test_removal_change_has_the_last_known_state_and_the_next_revision(
    recorded_at: int | None, revision: int, net: DetectedBy
) -> None:
    one = completion(recorded_at=recorded_at)
    change = removal_change(one, revision, net)
    assert change == Change(EventType.REMOVED, one, revision + 1, net, NewsReason.GONE)
    assert not NewsReason(change.reason).is_new_entry


# Smaller rules.


@given(st.lists(around, max_size=20))
def test_sorted_by_entry_puts_the_oldest_first_and_undated_last(entries: Sequence[int | None]) -> None:
    changes = [
        Change(EventType.CREATED, completion(str(index), at), 1, DetectedBy.HEAD, NewsReason.ENTERED_SINCE)
        for index, at in enumerate(entries)
    ]
    ordered = sorted_by_entry(changes)
    assert sorted(ordered, key=lambda change: int(change.completion.key)) == changes
    dated = [change.completion.recorded_at for change in ordered if change.completion.recorded_at is not None]
    assert dated == sorted(dated)
    assert all(change.completion.recorded_at is None for change in ordered[len(dated) :])


def test_sorted_by_entry_keeps_the_order_of_equal_times() -> None:
    changes = [
        Change(EventType.CREATED, completion(key), 1, DetectedBy.HEAD, NewsReason.ENTERED_SINCE) for key in "312"
    ]
    assert [change.completion.key for change in sorted_by_entry(changes)] == ["3", "1", "2"]


@pytest.mark.parametrize("name", CONTENT_FIELDS)
def test_changed_fields_names_each_changed_content_field(name: str) -> None:
    before = completion()
    value: Any = MET + 1 if name == "recorded_at" else True if name == "has_attachments" else "another"
    assert changed_fields(replace(before, **{name: value}), before) == (name,)


def test_changed_fields_is_empty_if_only_the_raw_json_differs() -> None:
    assert changed_fields(replace(completion(), raw=b'{"field_of_tomorrow": 1}'), completion()) == ()


@given(cases)
def test_changed_keys_returns_existing_records_with_other_json(case: Case) -> None:
    expected = [key for key, (_, state, *_) in case.rows.items() if state in ("new_form", "earlier_form", "other_json")]
    assert changed_keys(case.completions, case.evidence.known) == expected


@given(cases, baselines, holds)
def test_has_new_records_is_true_for_new_or_held_entries(case: Case, baseline: Baseline, held: HoldState) -> None:
    findings = evaluate_records(case.completions, case.evidence, context(baseline, held))
    fresh = any(NewsReason(change.reason).is_new_entry for change in findings.changes)
    assert has_new_records(findings) is (fresh or bool(findings.held))
