"""Version 1 of the API has no ids: records with equal key fields are distinguished nevertheless."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from notifier.sandbox import Record
    from tests.support.watched_source import Asked, Station

DAY = 86_400

version_1 = pytest.mark.parametrize("either", ["v1"], indirect=True)


def enter_equal_records(station: "Station", *days: int, created: int | None = None) -> list["Record"]:
    """Enter records of one person, one training and one moment, completed on different days."""
    moment = station.clock.now_ms() if created is None else created
    alike: dict[str, Any] = {"user": station.account.users[0]["id"], "training": station.account.trainings[0].ids}
    return [station.account.add(**alike, created=moment, date_number=day) for day in days]


@version_1
async def test_equal_old_records_on_different_pages_are_stored_and_cause_no_event(
    either: "Station", small_pages: int
) -> None:
    watcher = await either.open(4 * small_pages, page_size=20)
    enter_equal_records(either, 20250101, 20120101, created=either.account.now_ms() - 9_000_000_000)
    await either.round()
    for _ in range(2):
        either.clock.advance(DAY + 1)
        await either.round()
    assert either.events == []
    assert watcher.memory.records == len(either.account)
    await either.check_consistency()


@version_1
async def test_sweep_makes_no_further_request_for_known_equal_records(either: "Station", small_pages: int) -> None:
    await either.open(4 * small_pages, page_size=20)
    enter_equal_records(either, 20250101, 20120101, created=either.account.now_ms() - 9_000_000_000)
    await either.round()
    either.upstream.asked.clear()
    either.clock.advance(DAY + 1)
    await either.round()
    pages = either.upstream.pages()
    assert len(pages) == 1 + -(-len(either.account) // small_pages)


@version_1
async def test_equal_records_far_apart_in_the_list_are_each_reported_once(either: "Station", small_pages: int) -> None:
    await either.open(4 * small_pages, page_size=20)
    await either.round()
    either.clock.advance(5)
    enter_equal_records(either, 20261121, 20120101)
    await either.round()
    either.clock.advance(DAY + 1)
    await either.round()
    first, second = sorted(either.told())
    assert second == f"{first}-2"
    assert either.told_types() == {"completion.created": 2}
    either.clock.advance(DAY + 1)
    await either.round()
    assert len(either.events) == 2


@version_1
async def test_edit_of_one_of_two_equal_records_is_reported_as_one_update(either: "Station", small_pages: int) -> None:
    await either.open(4 * small_pages, page_size=20)
    entered = enter_equal_records(either, 20250101, 20120101, created=either.account.now_ms() - 9_000_000_000)
    await either.round()
    either.account.edit(entered[1].id, expiry=20301231)
    either.clock.advance(DAY + 1)
    await either.round()
    assert either.told_types() == {"completion.updated": 1}
    either.clock.advance(DAY + 1)
    await either.round()
    assert len(either.events) == 1
    await either.check_consistency()


@version_1
async def test_sweep_stores_all_equal_records_that_fill_whole_pages(either: "Station", small_pages: int) -> None:
    watcher = await either.open(small_pages, page_size=20)
    enter_equal_records(either, *[20250101] * 3 * small_pages, created=either.account.now_ms() - 9_000_000_000)
    await either.round()
    assert watcher.memory.swept_at_ms is not None
    assert watcher.memory.records == len(either.account) == 4 * small_pages
    await either.check_consistency()


@version_1
async def test_record_that_moves_between_pages_of_a_precise_answer_is_reported_once(
    either: "Station", small_pages: int
) -> None:
    await either.open(2 * small_pages, page_size=20)
    alike: dict[str, Any] = {"user": either.account.users[0]["id"], "training": either.account.trainings[0].ids}
    long_ago = either.account.now_ms() - 9_000_000_000
    records = [
        either.account.add(**alike, created=long_ago + number, date_number=20250101)
        for number in range(2 * small_pages + 10)
    ]
    await either.round()
    either.account.remove(records[5].id)
    entered: list[Record] = []

    async def enter_between_two_pages(asked: "Asked") -> None:
        if asked.precise and asked.page == 2 and not entered:
            entered.extend(either.enter(**alike))

    either.upstream.interfere = enter_between_two_pages
    either.clock.advance(DAY + 1)
    await either.round()
    await either.settle()
    assert len(entered) == 1
    assert sorted(either.told()) == sorted(either.keys_of([records[5], *entered]))
    assert either.told_types() == {"completion.created": 1, "completion.removed": 1}
    await either.check_consistency()
