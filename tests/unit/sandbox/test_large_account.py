import asyncio
from collections import Counter, defaultdict
from contextlib import suppress

import pytest

from notifier.sandbox import Account, Growth, Record, Version, documented_account, synthetic_account
from notifier.sandbox.records import date_number, day_of

NOW = 1_790_000_000_000


def now() -> int:
    return NOW


def late(record: Record) -> bool:
    return record.date_number < date_number(day_of(record.created))


def test_synthetic_account_is_determined_by_its_seed() -> None:
    first, again, other = (synthetic_account(500, seed=seed, now_ms=now) for seed in (1, 1, 2))
    assert first.page(Version.V2, limit=1000) == again.page(Version.V2, limit=1000)
    assert first.page(Version.V2, limit=1000) != other.page(Version.V2, limit=1000)
    assert first.users == again.users


def test_synthetic_account_has_realistic_proportions() -> None:
    account = synthetic_account(10_000, now_ms=now)
    records = list(account.records())
    people = {user["id"]: f"{user['firstname']} {user['lastname']}" for user in account.users}
    titles = {training.ids: training.title for training in account.trainings}
    assert len(records) == 10_000
    assert {record.user for record in records} <= people.keys()
    assert {record.training for record in records} <= titles.keys()
    assert len(titles) >= 40
    assert "Confined Space Entry" in titles.values()
    assert all(record.created < NOW for record in records)
    assert 500 < sum(map(late, records)) < 3000
    assert 0 < sum(record.expiry is not None for record in records) < 5000
    groups = Counter(record.group for record in records if record.group)
    assert 2000 < groups.total() < 8000
    assert 3 < max(groups.values()) <= 20
    assert 0 < sum(bool(record.files) for record in records) < 1000


def test_synthetic_group_session_has_one_training_day_and_time_of_entry() -> None:
    sessions = defaultdict(list)
    for record in synthetic_account(3000, now_ms=now).records():
        if record.group is not None:
            sessions[record.group].append(record)
    assert sessions
    for members in sessions.values():
        assert len({(record.date_number, record.training, record.instructor) for record in members}) == 1
        assert len({record.user for record in members}) == len(members)
        assert max(record.created for record in members) - min(record.created for record in members) < 1000


def test_growth_adds_mostly_records_of_today_and_some_late_ones() -> None:
    account = synthetic_account(1000, now_ms=now)
    added = Growth(account, seed=7).grow(2000)
    assert len(account) == 3000
    assert all(account.get(record.id) == record and record.created == NOW for record in added)
    assert 50 < sum(map(late, added)) < 700
    oldest_first = sorted(added, key=lambda record: record.id)
    assert added == oldest_first
    assert added[0].id > 1000


def test_growth_is_determined_by_its_seed_for_any_batch_sizes() -> None:
    whole, pieces = (synthetic_account(100, now_ms=now) for _ in range(2))
    expected = Growth(whole, seed=3).grow(60)
    growth = Growth(pieces, seed=3)
    assert [record for size in (0, 1, 19, 40) for record in growth.grow(size)] == expected


def test_growth_takes_created_from_the_clock_of_the_account() -> None:
    moment = [NOW]
    account = documented_account(now_ms=lambda: moment[0])
    growth = Growth(account)
    growth.grow(10)
    moment[0] += 86_400_000
    assert {record.created for record in growth.grow(10)} == {moment[0]}


def test_growth_without_people_and_trainings_raises_value_error() -> None:
    with pytest.raises(ValueError, match="needs people and trainings"):
        Growth(Account())


async def test_growth_run_keeps_its_rate_until_it_is_cancelled() -> None:
    enough = asyncio.Event()

    def watched_now() -> int:
        if len(account) >= 6 + 40:
            enough.set()
        return NOW

    account = documented_account(now_ms=watched_now)
    loop = asyncio.get_running_loop()
    started = loop.time()
    task = asyncio.create_task(Growth(account).run(rate=400.0))
    async with asyncio.timeout(10):
        await enough.wait()
    elapsed = loop.time() - started
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert 40 <= len(account) - 6 <= elapsed * 400 + 1
