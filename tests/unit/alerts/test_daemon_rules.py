"""Conditions of the daemon itself, as people are told of them."""

import pytest
from msgspec.structs import replace

from notifier.alerts.conditions import STORE, ConditionName
from notifier.alerts.daemon_rules import (
    alert_conditions,
    descriptor_conditions,
    interface_conditions,
    rebuild_conditions,
)
from notifier.alerts.evaluation import Evaluation
from notifier.store.recovery.compare import Comparison, RebuildKind
from notifier.store.tables.sources import SourceMemory

AT = 1_795_280_400_123
REBUILD = Comparison(AT, "file is not a database", "/state/notifier.db.damaged-20261121T170000Z", "events, records")
SWEPT, NOT_SWEPT = SourceMemory(swept_at_ms=AT + 1), SourceMemory(swept_at_ms=AT - 1)


def test_it_says_what_was_wrong_what_was_lost_and_where_the_old_one_lies() -> None:
    (condition,) = rebuild_conditions(REBUILD, [SWEPT, NOT_SWEPT], ())
    assert condition.key == ("state_rebuilt", "store")
    assert condition.summary == (
        "the state file was damaged (file is not a database) and was rebuilt at 2026-11-21T17:00:00.123Z; these"
        " parts could not be read: events, records; the damaged file is kept as"
        " /state/notifier.db.damaged-20261121T170000Z; delete it when it is no longer needed; check the disk. Events"
        " keep their ids. A sweep of every source begins at once; when all have finished, this condition ends"
    )


def test_it_says_so_when_nothing_was_lost_or_nothing_left() -> None:
    (condition,) = rebuild_conditions(replace(REBUILD, lost="nothing", set_aside=None), [NOT_SWEPT], ())
    assert "; nothing was lost; there was no file to keep; check" in condition.summary


def test_a_file_that_was_only_older_is_said_more_mildly_with_what_it_lacked_and_since_when() -> None:
    behind = Comparison(AT, "it was older", None, "source beta was unknown", AT - 60_000, RebuildKind.BEHIND)
    (condition,) = rebuild_conditions(behind, [NOT_SWEPT], ())
    assert condition.key == ("state_behind", "store")
    assert "the missing data was added: source beta was unknown" in condition.summary
    assert "updates and removals since 2026-11-21T16:59:00.123Z may be missing" in condition.summary


def test_it_is_over_when_it_was_reported_and_every_source_was_swept_since() -> None:
    firing = {(ConditionName.STATE_REBUILT, STORE)}
    assert list(rebuild_conditions(REBUILD, [SWEPT, SWEPT], firing)) == []
    assert len(list(rebuild_conditions(REBUILD, [SourceMemory()], firing))) == 1


def test_it_is_reported_once_even_if_the_sweeps_are_faster_than_the_first_evaluation() -> None:
    assert len(list(rebuild_conditions(REBUILD, [SWEPT, SWEPT], ()))) == 1


def test_a_file_that_never_was_rebuilt_has_no_such_condition() -> None:
    assert list(rebuild_conditions(None, [NOT_SWEPT], ())) == []


def test_an_address_that_cannot_be_listened_on_is_told_with_what_goes_on() -> None:
    (condition,) = interface_conditions("cannot listen on 127.0.0.1:8787 (Address already in use): free it")
    assert condition.key == ("interface_down", "interface")
    assert condition.summary.startswith(
        "cannot listen on 127.0.0.1:8787 (Address already in use): free it. Polls, deliveries and"
    )
    assert list(interface_conditions(None)) == []


def test_descriptors_run_short_at_four_fifths_and_are_enough_below_three() -> None:
    key = ("descriptors_low", "process")
    assert [len(list(descriptor_conditions(used, 1000, ()))) for used in (599, 799, 800, 1000)] == [0, 0, 1, 1]
    assert [len(list(descriptor_conditions(used, 1000, [key]))) for used in (599, 600, 799)] == [0, 1, 1]
    assert list(descriptor_conditions(10**6, None, [key])) == []
    (condition,) = descriptor_conditions(900, 1000, ())
    # The sentence stays the same for as long as it lasts: a notice is sent for each new one.
    assert condition.key == key
    assert condition.summary == next(iter(descriptor_conditions(950, 1000, [key]))).summary


def test_alerts_that_are_refused_are_a_condition_at_once_and_those_that_wait_after_a_quarter_of_an_hour() -> None:
    waits = Evaluation(AT, 0.0, alerts_to="ops", undelivered_seconds=60.0)
    assert list(alert_conditions(None, has_heartbeat=True)) == []
    assert list(alert_conditions(Evaluation(AT, 0.0, alerts_to="ops"), has_heartbeat=True)) == []
    assert list(alert_conditions(waits, has_heartbeat=True)) == []
    (refused,) = alert_conditions(replace(waits, refusal_reason="refused, HTTP 404"), has_heartbeat=True)
    assert refused.key == (ConditionName.ALERTS_UNDELIVERED, "alerts")
    assert refused.summary == (
        "alerts cannot be delivered to ops, which refuses them (refused, HTTP 404), so nobody is told about active"
        " conditions; the heartbeat will stop if they cannot be delivered within 15 minutes"
    )
    (late,) = alert_conditions(replace(waits, undelivered_seconds=900.0), has_heartbeat=True)
    assert late.summary.endswith("the heartbeat has stopped until they can be delivered")


@pytest.mark.parametrize("waited", [60.0, 900.0])
def test_without_a_heartbeat_nothing_is_said_about_it(waited: float) -> None:
    waits = Evaluation(AT, 0.0, alerts_to="ops", undelivered_seconds=waited, refusal_reason="refused")
    (condition,) = alert_conditions(waits, has_heartbeat=False)
    assert condition.summary.endswith("so nobody is told about active conditions")
