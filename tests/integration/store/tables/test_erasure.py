"""What is erased about people, and what stays so that no event is sent twice."""

import json
from contextlib import closing
from typing import Any

import pytest

from notifier.events import Change, Completion, DetectedBy, EventType, Names
from notifier.store.database import Database
from notifier.store.file.connection import FileDatabase
from notifier.store.migrations import migrations
from notifier.store.subscriptions import Subscription
from notifier.store.tables import destinations, erasure, expiries, holds, names, records, request_log, sources
from notifier.store.tables.destinations import Health, LastError
from notifier.store.tables.erasure import KnownPerson
from notifier.store.tables.expiries import ExpiryRow
from notifier.store.tables.names import PersonName
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.record_lookups import known_records, stored_json
from notifier.store.tables.records import Findings
from notifier.store.tables.request_log import LoggedRequest, SentRequest
from notifier.store.tables.settlements import Settlement, store_settlements
from notifier.store.tables.view import mark_out_of_view
from tests.integration.store.conftest import MakeCompletion
from tests.support.table_rows import STORE_TABLES, table_rows

NOW = 1_795_280_400_123
DAVID, EVE = "5e580f0cb780600088bd2c11", "eve"
HR = Subscription("hr", frozenset(EventType))


@pytest.fixture
def db(db: Database, completion: MakeCompletion) -> Database:
    """David has a removed record and an existing one, Eve an existing one whose instructor is David."""
    names.store_people(db, "acme", [PersonName(DAVID, "David Ball", "E-17"), PersonName(EVE, "Eve Ball", None)])
    number = {DAVID: {"employee_number": "E-17", "job_title": "Rigger"}, EVE: {}}
    known_names = Names({DAVID: "David Ball", EVE: "Eve Ball"}, person_facts=number)
    made = [
        completion("1", {"notes": "sore back"}, notes="sore back"),
        completion("2"),
        completion("3", {"m_instructor_id": DAVID}, user_id=EVE, instructor_id=DAVID),
    ]
    told = [Change(EventType.CREATED, it, 1, DetectedBy.HEAD, "new") for it in made]
    gone = [Change(EventType.REMOVED, made[0], 2, DetectedBy.SWEEP, "gone")]
    for changes in (told, gone):
        records.write(db, Findings("acme", "acme", changes=changes, names=known_names), [HR], NOW)
    return db


def everything(db: Database) -> str:
    """Return all that is stored, as text."""
    return "\n".join(str(table_rows(db, table)) for table in STORE_TABLES)


def test_erase_removed_erases_the_content_of_old_removed_records(db: Database) -> None:
    before = db.execute("SELECT key, revision, fingerprint, completed_on, removed_at FROM records").fetchall()
    assert erasure.erase_removed(db, NOW) == 0
    assert erasure.erase_removed(db, NOW + 1) == 1
    assert erasure.erase_removed(db, NOW + 1) == 0
    rows = dict(db.execute("SELECT key, user_id || record FROM records").fetchall())
    assert rows["1"] == "{}"
    assert DAVID in rows["2"]
    assert db.execute("SELECT key, revision, fingerprint, completed_on, removed_at FROM records").fetchall() == before
    assert stored_json(db, "acme", ["1", "2"]).keys() == {"2"}


def test_erase_removed_erases_the_person_in_expiry_announcements(db: Database) -> None:
    for key in ("1", "2"):
        expiries.store_announcement(db, "acme", ExpiryRow(key, "2026-01-01", DAVID, "10", "expired", 3, 1))
    erasure.erase_removed(db, NOW + 1)
    rows = {row.key: (row.user_id, row.turn) for row in expiries.announcements_of(db, "acme", ["1", "2"])}
    assert rows == {"1": ("", 3), "2": (DAVID, 3)}


def test_erase_records_keeps_expiry_announcements_of_records_that_the_account_has(db: Database) -> None:
    for key in ("1", "2"):
        expiries.store_announcement(db, "acme", ExpiryRow(key, "2026-01-01", DAVID, "10", "expired", 3, 0))
    erasure.erase_records(db, KnownPerson("acme", DAVID, "David Ball"), NOW)
    rows = {row.key: (row.user_id, row.turn) for row in expiries.announcements_of(db, "acme", ["1", "2"])}
    assert rows == {"1": ("", 3), "2": (DAVID, 3)}


