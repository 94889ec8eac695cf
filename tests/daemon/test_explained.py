"""One record's life as programs get it, and the sentences that people get with it."""

from datetime import date
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.completions import Completion, Net
from notifier.config import FirstRun
from notifier.daemon.explained import forgotten, not_told, record_document
from notifier.daemon.sentences import FOUND, HISTORY, NEWS, NOT_TOLD, NotTold, why
from notifier.ledger import sources
from notifier.ledger.ledger import Ledger
from notifier.ledger.lives import EventLife, Life
from notifier.ledger.records import Findings, Learned, write
from notifier.ledger.subscriptions import Filter, Subscription
from notifier.watch.verdicts import Baseline, Reason, judge
from notifier.web.control import UnknownRecordError

if TYPE_CHECKING:
    from pathlib import Path

MET = 1_795_280_400_123


def test_every_way_to_find_a_record_has_a_sentence() -> None:
    assert set(FOUND) == set(Net)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_one_sentence(reason: Reason) -> None:
    assert (reason in HISTORY) != (reason in NEWS)
    assert why(reason).startswith(("history: it ", "news: it"))


def test_no_two_reasons_have_the_same_sentence() -> None:
    sentences = [*HISTORY.values(), *NEWS.values()]
    assert len(set(sentences)) == len(sentences)


def test_a_reason_of_another_version_stands_for_itself() -> None:
    assert why("found_in_a_dream") == "found_in_a_dream"


@given(
    recorded=st.none() | st.integers(MET - 10, MET + 10),
    met=st.none() | st.just(MET),
    swept=st.booleans(),
    first_run=st.sampled_from([FirstRun.SILENT, FirstRun.NOTIFY, date(2026, 11, 21)]),
)
def test_the_sentences_agree_with_the_verdicts_on_what_is_history(
    recorded: int | None, met: int | None, *, swept: bool, first_run: FirstRun | date
) -> None:
    judgement = judge([completion(recorded)], {}, Baseline(met, swept, first_run), Net.HEAD)
    assert all(learned.reason in HISTORY for learned in judgement.learned)
    assert all(change.reason in NEWS for change in judgement.changes)


@pytest.mark.parametrize(
    ("reason", "revision", "kept", "expected"),
    [
        (Reason.ENTERED_SINCE, 1, {1}, ()),
        (Reason.ENTERED_SINCE, 1, set(), (1,)),
        (Reason.ENTERED_BEFORE, 1, set(), ()),
        (Reason.ENTERED_BEFORE, 2, {2}, ()),
        (Reason.ENTERED_BEFORE, 3, {3}, (2,)),
        (Reason.FIRST_RUN, 3, {2}, (1, 3)),
    ],
)
def test_what_was_never_told_is_not_called_forgotten(
    reason: Reason, revision: int, kept: set[int], expected: tuple[int, ...]
) -> None:
    events = tuple(EventLife(n, "evt", "completion.updated", n, MET, Net.HEAD, reason, "7", "u", {}, ()) for n in kept)
    life = Life("acme", "1", "u", None, "t", None, None, None, MET, Net.HEAD, reason, revision, None, events)
    assert forgotten(life) == expected


def test_every_filter_and_a_later_configuration_have_a_sentence() -> None:
    assert set(NOT_TOLD) == set(NotTold) == {*Filter, "configured_later"}


@pytest.mark.parametrize(
    ("subscription", "reason"),
    [
        (Subscription("hr", frozenset({"completion.created"})), "events"),
        (Subscription("hr", frozenset({"completion.updated"}), sources=frozenset({"beta"})), "sources"),
        (Subscription("hr", frozenset({"completion.updated"}), training_ids=frozenset({"8"})), "training_ids"),
        (Subscription("hr", frozenset({"completion.updated"}), user_ids=frozenset({"v"})), "user_ids"),
        (Subscription("hr", frozenset({"completion.updated"})), "configured_later"),
    ],
)
def test_whoever_has_no_delivery_is_listed_with_the_reason(subscription: Subscription, reason: str) -> None:
    event = EventLife(1, "evt", "completion.updated", 1, MET, Net.HEAD, Reason.GONE, "7", "u", {}, ())
    assert not_told("acme", event, [subscription]) == {"hr": reason}


async def test_the_document_tells_each_source_that_knows_the_record(tmp_path: "Path") -> None:
    ledger = Ledger(tmp_path / "notifier.db")
    await ledger.open()
    try:
        for source in ("acme", "beta"):
            await ledger.run(sources.recall, source)
        judgement = judge([completion(MET + 1)], {}, Baseline(MET, swept=True, first_run=FirstRun.SILENT), Net.COUNT)
        wants = [Subscription("hr", frozenset({"completion.created"}))]
        (event,) = await ledger.run(write, Findings("acme", "acme", changes=judgement.changes), wants, MET)
        learned = [Learned(completion(None), Net.SWEEP, Reason.UNDATED_BEFORE_SWEEP)]
        await ledger.run(write, Findings("beta", "beta", learned=learned), wants, MET)
        document = await ledger.run(record_document, "1238", [*wants, Subscription("slack", frozenset())])
        with pytest.raises(UnknownRecordError, match="no source knows a record `1239`"):
            await ledger.run(record_document, "1239", [])
    finally:
        await ledger.close()
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
        "forgotten": [],
    }
    found = {
        "net": "count",
        "reason": "entered_since_first_meeting",
        "found": "by the list's count, which led to its place",
        "why": "news: it was entered since the notifier first met the account",
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
        "not_told_why": {"slack": "its `events` leave this type out"},
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
                "why": "history: it has no moment of entry, and the list had not been read to its end yet",
                "events": [],
            },
        },
    }


def completion(recorded_ms: int | None) -> Completion:
    return Completion("1238", "7", "u", "2026-01-01", None, recorded_ms, None, None, "", False, b'{"id":1238}')
