"""Maintenance of the state file: essentials, search index, write-ahead log, memory and old data."""

import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from notifier.config import Settings
from notifier.daemon.configuration import RunningConfiguration
from notifier.daemon.file_upkeep import ESSENTIALS_EVERY_SECONDS
from notifier.daemon.maintenance import Housekeeping
from notifier.events import Event, EventType
from notifier.store.database import Database
from notifier.store.file.files import ESSENTIALS, sibling_path
from notifier.store.file.maintenance import log_size
from notifier.store.file.store import FileStore
from notifier.store.recovery import essentials
from notifier.store.tables import sources
from tests.support.clocks import FakeClock
from tests.support.memory import fill, resident_bytes
from tests.support.new_state_file import new_state_file


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    opened = FileStore(new_state_file(tmp_path / "notifier.db"))
    await opened.open()
    await opened.run(sources.read_or_create, "acme")
    await opened.run(partial(sources.update, first_contact_ms=1_000), "acme")
    yield opened
    await opened.close()


@pytest.fixture
def housekeeping(store: FileStore, clock: FakeClock) -> Housekeeping:
    table = {"sources": {"acme": {"token": "t0ken"}}, "store": {"path": str(store.path), "retention": "1d"}}
    settings = Settings.model_validate(table)
    return Housekeeping(store, clock, RunningConfiguration(settings))


def snapshot_written_ms(store: FileStore) -> int:
    """Return when the essentials were written."""
    read = essentials.read(store.path).snapshot
    assert read is not None
    return read.written_ms


async def test_essentials_are_written_when_they_change_and_at_regular_intervals(
    housekeeping: Housekeeping, store: FileStore, clock: FakeClock
) -> None:
    await housekeeping.maintain_store()
    first = snapshot_written_ms(store)
    clock.advance(ESSENTIALS_EVERY_SECONDS - 1)
    await housekeeping.maintain_store()
    assert snapshot_written_ms(store) == first
    clock.advance(2)
    await housekeeping.maintain_store()
    assert snapshot_written_ms(store) == clock.now_ms()
    clock.advance(1)
    await store.run(sources.read_or_create, "globex")
    await store.run(partial(sources.update, first_contact_ms=2_000), "globex")
    await housekeeping.maintain_store()
    assert snapshot_written_ms(store) == clock.now_ms()
    assert sibling_path(store.path, ESSENTIALS).stat().st_mode & 0o777 == 0o600


def insert_event(db: Database, number: int, type_: EventType, state: str) -> None:
    row = (number, f"evt_{number}", type_, "acme", "7", number, "", "", 0, "{}")
    db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", row)
    db.execute("INSERT INTO deliveries (sequence, destination, state) VALUES (?, 'hr', ?)", [number, state])


@pytest.mark.parametrize(
    ("type_", "state", "is_written"),
    [
        (EventType.UPDATED, "pending", True),
        (EventType.REMOVED, "pending", True),
        (EventType.REMOVED, "delivered", False),
        (EventType.CREATED, "pending", False),
    ],
)
async def test_essentials_are_written_at_once_for_pending_updates_and_removals(
    housekeeping: Housekeeping,
    store: FileStore,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    type_: EventType,
    state: str,
    *,
    is_written: bool,
) -> None:
    monkeypatch.setattr("notifier.daemon.file_upkeep.URGENT_AFTER_SECONDS", 0.01)
    await housekeeping.maintain_store()
    first = snapshot_written_ms(store)
    clock.advance(1)
    await store.run(insert_event, 1, type_, state)
    housekeeping.schedule_urgent_write([Event(1, "evt_1", type_, "acme", "7", 0, b"{}")])
    if housekeeping.upkeep is not None and housekeeping.upkeep._urgent_write is not None:
        await housekeeping.upkeep._urgent_write
    assert (snapshot_written_ms(store) > first) is is_written


async def test_search_index_is_created_after_the_first_sweep(housekeeping: Housekeeping, store: FileStore) -> None:
    count = "SELECT count(*) FROM sqlite_master WHERE name = 'records_by_person'"
    await housekeeping.maintain_store()
    assert await store.run(lambda db: db.execute(count).fetchone()) == (0,)
    await store.run(lambda db: db.execute("UPDATE sources SET swept_at = 5"))
    await housekeeping.maintain_store()
    assert await store.run(lambda db: db.execute(count).fetchone()) == (1,)


async def test_unwritable_essentials_are_logged_once_and_tried_again(
    housekeeping: Housekeeping, store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = sibling_path(store.path, ".essentials.new")
    in_the_way.mkdir()
    for _ in range(3):
        await housekeeping.maintain_store()
    assert [(record.levelno, vars(record)["detail"]) for record in caplog.records] == [
        (logging.ERROR, "Is a directory")
    ]
    assert not housekeeping.has_snapshot
    in_the_way.rmdir()
    await housekeeping.maintain_store()
    assert housekeeping.has_snapshot


async def test_large_write_ahead_log_is_truncated_at_the_next_maintenance(
    housekeeping: Housekeeping, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await housekeeping.maintain_store()
    assert log_size(store.path) > 10_000
    monkeypatch.setattr("notifier.daemon.file_upkeep.LARGE_LOG_BYTES", 10_000)
    await housekeeping.maintain_store()
    assert log_size(store.path) == 0


async def test_maintenance_returns_free_memory_to_the_system(housekeeping: Housekeeping, store: FileStore) -> None:
    await store.run(fill, 16)
    pieces = [bytes(2_000) for _ in range(20_000)]
    full = resident_bytes()
    kept = pieces[::100]
    pieces.clear()
    await housekeeping.maintain_store()
    assert resident_bytes() < full - 44_000_000
    assert len(kept) == 200


async def test_read_only_state_file_is_logged_and_gets_no_essentials(
    housekeeping: Housekeeping, store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.run_without_transaction(lambda db: db.execute("PRAGMA query_only = ON"))
    await housekeeping.delete_old_data()
    assert [vars(record)["reason"] for record in caplog.records] == ["read_only"]
    # The state file records which essentials belong to it, so none are written while it is read-only.
    await housekeeping.maintain_store()
    assert not housekeeping.has_snapshot
