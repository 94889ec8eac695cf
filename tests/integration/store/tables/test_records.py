"""Writing records: history without events, and news with their events and deliveries."""

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.events import DetectedBy, EventType, Names, event_id, without_private_content
from notifier.kpa.versions import V2
from notifier.store.database import Database
from notifier.store.subscriptions import Subscription
from notifier.store.tables import outbox, record_lookups, records, sources
from notifier.store.tables.record_lookups import StoredRecord
from notifier.store.tables.records import Findings, SilentRecord
from tests.support.table_rows import table_rows

if TYPE_CHECKING:
    from tests.integration.store.conftest import MakeChange, MakeCompletion, NewDatabase

CREATED = frozenset({"completion.created"})
EVERYTHING = frozenset(EventType)


def count(db: Database) -> int:
    return sources.read_or_create(db, "acme").records


def write_history(db: Database, *completions: Any) -> None:
    learned = [SilentRecord(one, DetectedBy.SWEEP, "entered_before_first_meeting") for one in completions]
    records.write(db, Findings("acme", "acme", learned=learned), [Subscription("hr", EVERYTHING)], 1000)


def write_changes(db: Database, *changes: Any, to: tuple[Subscription, ...] = (), names: Names | None = None) -> Any:
    return records.write(db, Findings("acme", "space", changes=changes, names=names or Names()), to, 2000)


def rows(db: Database, table: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in table_rows(db, table)]


def test_history_is_stored_without_events(db: Database, completion: "MakeCompletion") -> None:
    one, two = completion("1"), completion("2")
    write_history(db, one, two)
    assert rows(db, "events", "id") == rows(db, "deliveries", "sequence") == []
    assert record_lookups.known_records(db, "acme", ["1", "2", "3"]) == {
        "1": StoredRecord(1, one.fingerprint(), removed=False, id=1),
        "2": StoredRecord(1, two.fingerprint(), removed=False, id=2),
    }
    assert count(db) == 2


def test_unchanged_ids_returns_existing_records_in_view_with_equal_json(
    db: Database, completion: "MakeCompletion"
) -> None:
    same, edited, gone, outside, unknown = (completion(str(number)) for number in range(1, 6))
    write_history(db, same, edited, gone, outside)
    db.execute("UPDATE records SET removed_at = 5 WHERE key = '3'")
    db.execute("UPDATE records SET out_of_view = 1 WHERE key = '4'")
    seen = [unknown, outside, gone, completion("2", {"other": 1}), same]
    assert record_lookups.unchanged_ids(db, "acme", {one.key: one.fingerprint() for one in seen}) == {"1": 1}
    assert record_lookups.unchanged_ids(db, "other", {"1": same.fingerprint()}) == {}
    assert record_lookups.unchanged_ids(db, "acme", {}) == {}


def test_known_record_is_not_overwritten_by_history(db: Database, completion: "MakeCompletion") -> None:
    write_history(db, completion("1"), completion("2"))
    write_history(db, completion("2", {"other": 1}), completion("3"))
    assert count(db) == 3
    assert record_lookups.stored_json(db, "acme", ["2"]) == {"2": completion("2").raw}


def test_news_writes_a_record_an_event_and_a_delivery_per_subscription(db: Database, change: "MakeChange") -> None:
    news = change("1238")
    to = (
        Subscription("hr", CREATED),
        Subscription("audit", EVERYTHING),
        Subscription("other", CREATED, frozenset({"globex"})),
    )
    names = Names({"5e580f0cb780600088bd2c11": "David Ball"}, {"1046": "Ladder Safety"})
    (event,) = write_changes(db, news, to=to, names=names)
    assert (event.id, event.type, event.source) == (event_id("space", news), "completion.created", "acme")
    assert (event.subject, event.time_ms) == ("1238", 2000)
    told = json.loads(event.data)["completion"]
    assert (told["user_name"], told["training_title"]) == ("David Ball", "Ladder Safety")
    assert rows(db, "events", "sequence", "id", "data") == [(event.sequence, event.id, event.data.decode())]
    assert rows(db, "deliveries", "sequence", "destination", "state") == [
        (event.sequence, "audit", "pending"),
        (event.sequence, "hr", "pending"),
    ]
    assert record_lookups.known_records(db, "acme", ["1238"])["1238"].revision == 1
    assert count(db) == 1


def test_event_without_subscriptions_is_written_without_deliveries(db: Database, change: "MakeChange") -> None:
    assert len(write_changes(db, change("1"))) == 1
    assert rows(db, "deliveries", "sequence") == []


def test_events_are_numbered_in_the_order_in_which_they_are_written(db: Database, change: "MakeChange") -> None:
    events = [*write_changes(db, change("9"), change("4")), *write_changes(db, change("7"))]
    assert [event.subject for event in events] == ["9", "4", "7"]
    sequences = [event.sequence for event in events]
    assert sequences == sorted(set(sequences))


def test_event_number_is_not_reused_after_the_last_event_is_deleted(db: Database, change: "MakeChange") -> None:
    (first,) = write_changes(db, change("1"))
    db.execute("DELETE FROM events")
    (second,) = write_changes(db, change("2"))
    assert second.sequence > first.sequence


def test_event_that_was_written_already_is_not_written_again(db: Database, change: "MakeChange") -> None:
    to = (Subscription("hr", EVERYTHING),)
    assert len(write_changes(db, change("1"), to=to)) == 1
    db.execute("DELETE FROM records")
    assert write_changes(db, change("1"), to=to) == []
    assert len(rows(db, "events", "id")) == len(rows(db, "deliveries", "sequence")) == 1
    assert "1" in record_lookups.known_records(db, "acme", ["1"])


