"""Conditions of the daemon itself, and their texts."""

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


def test_state_rebuilt_names_the_damage_the_loss_and_the_damaged_file() -> None:
    (condition,) = rebuild_conditions(REBUILD, [SWEPT, NOT_SWEPT], ())
    assert condition.key == ("state_rebuilt", "store")
    assert condition.summary == (
        "the state file was damaged (file is not a database) and was rebuilt at 2026-11-21T17:00:00.123Z; these"
        " parts could not be read: events, records; the damaged file is kept as"
        " /state/notifier.db.damaged-20261121T170000Z; delete it when it is no longer needed; check the disk. Events"
        " keep their ids. A sweep of every source begins at once; when all have finished, this condition ends"
    )


def test_state_rebuilt_names_that_nothing_was_lost_or_kept() -> None:
    (condition,) = rebuild_conditions(replace(REBUILD, lost="nothing", set_aside=None), [NOT_SWEPT], ())
    assert "; nothing was lost; there was no file to keep; check" in condition.summary


def test_state_behind_names_the_missing_data_and_since_when() -> None:
    behind = Comparison(AT, "it was older", None, "source beta was unknown", AT - 60_000, RebuildKind.BEHIND)
    (condition,) = rebuild_conditions(behind, [NOT_SWEPT], ())
    assert condition.key == ("state_behind", "store")
    assert "the missing data was added: source beta was unknown" in condition.summary
    assert "updates and removals since 2026-11-21T16:59:00.123Z may be missing" in condition.summary


def test_state_rebuilt_ends_after_it_fired_and_every_source_was_swept() -> None:
    firing = {(ConditionName.STATE_REBUILT, STORE)}
    assert list(rebuild_conditions(REBUILD, [SWEPT, SWEPT], firing)) == []
    assert len(list(rebuild_conditions(REBUILD, [SourceMemory()], firing))) == 1


def test_state_rebuilt_is_reported_even_if_all_sweeps_finish_before_the_evaluation() -> None:
    assert len(list(rebuild_conditions(REBUILD, [SWEPT, SWEPT], ()))) == 1


def test_state_file_that_was_never_rebuilt_has_no_condition() -> None:
    assert list(rebuild_conditions(None, [NOT_SWEPT], ())) == []


def test_interface_down_names_the_error_and_what_continues() -> None:
    (condition,) = interface_conditions("cannot listen on 127.0.0.1:8787 (Address already in use): free it")
    assert condition.key == ("interface_down", "interface")
    assert condition.summary.startswith(
        "cannot listen on 127.0.0.1:8787 (Address already in use): free it. Polls, deliveries and"
    )
    assert list(interface_conditions(None)) == []


def test_descriptors_low_begins_at_four_fifths_and_ends_below_three_fifths() -> None:
    key = ("descriptors_low", "process")
    assert [len(list(descriptor_conditions(used, 1000, ()))) for used in (599, 799, 800, 1000)] == [0, 0, 1, 1]
    assert [len(list(descriptor_conditions(used, 1000, [key]))) for used in (599, 600, 799)] == [0, 1, 1]
    assert list(descriptor_conditions(10**6, None, [key])) == []
    (condition,) = descriptor_conditions(900, 1000, ())
    # The text stays the same while the condition lasts: each new text would be a change.
    assert condition.key == key
    assert condition.summary == next(iter(descriptor_conditions(950, 1000, [key]))).summary


def test_alerts_undelivered_begins_at_once_if_refused_else_after_15_minutes() -> None:
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
def test_alerts_undelivered_without_a_heartbeat_does_not_mention_it(waited: float) -> None:
    waits = Evaluation(AT, 0.0, alerts_to="ops", undelivered_seconds=waited, refusal_reason="refused")
    (condition,) = alert_conditions(waits, has_heartbeat=False)
    assert condition.summary.endswith("so nobody is told about active conditions")
