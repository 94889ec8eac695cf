"""A condition that ends although nothing was repaired is withdrawn with a reason, not reported as resolved."""

from pathlib import Path

import pytest

from notifier.alerts import daemon_rules
from notifier.alerts.conditions import Condition, ConditionName
from notifier.alerts.withdrawals import withdrawal_reasons
from notifier.store.database import Database
from notifier.store.file.store import FileStore
from notifier.store.recovery import compare
from notifier.store.tables import starts
from notifier.store.tables.destinations import BY_OPERATOR, Health, HealthState
from tests.support.new_state_file import new_state_file

FAILING = ("destination_failing", "destinations/hr")
PARKED = Health(HealthState.DISABLED, BY_OPERATOR, 1)
DISABLED = Condition(ConditionName.DESTINATION_DISABLED, "destinations/hr", "disabled")


@pytest.mark.parametrize(
    ("health", "current", "waiting", "why"),
    [
        (None, [], 3, "hr was removed from the configuration with 3 events waiting, which are kept:"),
        (PARKED, [], 1, "hr was disabled by hand; 1 event kept until `notifier enable hr`"),
        (
            Health(HealthState.DISABLED, "gone", 1),
            [DISABLED],
            1,
            "hr: another condition replaces this one: is disabled",
        ),
        (Health(HealthState.RETRYING, "timeout", 1), [], 0, "no event waits for hr any more;"),
        (Health(), [], 0, ""),
    ],
)
def test_withdrawal_reasons_explain_why_a_destination_condition_is_withdrawn(
    health: Health | None, current: list[Condition], waiting: int, why: str
) -> None:
    found = withdrawal_reasons([FAILING], current, ["acme"], {} if health is None else {"hr": health}, {"hr": waiting})
    assert found.get(FAILING, "").startswith(why)
    assert bool(found) is bool(why)


def test_withdrawal_reasons_name_a_source_removed_from_the_configuration() -> None:
    key = ("source_failing", "sources/gone")
    assert withdrawal_reasons([key], [], ["acme"], {}, {}) == {key: "gone was removed from the configuration"}


async def test_ended_comparison_is_not_returned_and_unclean_runs_are_counted(tmp_path: Path) -> None:
    def write(db: Database) -> None:
        db.execute("INSERT INTO rebuilds (at, problem, lost) VALUES (5, 'damaged', 'nothing')")

    store = FileStore(new_state_file(tmp_path / "notifier.db"))
    await store.open()
    await store.run(write)
    assert await store.run(compare.latest_comparison) is not None
    await store.run(compare.end_comparison, 9)
    assert await store.run(compare.latest_comparison) is None
    for at in (10, 20, 30, 40):
        await store.run(starts.record_start, at)
    await store.run(starts.record_orderly_stop, 20, 25)
    unclean_runs = await store.run(starts.count_unclean, 0, 40)
    assert unclean_runs == 2
    await store.close()
    assert list(daemon_rules.restart_conditions(unclean_runs)) == []
    assert [it.name for it in daemon_rules.restart_conditions(3)] == [ConditionName.RESTARTING]
