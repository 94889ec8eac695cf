"""The history of one record as a JSON document, and the sentences in it for people."""

from datetime import date
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.config import FirstRun
from notifier.daemon.api.record import deleted_revisions, record_document, unsent_reasons, withheld_changes
from notifier.daemon.api.record_sentences import (
    DETECTION_SENTENCES,
    HISTORY_SENTENCES,
    NEEDED_ANSWERS,
    NEWS_SENTENCES,
    UNCONFIRMED_CHANGES,
    UNSENT_SENTENCES,
    UnsentReason,
    reason_sentence,
)
from notifier.events import Completion, DetectedBy
from notifier.patterns import Patterns
from notifier.store.file.store import FileStore
from notifier.store.queries.record_history import EventHistory, RecordHistory
from notifier.store.subscriptions import Filter, KnownFacts, Subscription
from notifier.store.tables import sources
from notifier.store.tables.records import Findings, SilentRecord, write
from notifier.store.tables.second_looks import LookKind, SecondLook
from notifier.watch.detection.evidence import AnswerContext, Evidence, HoldState, evaluate_records
from notifier.watch.detection.holds import HoldLimits
from notifier.watch.detection.news import Baseline, NewsReason
from notifier.web.daemon_api import UnknownRecordError
from tests.support.new_state_file import new_state_file

if TYPE_CHECKING:
    from pathlib import Path

MET = 1_795_280_400_123
LIFE = RecordHistory(
    "acme",
    "1",
    "u",
    None,
    "t",
    None,
    None,
    None,
    MET,
    DetectedBy.HEAD,
    NewsReason.ENTERED_SINCE,
    1,
    None,
    held=False,
    held_field=None,
    out_of_view=False,
    look=None,
    events=(),
)


def evaluate(completion: Completion, baseline: Baseline, net: DetectedBy, *, arrivals: int = 200) -> Findings:
    holds = HoldState(HoldLimits(arrivals, 200))
    return evaluate_records([completion], Evidence({}), AnswerContext("acme", "acme", net, 0.0, MET, baseline, holds))


def test_every_detection_method_has_a_sentence() -> None:
    assert set(DETECTION_SENTENCES) == set(DetectedBy)


@pytest.mark.parametrize("reason", NewsReason)
def test_every_news_reason_has_one_sentence(reason: NewsReason) -> None:
    assert (reason in HISTORY_SENTENCES) != (reason in NEWS_SENTENCES)
    assert reason_sentence(reason).startswith(("history: it ", "news: it", "held back: it "))


def test_sentences_of_news_reasons_are_unique() -> None:
    sentences = [*HISTORY_SENTENCES.values(), *NEWS_SENTENCES.values()]
    assert len(set(sentences)) == len(sentences)


def test_reason_sentence_of_an_unknown_reason_returns_the_reason() -> None:
    assert reason_sentence("found_in_a_dream") == "found_in_a_dream"


@given(
    recorded=st.none() | st.integers(MET - 10, MET + 10),
    met=st.none() | st.just(MET),
    swept=st.booleans(),
    first_run=st.sampled_from([FirstRun.SILENT, FirstRun.NOTIFY, date(2026, 11, 21)]),
    view_since=st.none() | st.integers(MET - 10, MET + 10),
    arrivals=st.sampled_from([0, 200]),
)
def test_sentences_and_evaluation_agree_on_what_is_history_and_news(
    recorded: int | None,
    met: int | None,
    *,
    swept: bool,
    first_run: FirstRun | date,
    view_since: int | None,
    arrivals: int,
) -> None:
    baseline = Baseline(met, swept, first_run, view_since_ms=view_since)
    findings = evaluate(completion(recorded), baseline, DetectedBy.HEAD, arrivals=arrivals)
    assert all(learned.reason in HISTORY_SENTENCES for learned in (*findings.learned, *findings.held))
    assert all(change.reason in NEWS_SENTENCES for change in findings.changes)
    assert len(findings.learned) + len(findings.held) + len(findings.changes) == 1


@pytest.mark.parametrize(
    ("reason", "revision", "kept", "expected"),
    [
        (NewsReason.ENTERED_SINCE, 1, {1}, ()),
        (NewsReason.ENTERED_SINCE, 1, set(), (1,)),
        (NewsReason.ENTERED_BEFORE, 1, set(), ()),
        (NewsReason.ENTERED_BEFORE, 2, {2}, ()),
        (NewsReason.ENTERED_BEFORE, 3, {3}, (2,)),
        (NewsReason.FIRST_RUN, 3, {2}, (1, 3)),
    ],
)
def test_deleted_revisions_omits_revisions_that_never_had_an_event(
    reason: NewsReason, revision: int, kept: set[int], expected: tuple[int, ...]
) -> None:
    events = tuple(
        EventHistory(n, "evt", "completion.updated", n, MET, DetectedBy.HEAD, reason, "7", "u", {}, ()) for n in kept
    )
    assert deleted_revisions(replace(LIFE, reason=reason, revision=revision, events=events)) == expected


