"""A search stays within the budget, and too small a budget raises a condition (rows 22 and 28)."""

import random
import statistics

from tests.support.detection_world import MINUTE, World

BUSY = 30
"""Minutes."""


async def test_busy_account_has_all_entries_reported_within_the_request_budget(world: World) -> None:
    await world.open(10_000, detection_limits={"large_page": 50}, requests_per_minute=60)
    luck = random.Random(1)
    below = [*world.account.records()][500:]
    entered: dict[str, float] = {}
    backdated: set[str] = set()
    mark = world.mark()
    for _ in range(BUSY * 30):
        await world.seconds(2)
        late = luck.random() < 1 / 3
        record = world.enter(like=luck.choice(below) if late else None)
        entered[f"created {record.id}"] = world.now
        if late:
            backdated.add(f"created {record.id}")
    asked = world.asked_since(mark)
    arrived = await _arrivals(world, entered)
    assert set(world.told) == entered.keys()
    assert len(world.told) == len(entered)
    assert statistics.median(arrived[key] - entered[key] for key in backdated) <= 15 * MINUTE
    # This includes the count of each poll.
    assert len(asked) / BUSY <= 12, len(asked) / BUSY
    assert sum(it.precise for it in asked) <= 3
    assert await world.conditions() == set()


async def _arrivals(world: World, entered: dict[str, float]) -> dict[str, float]:
    """Wait until all events have arrived; return when each arrived."""
    for _ in range(40):
        if entered.keys() <= {*world.told}:
            break
        await world.minutes(1)
    return dict(zip(world.told, world.told_at, strict=True))


async def test_source_with_four_requests_a_minute_raises_a_condition_for_late_entries(world: World) -> None:
    await world.open(20_000, requests_per_minute=4)
    luck = random.Random(1)
    waiting: dict[str, float] = {}
    silent: list[float] = []
    for minute in range(60):
        if minute < 45:
            record = world.enter(like=world.at(luck.randrange(500, 19_500)))
            waiting[f"created {record.id}"] = world.now
        named = await world.conditions()
        untold = [since for event, since in waiting.items() if event not in world.told]
        if untold and world.now - min(untold) > 12 * MINUTE and not named:
            silent.append(world.now - min(untold))
    assert silent == []
    assert sorted(await world.told_after(120)) == sorted(waiting)
    assert await world.conditions() == set()
