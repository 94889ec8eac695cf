"""The figures of the dashboard: what is counted, on which day, and that no large table is scanned for it."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.events import EventType
from notifier.store.file.connection import FileDatabase
from notifier.store.migrations import migrations
from notifier.store.queries import dashboard, search
from notifier.store.queries.dashboard import Latency, quantile
from notifier.store.subscriptions import Subscription
from notifier.store.tables import alert_events, outbox, records_by_person, requeue, retention, rollups
from notifier.store.tables.conditions import ConditionChange, ConditionState, StoredCondition
from notifier.store.tables.outbox import Delivery, DeliveryState
from notifier.store.tables.records import Findings, write
from notifier.store.tables.requeue import ReplayRange, RetrySelection
from notifier.store.tables.settlements import Settlement, store_settlements
from tests.integration.store.conftest import EVENTS

if TYPE_CHECKING:
    from tests.integration.store.conftest import MakeChange, WriteEvents

NOON = round(datetime(2026, 11, 25, 12, 0, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000
DAY = 24 * HOUR


def delivered(
    sequence: int, at_ms: int, *, to: str = "hr", took: int = 0, state: str = "delivered", again: bool = False
) -> Settlement:
    """Make the outcome of an event that was detected at noon."""
    detected_ms = () if again else (NOON,)
    return Settlement(
        (sequence,), to, DeliveryState(state), "done", "ok", 200, "", at_ms, took, 0, detected_ms=detected_ms
    )


def due(db: FileDatabase, name: str, now_ms: int) -> Sequence[Delivery]:
    return outbox.read_due(db, name, now_ms=now_ms, horizon_ms=now_ms, limit=10, in_flight=()).deliveries


def test_dashboard_counts_each_event_on_the_day_of_its_detection(
    db: FileDatabase, write_events: "WriteEvents", change: "MakeChange"
) -> None:
    for days_ago in (0, 0, 1, 29, 30):
        write_events(db, f"{days_ago}-{len(dashboard.latest_events(db, 100))}", now_ms=NOON - days_ago * DAY)
    changed = Findings("acme", "acme", changes=[change("9", EventType.UPDATED, 2, previous=change("9").completion)])
    write(db, changed, [], NOON)
    write(db, Findings("acme", "acme", changes=[change("9", EventType.REMOVED, 3)]), [], NOON)
    days = dashboard.read_counts(db, NOON, UTC).days
    assert [day.date for day in days] == [date(2026, 11, 25) - timedelta(days=ago) for ago in reversed(range(30))]
    assert {day.date.isoformat(): day.created for day in days if day.created} == {
        "2026-11-25": 2,
        "2026-11-24": 1,
        "2026-10-27": 1,
    }
    assert (days[-1].updated, days[-1].removed) == (1, 1)


def test_dashboard_counts_an_event_that_is_written_twice_only_once(
    db: FileDatabase, write_events: "WriteEvents"
) -> None:
    write_events(db, "1", now_ms=NOON)
    write_events(db, "1", now_ms=NOON)
    assert dashboard.read_counts(db, NOON, UTC).days[-1].created == 1


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        (UTC, "2026-11-24"),
        (timezone(timedelta(hours=-8)), "2026-11-24"),
        (timezone(timedelta(hours=5, minutes=45)), "2026-11-25"),
        (timezone(timedelta(hours=1)), "2026-11-25"),
    ],
)
def test_day_begins_at_midnight_of_the_zone(
    db: FileDatabase, write_events: "WriteEvents", zone: timezone, day: str
) -> None:
    write_events(db, "1", now_ms=NOON - 12 * HOUR - HOUR // 2)
    days = dashboard.read_counts(db, NOON, zone).days
    assert [str(one.date) for one in days if one.created] == [day]


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the time zone of New York, where clocks are set back on the first of November 2026."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
def test_dashboard_day_has_25_hours_when_clocks_are_set_back(db: FileDatabase, write_events: "WriteEvents") -> None:
    first = round(datetime(2026, 10, 30).astimezone().timestamp() * 1000)
    for hour in range(96):
        write_events(db, str(hour), now_ms=first + hour * HOUR)
    days = dashboard.read_counts(db, first + 96 * HOUR).days
    assert [one.created for one in days if one.created] == [24, 24, 25, 23]


def test_dashboard_counts_deliveries_by_destination_and_day(db: FileDatabase, write_events: "WriteEvents") -> None:
    one, two, three = write_events(db, "1", "2", "3", to=("hr", "slack"), now_ms=NOON - DAY)
    store_settlements(db, [delivered(one, NOON - DAY), delivered(two, NOON, state="pending"), delivered(three, NOON)])
    store_settlements(
        db, [delivered(two, NOON + 1000), delivered(two, NOON, to="slack"), delivered(one, NOON, to="slack")]
    )
    assert dashboard.read_counts(db, NOON, UTC).delivered_today == {"hr": 2, "slack": 2}
    assert dashboard.read_counts(db, NOON + DAY, UTC).delivered_today == {}


def test_dashboard_latency_is_measured_from_detection_to_the_answer(
    db: FileDatabase, write_events: "WriteEvents"
) -> None:
    numbers = write_events(db, *map(str, range(20)), to=("hr", "slack"), now_ms=NOON)
    store_settlements(db, [delivered(number, NOON + 10 * place, took=5) for place, number in enumerate(numbers, 1)])
    store_settlements(db, [delivered(numbers[0], NOON + 123_456, to="slack")])
    counted = dashboard.read_counts(db, NOON + HOUR, UTC)
    assert counted.latencies == {"hr": Latency(20, 100, 190), "slack": Latency(1, 120_000, 120_000)}
    assert counted.latency == Latency(21, 110, 200)
    assert dashboard.read_counts(db, NOON + 25 * HOUR, UTC).latency is None


def test_dashboard_counts_repeated_deliveries_but_not_their_latency(
    db: FileDatabase, write_events: "WriteEvents"
) -> None:
    one, two, three = write_events(db, "1", "2", "3", now_ms=NOON)
    store_settlements(db, [delivered(one, NOON), delivered(two, NOON, state="dead")])
    everything = Subscription("hr", EVENTS)
    requeue.retry(db, RetrySelection(DeliveryState.DEAD), ["hr"], NOON)
    past = ReplayRange(NOON, NOON + 1, three)
    requeue.queue_replay_step(db, past, everything, 0, NOON)
    requeue.queue_replay_step(db, past, Subscription("new", EVENTS), 0, NOON)
    later = NOON + 5 * HOUR
    again = {name: {it.event.sequence for it in due(db, name, later) if it.again} for name in ("hr", "new")}
    assert again == {"hr": {one, two}, "new": {one, two, three}}
    store_settlements(
        db, [*(delivered(number, later, again=True) for number in (one, two)), delivered(three, NOON + 90)]
    )
    store_settlements(db, [delivered(one, later, to="new", again=True)])
    counted = dashboard.read_counts(db, later, UTC)
    assert counted.delivered_today == {"hr": 4, "new": 1}
    assert counted.latencies == {"hr": Latency(2, 0, 90)}


def test_dashboard_latency_of_a_batch_is_measured_from_each_detection(
    db: FileDatabase, write_events: "WriteEvents"
) -> None:
    numbers = tuple(write_events(db, *map(str, range(4)), now_ms=NOON))
    together = delivered(0, NOON + 50, took=5)
    store_settlements(db, [replace(together, sequences=numbers, detected_ms=(NOON, NOON, NOON + 5))])
    counted = dashboard.read_counts(db, NOON, UTC)
    assert counted.latencies == {"hr": Latency(3, 55, 55)}
    assert counted.delivered_today == {"hr": 4}


def test_dashboard_latency_is_zero_after_the_clock_was_set_back(db: FileDatabase, write_events: "WriteEvents") -> None:
    (number,) = write_events(db, "1", now_ms=NOON)
    store_settlements(db, [delivered(number, NOON - HOUR)])
    assert dashboard.read_counts(db, NOON, UTC).latency == Latency(1, 0, 0)


@given(st.integers(0, 10**15))
def test_to_two_digits_rounds_down_to_two_significant_digits(milliseconds: int) -> None:
    kept = rollups.to_two_digits(milliseconds)
    assert kept <= milliseconds < kept * 1.1 + 1
    assert len(str(kept).rstrip("0")) <= 2


@given(st.lists(st.integers(0, 50), min_size=1), st.sampled_from([0.5, 0.95, 1.0]))
def test_quantile_of_counts_is_the_quantile_of_all_values(values: list[int], part: float) -> None:
    found = quantile(sorted(Counter(values).items()), part)
    assert sum(value <= found for value in values) >= part * len(values)
    assert sum(value < found for value in values) < part * len(values)


def test_latest_events_lists_the_newest_first_with_delivery_states(
    db: FileDatabase, write_events: "WriteEvents"
) -> None:
    for number in range(30):
        write_events(db, str(number), to=("hr", "slack"), now_ms=NOON + number)
    standing = StoredCondition("gap", "sources/acme", "A gap.", NOON)
    alert_events.write(db, [ConditionChange(ConditionState.FIRING, standing, "new", "hr")], NOON)
    store_settlements(db, [delivered(30, NOON), delivered(30, NOON, to="slack", state="dead")])
    notice, newest, *others = dashboard.latest_events(db, 20)
    assert (notice.event.type, notice.event.summary, notice.event.person) == ("notifier.alert", "A gap.", None)
    assert (newest.event.subject, newest.event.training, newest.event.summary) == ("29", "1046", None)
    assert newest.deliveries == {"delivered": 1, "dead": 1}
    assert [line.event.sequence for line in others] == list(range(29, 11, -1))
    (given_up,) = dashboard.dead_deliveries(db, ["hr", "slack"], 5)
    assert (given_up.delivery.destination, given_up.event.subject) == ("slack", "29")


def test_dashboard_does_not_count_alerts_as_completions(db: FileDatabase) -> None:
    standing = StoredCondition("gap", "sources/acme", "A gap.", NOON)
    alert_events.write(db, [ConditionChange(ConditionState.FIRING, standing, "new", "hr")], NOON)
    day = dashboard.read_counts(db, NOON, UTC).days[-1]
    assert (day.created, day.updated, day.removed) == (0, 0, 0)


def test_dashboard_counts_outlive_their_events_by_40_days(db: FileDatabase, write_events: "WriteEvents") -> None:
    (number,) = write_events(db, "1", now_ms=NOON)
    store_settlements(db, [delivered(number, NOON)])
    assert retention.delete_old_events(db, NOON + 1).events == 1
    assert dashboard.read_counts(db, NOON, UTC).days[-1].created == 1
    rollups.delete_old(db, NOON + 39 * DAY)
    assert dashboard.read_counts(db, NOON, UTC).days[-1].created == 1
    rollups.delete_old(db, NOON + 41 * DAY)
    assert dashboard.read_counts(db, NOON, UTC).days[-1].created == 0
    assert [db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in COUNT_TABLES] == [0, 0, 0]


COUNT_TABLES = ("detected_counts", "delivered_counts", "latency_counts")


def test_migration_counts_the_events_of_an_older_state_file(tmp_path: Any) -> None:
    db = FileDatabase(tmp_path / "old.db")
    migrations.apply(db, stop_before="kept_figures")
    at = NOON - DAY
    db.execute("INSERT INTO events VALUES (1, 'evt_1', 'completion.created', 'a', '1', 1, 'head', '', ?, '{}')", [at])
    db.execute("INSERT INTO events VALUES (2, 'evt_2', 'notifier.alert', '', 'a', 0, '', '', ?, '{}')", [at])
    db.execute(
        "INSERT INTO deliveries (sequence, destination, state, last_attempt_at) VALUES (1, 'hr', 'delivered', ?)",
        [NOON],
    )
    migrations.apply(db)
    counted = dashboard.read_counts(db, NOON, UTC)
    assert [day.created for day in counted.days[-3:]] == [0, 1, 0]
    assert counted.delivered_today == {"hr": 1}
    db.close()


def test_dashboard_and_search_queries_scan_no_large_table(file_db: FileDatabase, write_events: "WriteEvents") -> None:
    numbers = write_events(file_db, *map(str, range(50)), to=("hr", "slack"), now_ms=NOON)
    store_settlements(file_db, [delivered(number, NOON, state="dead") for number in numbers[:10]])
    file_db.execute(
        "INSERT INTO people (source, id, name, employee_number)"
        " VALUES ('acme', '5e580f0cb780600088bd2c11', 'David Ball', 'D1')"
    )
    file_db.execute("UPDATE sources SET met_at = 1, swept_at = 2")
    records_by_person.create_index(file_db)
    statements: list[str] = []
    file_db.conn.set_trace_callback(statements.append)
    dashboard.read_counts(file_db, NOON)
    dashboard.latest_events(file_db, 20)
    dashboard.dead_deliveries(file_db, ["hr", "slack"], 5)
    assert search.find(file_db, "David").records
    assert search.find(file_db, "7").is_key
    file_db.conn.set_trace_callback(None)
    plans = {statement: plan(file_db, statement) for statement in statements if statement.startswith("SELECT")}
    assert len(plans) >= 8
    for statement, steps in plans.items():
        for step in steps:
            # The newest events are read backwards, up to the limit.
            if step == "SCAN events" and "ORDER BY sequence DESC LIMIT" in statement:
                continue
            assert not re.match(r"SCAN (events|records|deliveries|attempts|[edr])\b", step), (statement, steps)


def plan(db: FileDatabase, statement: str) -> list[str]:
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