@pytest.mark.parametrize("kind", LookKind)
def test_withheld_changes_show_the_times_and_the_needed_answer_of_a_second_look(kind: LookKind) -> None:
    look = SecondLook("1", kind, MET, MET - 5, DetectedBy.COUNT, 0, "u", "t")
    (one,) = withheld_changes(replace(LIFE, look=look), 300.0)
    assert (one.kind, one.why, one.missing) == (kind, UNCONFIRMED_CHANGES[kind], NEEDED_ANSWERS[kind])
    assert (one.since_ms, one.not_before_ms) == (MET, MET + 300_000)


def test_withheld_changes_after_a_contradicting_answer_have_no_times() -> None:
    look = SecondLook("1", LookKind.REMOVAL, None, MET, DetectedBy.COUNT, 0, "u", "t", flips=2, flipped_ms=MET)
    (one,) = withheld_changes(replace(LIFE, look=look), 300.0)
    assert "a later answer contradicted this" in one.why
    assert (one.since_ms, one.not_before_ms) == (None, None)


def test_withheld_changes_of_an_unconfigured_source_have_no_end_time() -> None:
    look = SecondLook("1", LookKind.REMOVAL, MET, MET, DetectedBy.COUNT, 0, "u", "t")
    assert [one.not_before_ms for one in withheld_changes(replace(LIFE, look=look), None)] == [None]


def test_withheld_changes_of_a_held_record_name_the_release_command() -> None:
    arrival, change = withheld_changes(replace(LIFE, held=True, held_field="notes"), 300.0)
    assert (arrival.kind, arrival.since_ms) == ("held_arrivals", MET)
    assert "`notifier release acme arrivals`" in arrival.missing
    assert (change.kind, change.since_ms) == ("held_changes", None)
    assert "`notes`" in change.why
    assert "`notifier release acme changes`" in change.missing


def test_withheld_changes_of_an_ordinary_record_are_empty() -> None:
    assert withheld_changes(LIFE, 300.0) == []


def test_every_kind_of_second_look_has_sentences() -> None:
    assert set(UNCONFIRMED_CHANGES) == set(NEEDED_ANSWERS) == set(LookKind)


def test_every_unsent_reason_has_a_sentence() -> None:
    assert set(UNSENT_SENTENCES) == set(UnsentReason) == {*Filter, "configured_later"}


@pytest.mark.parametrize(
    ("subscription", "reason"),
    [
        (Subscription("hr", frozenset({"completion.created"})), "events"),
        (Subscription("hr", frozenset({"completion.updated"}), sources=frozenset({"beta"})), "sources"),
        (Subscription("hr", frozenset({"completion.updated"}), training_ids=frozenset({"8"})), "training_ids"),
        (Subscription("hr", frozenset({"completion.updated"}), user_ids=frozenset({"v"})), "user_ids"),
        (Subscription("hr", frozenset({"completion.updated"}), trainings=Patterns.of(["Crane*"])), "trainings"),
        (Subscription("hr", frozenset({"completion.updated"}), people=Patterns.of(["E1"])), "people"),
        (Subscription("hr", frozenset({"completion.updated"}), field_offices=Patterns.of(["f1"])), "configured_later"),
        (Subscription("hr", frozenset({"completion.updated"})), "configured_later"),
    ],
)
def test_unsent_reasons_lists_destinations_without_a_delivery(subscription: Subscription, reason: str) -> None:
    event = EventHistory(
        1,
        "evt",
        "completion.updated",
        1,
        MET,
        DetectedBy.HEAD,
        NewsReason.GONE,
        "7",
        "u",
        {},
        (),
        KnownFacts("Ladder Safety", {"employee_number": None}),
    )
    assert unsent_reasons("acme", event, [subscription]) == {"hr": reason}


