"""Counts of requests by quarter of an hour, and changes of state: added up, bounded, deleted."""

from notifier.store.database import Database
from notifier.store.tables import activity
from notifier.store.tables.activity import (
    COUNTS_KEPT_MS,
    STATES_KEPT,
    STATES_KEPT_MS,
    ActivityKind,
    ActivitySubject,
    RequestCount,
    StateChange,
)
from notifier.store.tables.rollups import QUARTER_MS

ACME = ActivitySubject(ActivityKind.SOURCE, "acme")
HR = ActivitySubject(ActivityKind.DESTINATION, "hr")
NAMESAKE = ActivitySubject(ActivityKind.DESTINATION, "acme")


def test_add_requests_sums_the_counts_of_a_quarter_hour(db: Database) -> None:
    activity.add_requests(db, {(ACME, 7): RequestCount(2, 1, 300, 200), (ACME, 8): RequestCount(1, 0, 5, 5)})
    activity.add_requests(db, {(ACME, 7): RequestCount(1, 0, 50, 50), (NAMESAKE, 7): RequestCount(9, 9, 9, 9)})
    activity.add_requests(db, {})
    assert activity.request_counts(db, ACME, 7) == {7: RequestCount(3, 1, 350, 200), 8: RequestCount(1, 0, 5, 5)}
    assert activity.request_counts(db, ACME, 8) == {8: RequestCount(1, 0, 5, 5)}
    assert activity.request_counts(db, HR, 0) == {}


def test_latest_changes_are_limited_and_listed_newest_first(db: Database) -> None:
    for number in range(STATES_KEPT + 20):
        activity.store_state_changes(
            db, {ACME: StateChange(number, "ok"), HR: StateChange(number, "retrying", "timeout")}
        )
    last = STATES_KEPT + 19
    assert activity.latest_changes(db, HR, 2) == [
        StateChange(last, "retrying", "timeout"),
        StateChange(last - 1, "retrying", "timeout"),
    ]
    assert len(activity.latest_changes(db, ACME, 10**6)) == STATES_KEPT
    assert activity.latest_states(db) == {ACME: StateChange(last, "ok"), HR: StateChange(last, "retrying", "timeout")}


def test_delete_old_keeps_recent_counts_and_the_present_state(db: Database) -> None:
    activity.add_requests(db, {(ACME, 10): RequestCount(1), (ACME, 11): RequestCount(1)})
    activity.store_state_changes(db, {ACME: StateChange(0, "starting")})
    activity.store_state_changes(db, {ACME: StateChange(1, "ok")})
    activity.delete_old(db, 11 * QUARTER_MS + COUNTS_KEPT_MS)
    assert activity.request_counts(db, ACME, 0) == {11: RequestCount(1)}
    assert len(activity.latest_changes(db, ACME, 9)) == 2
    activity.delete_old(db, STATES_KEPT_MS + 10**12)
    assert activity.latest_changes(db, ACME, 9) == [StateChange(1, "ok")]
