"""The history of one record: all that the store has about it, with its events, deliveries and attempts."""

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from notifier.events import DetectedBy, EventType
from notifier.store.database import Database
from notifier.store.file.connection import FileDatabase, open_file_read_only
from notifier.store.file.store import FileStore
from notifier.store.queries.record_history import FieldChange, PastAttempt, RecordHistory, record_histories
from notifier.store.subscriptions import Subscription
from notifier.store.tables import names, records, retention, settlements, sources
from notifier.store.tables.names import PersonName
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.settlements import Settlement

if TYPE_CHECKING:
    from notifier.events import Change
    from tests.integration.store.conftest import MakeChange, MakeCompletion, WriteEvents

NOW = 1_795_280_400_123
DAVID = "5e580f0cb780600088bd2c11"
HR = Subscription("hr", frozenset(EventType))


def write(db: Database, *changes: "Change", source: str = "acme", now_ms: int = NOW) -> None:
    records.write(db, Findings(source, source, changes=changes), [HR], now_ms)


def learn(db: Database, completion: "MakeCompletion", source: str, net: DetectedBy = DetectedBy.SWEEP) -> None:
    sources.read_or_create(db, source)
    learned = [SilentRecord(completion("1238"), net, "entered_before_first_meeting")]
    records.write(db, Findings(source, source, learned=learned), [HR], NOW)


def settle(db: Database, sequence: int, state: DeliveryState, status: int, at_ms: int, *, to: str = "hr") -> None:
    settlements.store_settlements(
        db, [Settlement((sequence,), to, state, "decided", "ended", status, "said", at_ms, 12, 0)]
    )


def single_history(db: Database, key: str = "1238") -> RecordHistory:
    (life,) = record_histories(db, key)
    return life


def test_record_histories_of_an_unknown_key_is_empty(db: Database, write_events: "WriteEvents") -> None:
    write_events(db, "1238")
    assert [record_histories(db, key) for key in ("123", "12388", "", "%", "\0", "\udcff")] == [[]] * 6


def test_record_history_has_the_record_and_the_names_known_now(db: Database, write_events: "WriteEvents") -> None:
    write_events(db, "1238", now_ms=NOW)
    assert (single_history(db).user_name, single_history(db).training_title) == (None, None)
    names.store_people(db, "acme", [PersonName(DAVID, "David Ball", None)])
    names.store_trainings(db, "acme", [("1046", "Ladder Safety")])
    life = single_history(db)
    assert (life.source, life.key) == ("acme", "1238")
    assert (life.user_id, life.user_name) == (DAVID, "David Ball")
    assert (life.training_id, life.training_title) == ("1046", "Ladder Safety")
    assert (life.completed_on, life.recorded_ms, life.seen_ms) == ("2020-02-27", 1_582_830_441_803, NOW)
    assert (life.detected_by, life.reason, life.revision) == (DetectedBy.HEAD, "entered_since_first_meeting", 1)
    assert life.removed_ms is None


def test_record_histories_returns_one_for_each_source_with_the_key(
    db: Database, write_events: "WriteEvents", completion: "MakeCompletion"
) -> None:
    learn(db, completion, "zeta")
    learn(db, completion, "beta", DetectedBy.COUNT)
    write_events(db, "1238", "1239")
    found = record_histories(db, "1238")
    assert [(life.source, life.detected_by, len(life.events)) for life in found] == [
        ("acme", DetectedBy.HEAD, 1),
        ("beta", DetectedBy.COUNT, 0),
        ("zeta", DetectedBy.SWEEP, 0),
    ]


def test_record_history_lists_events_in_order_with_their_changes(
    db: Database, change: "MakeChange", completion: "MakeCompletion"
) -> None:
    first, second = completion("1238"), completion("1238", notes="signed", completed_on=None)
    write(db, change(first))
    write(db, change("1239"))
    write(db, change(second, EventType.UPDATED, 2, previous=first), now_ms=NOW + 1)
    write(db, change(second, EventType.REMOVED, 3), now_ms=NOW + 2)
    life = single_history(db)
    assert (life.revision, life.removed_ms, life.completed_on) == (3, NOW + 2, None)
    assert [(event.sequence, event.type, event.revision, event.detected_ms) for event in life.events] == [
        (1, "completion.created", 1, NOW),
        (3, "completion.updated", 2, NOW + 1),
        (4, "completion.removed", 3, NOW + 2),
    ]
    assert [event.changes for event in life.events] == [
        {},
        {"completed_on": FieldChange("2020-02-27", None), "notes": FieldChange("", "signed")},
        {},
    ]
    assert life.events[0].id.startswith("evt_")
    assert (life.events[1].detected_by, life.events[1].reason) == (DetectedBy.HEAD, "entered_since_first_meeting")


