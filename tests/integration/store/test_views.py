"""The views of the state file, with which operators can query it by any SQLite tool."""

from typing import TYPE_CHECKING, Any

import pytest

from notifier.events import DetectedBy, EventType, Names
from notifier.store.database import Database
from notifier.store.subscriptions import Subscription
from notifier.store.tables import names, records
from notifier.store.tables.names import PersonName
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.settlements import Settlement, store_settlements
from tests.support.table_rows import table_rows

if TYPE_CHECKING:
    from tests.integration.store.conftest import MakeChange, MakeCompletion

DAVID = "5e580f0cb780600088bd2c11"
NOON = 1_582_804_800_000  # 2020-02-27 12:00:00
DETECTED, TRIED, NEXT = "2020-02-27 12:00:00", "2020-02-27 12:00:05", "2020-02-27 12:01:00"


@pytest.fixture
def filled_db(db: Database, completion: "MakeCompletion", change: "MakeChange") -> Database:
    """Store one old record and two new ones whose events go to two destinations, with deliveries in every state."""
    names.store_people(db, "acme", [PersonName(DAVID, "David Ball", None)])
    names.store_trainings(db, "acme", [("1046", "Ladder Safety")])
    history = [SilentRecord(completion("1"), DetectedBy.SWEEP, "entered_before_first_meeting")]
    news = [change("2"), change(completion("3", user_id="gone", recorded_at=None))]
    found = Findings("acme", "acme", history, news, Names({DAVID: "David Ball"}, {"1046": "Ladder Safety"}))
    to = [Subscription("hr", frozenset(EventType)), Subscription("slack", frozenset(EventType))]
    one, two = records.write(db, found, to, NOON)
    records.write(db, Findings("acme", "acme", changes=[change("2", EventType.REMOVED, 2)]), (), NOON + 9000)
    pending, dead, delivered = DeliveryState.PENDING, DeliveryState.DEAD, DeliveryState.DELIVERED
    store_settlements(
        db,
        [
            Settlement((one.sequence,), "hr", delivered, "done", "ok", 200, "", NOON + 5000, 10, 0),
            Settlement(
                (two.sequence,), "hr", pending, "retry", "http_status", 503, "busy", NOON + 5000, 30, NOON + 60_000
            ),
            Settlement((one.sequence,), "slack", dead, "give_up", "http_status", 400, "invalid", NOON + 5000, 20, 0),
        ],
    )
    return db


def rows(db: Database, view: str) -> list[dict[str, Any]]:
    return table_rows(db, view, as_read=True)


def test_every_view_returns_rows(filled_db: Database) -> None:
    for view in ("known_completions", "latest_events", "waiting_deliveries", "dead_deliveries", "attempt_outcomes"):
        assert rows(filled_db, view)


def test_known_completions_view_lists_records_with_detection_method_and_reason(filled_db: Database) -> None:
    known = {row["key"]: row for row in rows(filled_db, "known_completions")}
    assert known["1"].items() >= {
        ("person", "David Ball"),
        ("training", "Ladder Safety"),
        ("completed_on", "2020-02-27"),
        ("entered", "2020-02-27 19:07:21"),
        ("first_seen", DETECTED),
        ("net", "sweep"),
        ("reason", "entered_before_first_meeting"),
        ("revision", 1),
        ("removed", None),
    }
    assert known["2"]["removed"] == "2020-02-27 12:00:09"
    assert (known["3"]["person"], known["3"]["user_id"], known["3"]["entered"]) == (None, "gone", None)


def test_latest_events_view_lists_the_newest_event_first(filled_db: Database) -> None:
    latest = rows(filled_db, "latest_events")
    assert [(row["type"], row["record"]) for row in latest] == [
        ("completion.removed", "2"),
        ("completion.created", "3"),
        ("completion.created", "2"),
    ]
    assert latest[2].items() >= {
        ("detected", DETECTED),
        ("source", "acme"),
        ("person", "David Ball"),
        ("training", "Ladder Safety"),
        ("completed_on", "2020-02-27"),
        ("net", "head"),
    }
    assert latest[2]["id"].startswith("evt_")


def test_waiting_deliveries_view_lists_pending_deliveries_with_the_last_failure(filled_db: Database) -> None:
    hr, slack = sorted(rows(filled_db, "waiting_deliveries"), key=lambda row: str(row["destination"]))
    assert hr.items() >= {
        ("destination", "hr"),
        ("record", "3"),
        ("attempts", 1),
        ("detected", DETECTED),
        ("next_attempt", NEXT),
        ("reason", "http_status"),
        ("status", 503),
        ("detail", "busy"),
    }
    assert (slack["destination"], slack["record"], slack["attempts"], slack["reason"]) == ("slack", "3", 0, None)


def test_dead_deliveries_view_lists_dead_deliveries_with_the_last_answer(filled_db: Database) -> None:
    (dead,) = rows(filled_db, "dead_deliveries")
    assert dead.items() >= {
        ("destination", "slack"),
        ("record", "2"),
        ("attempts", 1),
        ("last_attempt", TRIED),
        ("decision", "give_up"),
        ("status", 400),
        ("detail", "invalid"),
    }


def test_attempt_outcomes_view_groups_attempts_by_destination_and_reason(filled_db: Database) -> None:
    outcomes = {(row["destination"], row["reason"]): row for row in rows(filled_db, "attempt_outcomes")}
    assert outcomes.keys() == {("hr", "ok"), ("hr", "http_status"), ("slack", "http_status")}
    assert outcomes["hr", "http_status"].items() >= {
        ("attempts", 1),
        ("average_milliseconds", 30.0),
        ("latest", TRIED),
    }