def test_record_that_returns_after_erasure_gets_a_new_event_id(db: Database, completion: MakeCompletion) -> None:
    erasure.erase_removed(db, NOW + 1)
    memory = known_records(db, "acme", ["1"])["1"]
    back = Change(EventType.CREATED, completion("1"), memory.revision + 1, DetectedBy.HEAD, "back")
    (event,) = records.write(db, Findings("acme", "acme", changes=[back]), [HR], NOW)
    assert event.id not in {id_ for (id_,) in db.execute("SELECT id FROM events WHERE sequence < ?", [event.sequence])}
    assert stored_json(db, "acme", ["1"])


@pytest.mark.parametrize("text", [DAVID, "E-17", "David Ball"])
def test_find_people_matches_id_employee_number_or_exact_name(db: Database, text: str) -> None:
    assert erasure.find_people(db, text) == [KnownPerson("acme", DAVID, "David Ball")]
    assert erasure.find_people(db, text.lower() + "x") == []


def test_find_people_without_stored_names_searches_events_and_records(db: Database) -> None:
    db.execute("DELETE FROM people")
    assert erasure.find_people(db, DAVID) == [KnownPerson("acme", DAVID, "David Ball")]
    assert erasure.find_people(db, "David Ball") == [KnownPerson("acme", DAVID, "David Ball")]
    assert erasure.find_people(db, "E-17") == [KnownPerson("acme", DAVID, "David Ball")]
    db.execute("DELETE FROM deliveries")
    db.execute("DELETE FROM events")
    assert erasure.find_people(db, DAVID) == [KnownPerson("acme", DAVID, None)]


def test_erasing_a_person_keeps_only_their_existing_records(db: Database) -> None:
    person = KnownPerson("acme", DAVID, "David Ball")
    events = erasure.erase_events(db, person)
    assert (events.events, events.deliveries, events.behind) == (3, 3, None)
    assert erasure.erase_records(db, person, NOW) == erasure.Erased(records=1, names=1, living=1)
    left = everything(db)
    assert "David Ball" not in left
    assert "E-17" not in left
    assert "Rigger" not in left
    assert "sore back" not in left
    assert [row[0] for row in db.execute("SELECT key FROM records WHERE user_id = ?", [DAVID])] == ["2"]
    (data,) = db.execute("SELECT data FROM events").fetchone()
    described = json.loads(data)["completion"]
    assert (described["user_name"], described["instructor_id"], described["instructor_name"]) == (
        "Eve Ball",
        None,
        None,
    )


def test_erase_records_erases_records_that_the_filters_exclude(db: Database) -> None:
    mark_out_of_view(db, "acme", training_id="another", user_id=None, has_attachments=None)
    sources.update(db, "acme", held_arrivals=1)
    db.execute("UPDATE records SET held = 1 WHERE key = '2'")
    erased = erasure.erase_records(db, KnownPerson("acme", DAVID, "David Ball"), NOW + 5)
    assert erased == erasure.Erased(records=2, names=1)
    assert stored_json(db, "acme", ["1", "2"]) == {}
    removed = db.execute("SELECT key, removed_at FROM records WHERE removed_at IS NOT NULL ORDER BY key").fetchall()
    assert removed == [("1", NOW), ("2", NOW + 5)]
    assert holds.arrivals(db, "acme", 9) == []
    assert sources.read_or_create(db, "acme").held_arrivals == 0


def move(db: Database, before: Completion, after: Completion) -> int:
    """Write the event of a changed record; return its number."""
    change = Change(EventType.UPDATED, after, 2, DetectedBy.SWEEP, "changed", before)
    (event,) = records.write(db, Findings("acme", "acme", changes=[change]), [HR], NOW)
    return event.sequence


def test_erase_events_erases_a_person_from_events_of_reassigned_records(
    db: Database, completion: MakeCompletion
) -> None:
    given = move(db, completion("2", notes="sore back"), completion("2", user_id=EVE, instructor_id="x"))
    taught = move(db, completion("3", user_id=EVE, instructor_id=DAVID), completion("3", user_id=EVE, notes="new"))
    (text,) = db.execute("SELECT data FROM events WHERE sequence = ?", [given]).fetchone()
    request = SentRequest((), 9, "d", (), "no badge for David")
    request_log.write(db, "hr", [LoggedRequest(5, (given,), request), LoggedRequest(5, (taught,), request)])
    erasure.erase_events(db, KnownPerson("acme", DAVID, None))
    assert db.execute("SELECT count(*) FROM request_log").fetchone() == (0,)
    found = dict(db.execute("SELECT sequence, data FROM events").fetchall())
    assert DAVID not in str(table_rows(db, "events"))
    before = json.loads(text)
    assert json.loads(found[given]) == before | {"previous": before["previous"] | {"user_id": None, "notes": None}}
    assert json.loads(found[taught])["previous"] == {"instructor_id": None, "notes": ""}


