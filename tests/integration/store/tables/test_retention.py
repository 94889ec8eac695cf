"""Old events that are delivered or have no deliveries are deleted, and nothing else."""

import pytest

from notifier.events import Change, Completion, DetectedBy, EventType
from notifier.store.database import Database
from notifier.store.file import maintenance
from notifier.store.file.store import FileStore
from notifier.store.subscriptions import Subscription
from notifier.store.tables import destinations, records, retention, sources
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.settlements import Settlement, store_settlements

LONG_AGO, LATELY, BOUND = 1_000, 9_000, 5_000


def change(number: int) -> Change:
    raw = b'{"id":%d}' % number
    completion = Completion(str(number), "7", "u", "2026-01-01", None, 1, None, None, "", False, raw)
    return Change(EventType.CREATED, completion, 1, DetectedBy.HEAD, "test")


async def write(store: FileStore, numbers: range, detected_ms: int, state: DeliveryState | None) -> None:
    wants = [Subscription("hr", frozenset({"completion.created"}))] if state else []
    findings = records.Findings("acme", "acme", changes=[change(number) for number in numbers])
    events = await store.run(records.write, findings, wants, detected_ms)
    if state:
        settled = [
            Settlement((event.sequence,), "hr", state, "test", "test", 200, "", detected_ms, 1, 0) for event in events
        ]
        await store.run(store_settlements, settled)


async def count(store: FileStore, table: str) -> int:
    return await store.run(lambda db: int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))


@pytest.mark.parametrize(
    ("detected_ms", "state", "kept"),
    [
        (LONG_AGO, DeliveryState.DELIVERED, 0),
        (LONG_AGO, None, 0),
        (LONG_AGO, DeliveryState.PENDING, 3),
        (LONG_AGO, DeliveryState.DEAD, 3),
        (LATELY, DeliveryState.DELIVERED, 3),
    ],
)
async def test_delete_old_events_deletes_only_old_finished_events(
    store: FileStore, detected_ms: int, state: DeliveryState | None, kept: int
) -> None:
    await store.run(sources.read_or_create, "acme")
    await store.run(destinations.read_or_create, "hr")
    await write(store, range(3), detected_ms, state)
    await store.run(retention.delete_old_events, BOUND)
    assert await count(store, "events") == kept
    assert await count(store, "deliveries") == (kept if state else 0)
    assert await count(store, "attempts") == (kept if state else 0)
    assert await count(store, "records") == 3


async def test_deleted_events_free_disk_space_and_their_numbers_are_not_reused(store: FileStore) -> None:
    await store.run(sources.read_or_create, "acme")
    await store.run(destinations.read_or_create, "hr")
    await write(store, range(6_000), LONG_AGO, DeliveryState.DELIVERED)
    pages = await store.run(pragma, "page_count")
    assert await delete_all_old_events(store) == [500] * 12 + [0]
    assert await store.run(pragma, "freelist_count") > 300
    while await store.run_without_transaction(maintenance.release_pages):
        pass
    assert await store.run(pragma, "freelist_count") == maintenance.FREE_PAGES_KEPT
    assert await store.run(pragma, "page_count") < pages - 300
    [event] = await store.run(records.write, records.Findings("acme", "acme", changes=[change(9_999)]), [], LATELY)
    assert event.sequence == 6_001


async def test_delete_old_events_passes_dead_deliveries_in_steps(store: FileStore) -> None:
    await store.run(sources.read_or_create, "acme")
    await store.run(destinations.read_or_create, "hr")
    await write(store, range(1_200), LONG_AGO, DeliveryState.DEAD)
    await write(store, range(1_200, 1_300), LONG_AGO, DeliveryState.DELIVERED)
    assert await delete_all_old_events(store) == [0, 0, 100]
    assert await count(store, "events") == 1_200


async def test_delete_old_events_finds_old_events_after_the_clock_was_set_back(store: FileStore) -> None:
    await store.run(sources.read_or_create, "acme")
    await write(store, range(3), LATELY, None)
    await write(store, range(3, 6), LONG_AGO, None)
    assert await delete_all_old_events(store) == [3]
    assert await store.run(lambda db: [row[0] for row in db.execute("SELECT subject FROM events")]) == ["0", "1", "2"]


async def test_query_for_old_events_uses_the_index_by_time(store: FileStore) -> None:
    plan = await store.run(
        lambda db: [
            row[3]
            for row in db.execute(
                "EXPLAIN QUERY PLAN SELECT 1 FROM events WHERE (detected_at, sequence) > (0, 0) AND detected_at < 5"
                " ORDER BY detected_at, sequence LIMIT 500"
            )
        ]
    )
    assert len(plan) == 1
    assert plan[0].startswith("SEARCH events USING COVERING INDEX events_by_time")


def pragma(db: Database, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


async def delete_all_old_events(store: FileStore) -> list[int]:
    """Delete in steps; return how many events each step deleted."""
    bits: list[int] = []
    place: retention.DetectionPosition | None = retention.BEFORE_ALL
    while place is not None:
        done = await store.run(retention.delete_old_events, BOUND, place)
        bits.append(done.events)
        place = done.place
    return bits


async def test_attempts_of_a_batch_are_kept_until_its_last_event_is_deleted(store: FileStore) -> None:
    await store.run(sources.read_or_create, "acme")
    await store.run(destinations.read_or_create, "hr")
    for number, detected_ms in enumerate((LONG_AGO, LONG_AGO, LATELY)):
        await write(store, range(number, number + 1), detected_ms, DeliveryState.PENDING)
    together = Settlement((1, 2, 3), "hr", DeliveryState.DELIVERED, "test", "test", 200, "", LATELY, 1, 0)
    await store.run(store_settlements, [together])
    await store.run(retention.delete_old_events, BOUND)
    told = "SELECT sequence, count(*) FROM attempts GROUP BY 1"
    assert await store.run(lambda db: db.execute(told).fetchall()) == [(3, 2)]
    await store.run(retention.delete_old_events, LATELY + 1)
    assert await count(store, "attempt_runs") == 0
