"""The log of requests and states: what is counted, when it is written, and what happens when the disk fails."""

from typing import TYPE_CHECKING

import pytest

from notifier.daemon.activity import WRITE_EVERY_SECONDS, ActivityLog, States
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.store import FileStore
from notifier.store.tables import activity
from notifier.store.tables.activity import ActivityKind, ActivitySubject, RequestCount
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.rollups import QUARTER_MS
from notifier.store.tables.settlements import Settlement
from tests.support.clocks import FakeClock
from tests.support.new_state_file import new_state_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ACME = ActivitySubject(ActivityKind.SOURCE, "acme")
HR = ActivitySubject(ActivityKind.DESTINATION, "hr")


class ActivityRig:
    """An activity log with its store, its clock and the states that it reads."""

    def __init__(self, store: FileStore) -> None:
        self.store = store
        self.clock = FakeClock()
        self.states: States = {ACME: ("starting", None), HR: ("ok", None)}
        self.log = self.restarted_log()

    def restarted_log(self) -> ActivityLog:
        return ActivityLog(self.store, self.clock, lambda: self.states)

    async def history(self, subject: ActivitySubject) -> list[tuple[str, str | None]]:
        found = await self.store.run(activity.latest_changes, subject, 99)
        return [(change.state, change.reason) for change in found]


@pytest.fixture
async def rig(tmp_path: "Path") -> "AsyncIterator[ActivityRig]":
    store = FileStore(new_state_file(tmp_path / "notifier.db"))
    await store.open()
    yield ActivityRig(store)
    await store.close()


async def test_activity_log_records_only_changes_of_state_also_after_a_restart(rig: ActivityRig) -> None:
    await rig.log.save_changes()
    await rig.log.save_changes()
    rig.states = {ACME: ("ok", None), HR: ("retrying", "timeout")}
    await rig.log.save_changes()
    log = rig.restarted_log()
    await log.save_changes()
    rig.states = {ACME: ("ok", None), HR: ("retrying", "refused")}
    await log.save_changes()
    assert await rig.history(ACME) == [("ok", None), ("starting", None)]
    assert await rig.history(HR) == [("retrying", "refused"), ("retrying", "timeout"), ("untried", None)]


async def test_destination_state_is_untried_until_an_event_is_delivered(rig: ActivityRig) -> None:
    await rig.log.save_changes()
    await rig.restarted_log().save_changes()
    assert await rig.history(HR) == [("untried", None)]
    settlement = Settlement((1,), "hr", DeliveryState.DELIVERED, "delivered", "delivered", 200, "", 0, 15, 0)
    rig.log.count_attempt((), [settlement])
    await rig.log.save_changes()
    assert await rig.history(HR) == [("ok", None), ("untried", None)]
    # After a restart, the log learns this from the store.
    await rig.store.run(lambda db: db.execute("INSERT INTO destinations (name, delivered) VALUES ('hr', 1)"))
    await rig.restarted_log().save_changes()
    assert len(await rig.history(HR)) == 2


async def test_request_counts_are_written_once_a_minute_and_on_stop(rig: ActivityRig) -> None:
    quarter = rig.clock.now_ms() // QUARTER_MS
    rig.log.count_request("acme", 0.25, failed=False)
    rig.log.count_request("acme", 1.0, failed=True)
    counted = {quarter: RequestCount(2, 1, 1250, 1000)}
    await rig.log.save_changes()
    assert rig.log.unwritten_counts(ACME) == counted
    assert await rig.store.run(activity.request_counts, ACME, 0) == {}
    rig.clock.advance(WRITE_EVERY_SECONDS)
    await rig.log.save_changes()
    assert rig.log.unwritten_counts(ACME) == {}
    assert await rig.store.run(activity.request_counts, ACME, 0) == counted
    settlement = Settlement((1, 2), "hr", DeliveryState.PENDING, "retry_later", "timeout", None, "", 0, 15_000, 0)
    rig.log.count_attempt((), [settlement])
    await rig.log.stop()
    (stored,) = (await rig.store.run(activity.request_counts, HR, 0)).values()
    assert stored == RequestCount(1, 1, 15_000, 15_000)


async def test_activity_log_keeps_counts_and_states_while_the_store_is_unwritable(
    rig: ActivityRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise StoreError(StoreReason.DISK_FULL, "the disk is full")

    rig.log.count_request("acme", 0.5, failed=False)
    rig.clock.advance(WRITE_EVERY_SECONDS)
    with monkeypatch.context() as broken:
        broken.setattr(rig.store, "run", fail)
        await rig.log.save_changes()
        await rig.log.stop()
    rig.log.count_request("acme", 0.5, failed=False)
    await rig.log.save_changes()
    await rig.log.stop()
    (stored,) = (await rig.store.run(activity.request_counts, ACME, 0)).values()
    assert stored.requests == 2
    assert await rig.history(ACME) == [("starting", None)]