def test_erase_events_erases_answers_shared_with_other_events(db: Database, completion: MakeCompletion) -> None:
    new = [Change(EventType.CREATED, completion(key, user_id=EVE), 1, DetectedBy.HEAD, "new") for key in "56"]
    made = records.write(db, Findings("acme", "acme", changes=new), [HR], NOW)
    shared, apart = (event.sequence for event in made)
    ended = DeliveryState.DEAD, "give_up", "server_error", 500
    answered = [((1, 2, shared), "David is unknown", 7), ((apart,), "out of order", 8), ((3,), "David again", 9)]
    store_settlements(db, [Settlement(numbers, "hr", *ended, text, at, 5, 0) for numbers, text, at in answered])
    destinations.read_or_create(db, "hr")
    destinations.store_health(db, "hr", Health(), LastError("server_error", "David is unknown", 9))
    erasure.erase_events(db, KnownPerson("acme", DAVID, None))
    erasure.erase_records(db, KnownPerson("acme", DAVID, None), NOW)
    assert "David" not in everything(db)
    assert destinations.read_all(db)["hr"].last_error == LastError("server_error", "", 9)
    details = "SELECT sequence, detail FROM {} WHERE sequence IN (?, ?) ORDER BY sequence"
    for table in ("attempts", "deliveries"):
        rows = db.execute(details.format(table), [shared, apart]).fetchall()
        assert rows == [(shared, None), (apart, "out of order")]


@pytest.mark.parametrize("text", ["gone", "instructor"])
def test_find_people_searches_the_events_of_other_people(db: Database, completion: MakeCompletion, text: str) -> None:
    move(db, completion("2", user_id="gone"), completion("2", user_id=EVE, instructor_id="instructor"))
    (person,) = erasure.find_people(db, text)
    assert person == KnownPerson("acme", text, None)


def test_delete_names_keeps_users_and_people_with_records(db: Database) -> None:
    names.store_people(db, "acme", [PersonName("left", "Long Gone", None), PersonName("here", "No Record", None)])
    assert erasure.delete_names(db, "acme", ["here"]) == 1
    assert {id_ for (id_,) in db.execute("SELECT id FROM people")} == {DAVID, EVE, "here"}


def signed(completion: MakeCompletion, key: str = "9") -> Completion:
    content = "JVBERi0xLjQ" * 40
    raw: dict[str, Any] = {
        "signature": {"points": [[4, 18]]},
        "files": [{"name": "card.pdf", "size": 3, "content": content, "pages": ["x"]}, "a bare one"],
    }
    return completion(key, raw, has_attachments=True)


def test_signature_and_file_content_are_not_stored(db: Database, completion: MakeCompletion) -> None:
    one = signed(completion)
    change = Change(EventType.CREATED, one, 1, DetectedBy.HEAD, "new")
    records.write(db, Findings("acme", "acme", changes=[change]), [HR], NOW)
    assert "JVBERi0xLjQ" not in everything(db)
    assert "points" not in everything(db)
    record = json.loads(stored_json(db, "acme", ["9"])["9"])
    assert record == {"id": "9", "signature": None, "files": [{"name": "card.pdf", "size": 3}, None]}
    assert known_records(db, "acme", ["9"])["9"].fingerprint == one.fingerprint()


def test_migration_erases_private_content_and_keeps_the_fingerprint(completion: MakeCompletion) -> None:
    one = signed(completion)
    with closing(FileDatabase(memory=True)) as db:
        earlier = [step for step in migrations.pending(db) if step.name != "personal_data"]
        for step in earlier:
            step.fn(db)
        values = ["acme", "9", 1, "u", "t", NOW, "head", "new", one.fingerprint(), one.raw.decode()]
        db.execute(
            "INSERT INTO records (source, key, revision, user_id, training_id, seen_at, net, reason, fingerprint,"
            " record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        (step,) = [step for step in migrations.pending(db) if step.name == "personal_data"]
        step.fn(db)
        assert known_records(db, "acme", ["9"])["9"].fingerprint == one.fingerprint()
        assert json.loads(stored_json(db, "acme", ["9"])["9"]) == {"id": "9", "signature": None, "files": [None, None]}


async def test_state_file_has_secure_delete_on(store: Any) -> None:
    def on(db: Database) -> int:
        return int(db.execute("PRAGMA secure_delete").fetchone()[0])

    assert await store.run(on) == 1