PEOPLE = Patterns.of(["E1", "!E2"])
ID = "0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("filters", "known", "expected"),
    [
        ({}, KnownFacts(), ()),
        ({"trainings": Patterns.of(["!Crane*"])}, KnownFacts(), ("trainings",)),
        ({"trainings": Patterns.of(["L*"])}, KnownFacts("Ladders"), ()),
        ({"people": PEOPLE}, KnownFacts("Ladders"), ("people",)),
        ({"people": PEOPLE}, KnownFacts("Ladders", {}), ("people",)),
        ({"people": PEOPLE}, KnownFacts(None, {"employee_number": "E1"}), ()),
        ({"people": PEOPLE}, KnownFacts(None, {"employee_number": None}), ()),
        ({"people": Patterns.of([ID])}, KnownFacts(), ()),
        ({"people": Patterns.of([ID, "E1"])}, KnownFacts(), ()),
        ({"job_titles": Patterns.of(["Rigger"])}, KnownFacts(None, {"job_title": "Rigger"}), ()),
        # The title decides; the id of a job is known only if it was chosen.
        ({"job_titles": Patterns.of(["Rigger"])}, KnownFacts(None, {"job_title": "Welder"}), ()),
        ({"job_titles": Patterns.of(["Rigger"])}, KnownFacts(None, {}), ("job_titles",)),
    ],
)
def test_undecided_filters_returns_filters_that_need_unknown_facts(
    filters: dict[str, Patterns], known: KnownFacts, expected: tuple[str, ...]
) -> None:
    assert Subscription("hr", frozenset(), **filters).undecided_filters(ID, known) == expected  # type: ignore[arg-type]


async def test_record_document_contains_each_source_that_has_the_record(tmp_path: "Path") -> None:
    store = FileStore(new_state_file(tmp_path / "notifier.db"))
    await store.open()
    try:
        for source in ("acme", "beta"):
            await store.run(sources.read_or_create, source)
        baseline = Baseline(MET, swept=True, first_run=FirstRun.SILENT)
        findings = evaluate(completion(MET + 1), baseline, DetectedBy.COUNT)
        # Filters that check facts that have not been read yet: the event is sent anyway.
        wants = [
            Subscription(
                "hr",
                frozenset({"completion.created"}),
                trainings=Patterns.of(["Crane*"]),
                people=Patterns.of(["E1"]),
                job_titles=Patterns.of([]),
            )
        ]
        (event,) = await store.run(write, findings, wants, MET)
        learned = [SilentRecord(completion(None), DetectedBy.SWEEP, NewsReason.UNDATED_BEFORE_SWEEP)]
        await store.run(write, Findings("beta", "beta", learned=learned), wants, MET)
        document = await store.run(record_document, "1238", [*wants, Subscription("slack", frozenset())], {})
        with pytest.raises(UnknownRecordError, match="no source knows a record `1239`"):
            await store.run(record_document, "1239", [], {})
    finally:
        await store.close()
    record: dict[str, Any] = {
        "key": "1238",
        "user_id": "u",
        "user_name": None,
        "training_id": "7",
        "training_title": None,
        "completed_on": "2026-01-01",
        "seen_at": "2026-11-21T17:00:00.123Z",
        "removed_at": None,
        "revision": 1,
        "in_view": True,
        "withheld": [],
        "forgotten": [],
    }
    found = {
        "net": "count",
        "reason": "entered_since_first_meeting",
        "found": "by the API's count, which started a search",
        "why": "news: it was entered after the notifier first read the account",
    }
    delivery = {
        "sequence": 1,
        "event": event.id,
        "type": "completion.created",
        "source": "acme",
        "record": "1238",
        "destination": "hr",
        "state": "pending",
        "attempts": 0,
        "decision": None,
        "reason": None,
        "status": None,
        "detail": None,
        "last_attempt": None,
        "next_attempt": None,
        "scheduled_for": None,
        "attempt_log": [],
    }
    told = {
        "sequence": 1,
        "id": event.id,
        "type": "completion.created",
        "revision": 1,
        "detected_at": "2026-11-21T17:00:00.123Z",
        **found,
        "changes": {},
        "deliveries": [delivery],
        "not_told": {"slack": "events"},
        "not_told_why": {"slack": "its `events` exclude this type"},
        "not_judged": {"hr": ["trainings", "people"]},
        "not_judged_why": {
            "hr": "sent although its `trainings` and `people` could not be judged: the training's title and the"
            " person's employee number were unknown when the event was made, and a filter lets an event pass if what it"
            " checks is unknown"
        },
    }
    assert orjson.loads(orjson.dumps(document)) == {
        "key": "1238",
        "sources": {
            "acme": {"source": "acme", "recorded_at": "2026-11-21T17:00:00.124Z", **record, **found, "events": [told]},
            "beta": {
                "source": "beta",
                "recorded_at": None,
                **record,
                "net": "sweep",
                "reason": "undated_before_first_sweep",
                "found": "by a sweep of the whole list",
                "why": "history: it has no time of entry, and the list had not been read to its end yet",
                "events": [],
            },
        },
    }


def completion(recorded_ms: int | None) -> Completion:
    return Completion("1238", "7", "u", "2026-01-01", None, recorded_ms, None, None, "", False, b'{"id":1238}')