def test_update_replaces_the_record_and_keeps_its_detection_method(
    db: Database, completion: "MakeCompletion", change: "MakeChange"
) -> None:
    before = completion("1", {"notes": "old"}, notes="old")
    after = completion("1", {"notes": "new"}, notes="new", completed_on="2020-02-28", user_id="u", training_id="t")
    write_history(db, before)
    (event,) = write_changes(db, change(after, EventType.UPDATED, 2, before))
    assert json.loads(event.data)["previous"] == {
        "notes": "old",
        "completed_on": "2020-02-27",
        "user_id": before.user_id,
        "training_id": "1046",
    }
    assert record_lookups.known_records(db, "acme", ["1"]) == {
        "1": StoredRecord(2, after.fingerprint(), removed=False, id=1)
    }
    assert record_lookups.stored_json(db, "acme", ["1"]) == {"1": after.raw}
    columns = ("completed_on", "user_id", "training_id", "seen_at", "net", "reason")
    assert rows(db, "records", *columns) == [("2020-02-28", "u", "t", 1000, "sweep", "entered_before_first_meeting")]
    assert count(db) == 1


def test_record_count_follows_removal_and_return_of_a_record(
    db: Database, completion: "MakeCompletion", change: "MakeChange"
) -> None:
    one = completion("1")
    write_history(db, one, completion("2"))
    write_changes(db, change(one, EventType.REMOVED, 2))
    assert record_lookups.known_records(db, "acme", ["1"])["1"] == StoredRecord(
        2, one.fingerprint(), removed=True, id=1
    )
    assert count(db) == 1
    write_changes(db, change(one, EventType.CREATED, 3))
    assert record_lookups.known_records(db, "acme", ["1"])["1"] == StoredRecord(
        3, one.fingerprint(), removed=False, id=1
    )
    assert count(db) == 2
    assert rows(db, "events", "type", "revision") == [("completion.removed", 2), ("completion.created", 3)]


def test_two_sources_can_have_the_same_key(db: Database, completion: "MakeCompletion", change: "MakeChange") -> None:
    sources.read_or_create(db, "globex")
    write_history(db, completion("1"))
    assert record_lookups.known_records(db, "globex", ["1"]) == {}
    (event,) = records.write(db, Findings("globex", "globex", changes=[change("1")]), (), 2000)
    assert event.source == "globex"
    assert (count(db), sources.read_or_create(db, "globex").records) == (1, 1)


keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@settings(max_examples=40)
@given(told=st.sets(keys, max_size=8), learned=st.sets(keys, max_size=8), unknown=st.sets(keys, max_size=8))
def test_known_records_returns_exactly_the_written_keys(
    new_database: "NewDatabase",
    completion: "MakeCompletion",
    change: "MakeChange",
    told: set[str],
    learned: set[str],
    unknown: set[str],
) -> None:
    with new_database() as db:
        write_history(db, *(completion(key) for key in learned))
        events = write_changes(db, *(change(key) for key in told - learned))
        assert {event.subject for event in events} == told - learned
        assert record_lookups.known_records(db, "acme", [*told, *learned, *unknown]).keys() == told | learned
        assert record_lookups.stored_json(db, "acme", [*unknown]).keys() == unknown & (told | learned)
        assert count(db) == len(told | learned)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
bulk = st.sampled_from([None, {"image": "x" * 9000}, [{"stroke": "x" * 300}] * 20, {"image": ""}, "x" * 9000])
records_v2 = st.fixed_dictionaries(
    {"id": st.just(1238), "training_id": st.just(1046), "m_user_id": st.just("5e58"), "date_number": st.just(20200227)},
    optional={
        "created": st.integers(0, 2**41),
        "notes": st.one_of(texts, texts.map(lambda text: text * 300)),
        "signature": bulk,
        "files": st.lists(st.fixed_dictionaries({"name": texts, "content": st.just("y" * 600)}), max_size=9),
        "field_of_tomorrow": bulk,
    },
)


@settings(max_examples=40)
@given(records_v2)
def test_stored_json_of_a_large_record_has_the_same_content(
    new_database: "NewDatabase", change: "MakeChange", record: dict[str, Any]
) -> None:
    (one,), bad = V2.parse([record])
    assert not bad
    with new_database() as db:
        (event,) = write_changes(db, change(one))
        assert json.loads(event.data)["record"] == json.loads(without_private_content(one.raw))
        (stored,) = record_lookups.stored_json(db, "acme", [one.key]).values()
        (again,), bad = V2.parse([json.loads(stored)])
        assert not bad
        assert again.content() == one.content()


def test_signature_of_a_record_is_not_stored(db: Database, completion: "MakeCompletion", change: "MakeChange") -> None:
    one = completion("1", {"signature": {"image": "x" * 100_000}, "files": [{"name": "card.jpg"}]})
    write_changes(db, change(one))
    (stored,) = record_lookups.stored_json(db, "acme", ["1"]).values()
    assert json.loads(stored) == {"id": "1", "signature": None, "files": [{"name": "card.jpg"}]}
    assert record_lookups.known_records(db, "acme", ["1"])["1"].fingerprint == one.fingerprint()


def test_write_findings_returns_the_first_deliveries_as_read_due_does(db: Database, change: "MakeChange") -> None:
    to = (Subscription("hr", EVERYTHING), Subscription("lms", EVERYTHING))
    changes = [change(str(number)) for number in range(1, 400)]
    written = records.write_findings(db, Findings("acme", "acme", changes=changes), to, 2000)
    for destination in ("hr", "lms"):
        queued = outbox.read_due(db, destination, now_ms=2000, horizon_ms=10**9, limit=400, in_flight=()).deliveries
        returned = [delivery for delivery in written.deliveries if delivery.destination == destination]
        assert returned == list(queued[: len(returned)])
        assert len(returned) == 250