def test_record_history_lists_the_attempts_of_each_delivery_in_order(db: Database, write_events: "WriteEvents") -> None:
    first, other = write_events(db, "1238", "1239", to=("hr", "slack"))
    settle(db, first, DeliveryState.PENDING, 500, NOW)
    settle(db, first, DeliveryState.DEAD, 404, NOW + 1, to="slack")
    settle(db, other, DeliveryState.DELIVERED, 202, NOW + 2)
    # The clock was set back meanwhile: the order is still that of the attempts.
    settle(db, first, DeliveryState.DELIVERED, 204, NOW - 1000)
    (event,) = single_history(db).events
    hr, slack = event.deliveries
    assert (hr.delivery.destination, hr.delivery.state, hr.delivery.attempts) == ("hr", DeliveryState.DELIVERED, 2)
    assert hr.attempts == (
        PastAttempt(NOW, 12, "decided", "ended", 500, "said"),
        PastAttempt(NOW - 1000, 12, "decided", "ended", 204, "said"),
    )
    assert (slack.delivery.destination, slack.delivery.state) == ("slack", DeliveryState.DEAD)
    assert [attempt.status for attempt in slack.attempts] == [404]


def test_event_without_destinations_has_no_deliveries(db: Database, write_events: "WriteEvents") -> None:
    write_events(db, "1238", to=())
    (event,) = single_history(db).events
    assert event.deliveries == ()


@pytest.mark.parametrize("forgotten", [0, 1, 2, 3])
def test_record_history_lists_revisions_whose_events_were_deleted(
    db: Database, change: "MakeChange", completion: "MakeCompletion", forgotten: int
) -> None:
    versions = [completion("1238", notes=str(number)) for number in range(3)]
    write(db, change(versions[0]), now_ms=1)
    for number in (1, 2):
        update = change(versions[number], EventType.UPDATED, number + 1, previous=versions[number - 1])
        write(db, update, now_ms=number + 1)
    for sequence in (1, 2, 3):
        settle(db, sequence, DeliveryState.DELIVERED, 200, NOW)
    assert retention.delete_old_events(db, forgotten + 1).events == forgotten
    life = single_history(db)
    assert len(life.events) == 3 - forgotten
    assert life.revisions_without_event == (1, 2, 3)[:forgotten]


def test_record_history_excludes_an_alert_with_the_same_subject(db: Database, write_events: "WriteEvents") -> None:
    write_events(db, "acme")
    db.execute(
        "INSERT INTO events (id, type, source, subject, revision, net, reason, detected_at, data)"
        " VALUES ('evt_notice', 'notifier.alert', 'acme', 'acme', 0, '', '', 0, '{}')"
    )
    assert [event.type for event in single_history(db, "acme").events] == ["completion.created"]


async def test_record_history_can_be_read_beside_the_writing_store(
    store: FileStore, write_events: "WriteEvents"
) -> None:
    await store.run(sources.read_or_create, "acme")
    with closing(open_file_read_only(store.path)) as reader:
        assert record_histories(reader, "1238") == []
        await store.run(write_events, "1238")
        assert single_history(reader) == (await store.run(record_histories, "1238"))[0]


def test_record_histories_queries_scan_no_large_table(file_db: FileDatabase, write_events: "WriteEvents") -> None:
    write_events(file_db, "1238")
    asked: list[tuple[str, list[object]]] = []
    with file_db.tracer(lambda sql, values: asked.append((sql, list(values or [])))):
        record_histories(file_db, "1238")
    plans = [
        file_db.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall() for sql, values in asked if "SELECT" in sql
    ]
    steps = [step[-1] for plan in plans for step in plan]
    assert len(plans) == 6
    assert "SEARCH r USING INDEX records_by_key (source=? AND key=?)" in steps
    # There are only as many sources as are configured; json_each holds the requested numbers.
    scanned = {step for step in steps if step.startswith("SCAN")}
    assert scanned <= {"SCAN s", "SCAN json_each VIRTUAL TABLE INDEX 1:"}
