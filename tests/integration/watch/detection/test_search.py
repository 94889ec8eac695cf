"""Changes below the first page: noticed by the API's count at the next poll, and found in few requests."""

import asyncio
import json
import random
from typing import TYPE_CHECKING
from unittest.mock import ANY

import pytest
from aiohttp import web

from notifier.alerts.conditions import ConditionName
from notifier.sandbox import Dialect, Override, Record
from notifier.sandbox.records import Version
from notifier.watch.rounds import RoundResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.watched_source import Answer, Asked, Station

DAY = 86_400
YEARS_AGO = 20210704
WITH_TOTAL = pytest.mark.parametrize("dialect", [Dialect(total=True), Dialect()], ids=["total", "no-total"])


async def open_and_sweep(station: "Station", records: int, dialect: Dialect | None = None, **keys: object) -> None:
    """Watch an account until its first sweep is done."""
    await station.open(records, **keys)
    station.account.dialect = dialect or Dialect()
    await station.round()
    assert (await station.memory()).swept_at_ms is not None
    station.upstream.asked.clear()
    station.clock.advance(60)


def shuffled_records(station: "Station", seed: int = 1) -> list[Record]:
    """Return the account's records in a random order."""
    return random.Random(seed).sample(list(station.account.records()), len(station.account))


async def changes(station: "Station") -> list[tuple[str, str, str]]:
    """Return record, type and detection method of each event so far."""
    rows = await station.query("SELECT subject, type, net FROM events ORDER BY sequence")
    return [(subject, type_.removeprefix("completion."), net) for subject, type_, net in rows]


@pytest.mark.usefixtures("small_pages")
@WITH_TOTAL
@pytest.mark.parametrize(("records", "most"), [(480, 8), (960, 9)])
async def test_search_finds_a_single_backdated_record_in_few_requests(
    either: "Station", dialect: Dialect, records: int, most: int
) -> None:
    await open_and_sweep(either, records, dialect, page_size=5)
    for seed in range(3):
        date = random.Random(seed).randrange(2019, 2026) * 10_000 + 815
        [new] = either.enter(date_number=date)
        either.upstream.asked.clear()
        either.clock.advance(60)
        await either.round()
        assert (await changes(either))[-1] == (either.key(new), "created", "count")
        assert len(either.upstream.requests()) - 1 <= most
    assert len(await changes(either)) == 3
    await either.check_consistency()


@pytest.mark.usefixtures("small_pages")
@WITH_TOTAL
@pytest.mark.parametrize(("records", "most"), [(480, 8), (960, 9)])
async def test_search_finds_and_confirms_a_single_deletion_in_few_requests(
    either: "Station", dialect: Dialect, records: int, most: int
) -> None:
    await open_and_sweep(either, records, dialect, page_size=5)
    for gone in shuffled_records(either)[:3]:
        key = either.key(gone)
        either.account.remove(gone.id)
        either.upstream.asked.clear()
        await either.round()
        assert either.waits() == [key]
        assert len(either.upstream.requests()) - 1 <= most
        either.upstream.asked.clear()
        await either.settle()
        assert (await changes(either))[-1] == (key, "removed", "count")
        # The head, the count, the count again, the precise question, and the number of its records.
        assert len(either.upstream.requests()) <= 5
    assert len(await changes(either)) == 3
    await either.check_consistency()


async def test_removed_event_contains_the_last_known_completion(station: "Station") -> None:
    await open_and_sweep(station, 60, page_size=10)
    gone = shuffled_records(station)[0]
    station.account.remove(gone.id)
    await station.round()
    assert station.events == []
    await station.settle()
    [event] = station.events
    data = json.loads(event.data)
    assert (event.type, event.subject) == ("completion.removed", str(gone.id))
    assert data["completion"]["user_id"] == gone.user
    assert data["previous"] is None
    assert data["record"]["id"] == gone.id
    await station.round()
    assert len(station.events) == 1


@pytest.mark.usefixtures("small_pages")
@WITH_TOTAL
@pytest.mark.parametrize(("inserts", "deletions"), [(7, 0), (0, 7), (5, 1), (1, 5), (4, 4)])
async def test_search_and_sweep_find_several_changes_with_ties_in_any_order(
    either: "Station", dialect: Dialect, inserts: int, deletions: int
) -> None:
    await open_and_sweep(either, 1_500, dialect, page_size=20)
    gone = shuffled_records(either)[:deletions]
    for record in gone:
        either.account.remove(record.id)
    new = [either.enter(date_number=20190101 + 10_000 * year)[0] for year in range(inserts)]
    either.account.reshuffle_ties(1)
    await either.round()
    # One search reads sixteen of thirty pages at most; the next follows a minute later.
    either.clock.advance(61)
    await either.round()
    if inserts and deletions:
        # Changes that cancel each other out between two places that were read are found by the sweep.
        either.clock.advance(DAY)
    await either.settle()
    expected = {(key, "created") for key in either.keys_of(new)} | {(key, "removed") for key in either.keys_of(gone)}
    assert {(key, type_) for key, type_, _ in await changes(either)} == expected
    assert (await either.memory()).records == len(either.account)
    await either.check_consistency()


@pytest.mark.usefixtures("small_pages")
async def test_search_finds_a_bulk_import_of_one_old_day_without_a_sweep(station: "Station") -> None:
    await open_and_sweep(station, 2_000, page_size=20)
    new = station.enter(170, date_number=YEARS_AGO)
    await station.round()
    assert sorted(station.told()) == sorted(station.keys_of(new))
    assert len(station.upstream.pages()) < 15
    assert len(sweeps_begun := await station.query("SELECT id FROM sweeps")) == 1, sweeps_begun


@pytest.mark.usefixtures("small_pages")
@WITH_TOTAL
async def test_changes_during_a_search_are_all_found(either: "Station", dialect: Dialect) -> None:
    await open_and_sweep(either, 1_000, dialect, page_size=20)
    new = either.enter(date_number=YEARS_AGO)
    gone = shuffled_records(either)[:2]
    to_come: list[Callable[[], object]] = [
        lambda: new.extend(either.enter()),
        lambda: new.extend(either.enter(2, date_number=20230405)),
        lambda: either.account.remove(gone[0].id),
        lambda: new.extend(either.enter(date_number=20200101)),
        lambda: either.account.remove(gone[1].id),
    ]

    async def interfere(asked: "Asked") -> None:
        if asked.limit == 50 and to_come:
            to_come.pop(0)()

    either.upstream.interfere = interfere
    for _ in range(3):
        await either.round()
    assert either.told_types()["completion.created"] > 0
    # Probes may find changes that cancel each other out between two places; the sweep finds them for certain.
    either.clock.advance(DAY)
    await either.settle()
    told = {(key, type_) for key, type_, _ in await changes(either)}
    assert told == {(key, "created") for key in either.keys_of(new)} | {
        (key, "removed") for key in either.keys_of(gone)
    }
    await either.check_consistency()


@pytest.mark.usefixtures("small_pages")
async def test_search_finds_an_edited_date_together_with_an_insert(station: "Station") -> None:
    await open_and_sweep(station, 1_000, page_size=20)
    moved = shuffled_records(station)[0]
    station.account.edit(moved.id, date_number=20191231)
    [new] = station.enter(date_number=20180606)
    await station.round()
    assert {(key, type_) for key, type_, _ in await changes(station)} == {
        (str(new.id), "created"),
        (str(moved.id), "updated"),
    }


@pytest.mark.usefixtures("small_pages")
async def test_count_check_without_a_change_makes_one_request_for_one_record(station: "Station") -> None:
    await open_and_sweep(station, 230, page_size=20)
    await station.round()
    assert station.upstream.requests() == [(1, 20), (ANY, 1)]


@pytest.mark.parametrize("records", [0, 1, 19, 20])
async def test_count_check_makes_no_request_if_the_list_fits_on_the_first_page(
    station: "Station", records: int
) -> None:
    await open_and_sweep(station, records, page_size=20)
    await station.round()
    assert station.upstream.requests() == [(1, 20)]


async def test_probe_is_requested_even_if_answers_contain_a_total(station: "Station") -> None:
    await open_and_sweep(station, 230, Dialect(total=True), page_size=20)
    await station.round()
    assert station.upstream.requests() == [(1, 20), (ANY, 1)]


@pytest.mark.usefixtures("small_pages")
async def test_search_among_unreadable_records_finds_a_new_record(station: "Station") -> None:
    await station.open(600, page_size=20)
    station.enter(2, date_number=YEARS_AGO, overrides={"date_number": "?"})
    station.enter(date_number=20200101, overrides={"m_user_id": Override.ABSENT})
    await station.round()
    assert (await station.memory()).unreadable == 3
    station.upstream.asked.clear()
    await station.round()
    assert station.upstream.requests() == [(1, 20), (1, 1)]
    [new] = station.enter(date_number=20220202)
    await station.round()
    assert await changes(station) == [(str(new.id), "created", "count")]
    assert len(await station.query("SELECT id FROM sweeps")) == 1


@pytest.mark.usefixtures("small_pages")
async def test_search_among_undated_records_finds_changes(station: "Station") -> None:
    await open_and_sweep(station, 600, page_size=20)
    new = station.enter(2, date_number=0)
    await station.round()
    assert sorted(station.told()) == sorted(station.keys_of(new))
    new += station.enter(date_number=YEARS_AGO)
    station.clock.advance(60)
    await station.round()
    assert sorted(station.told()) == sorted(station.keys_of(new))
    station.account.remove(new[0].id)
    await station.round()
    await station.settle()
    assert (await changes(station))[-1] == (str(new[0].id), "removed", "count")


class Miscounting:
    """An API whose count is wrong by a constant, page numbers included."""

    def __init__(self, station: "Station", by: int) -> None:
        self._station = station
        self._by = by
        station.upstream.interfere = self.interfere

    async def interfere(self, asked: "Asked") -> web.StreamResponse | None:
        if not asked.method.startswith("completed") or asked.page is None or asked.limit is None:
            return None
        page = self._station.account.page(Version.V2, limit=asked.limit, page=asked.page)
        count = page.total + self._by
        paging = {"total": count, "last_page": max(1, -(-count // asked.limit))}
        return web.json_response({"ok": True, "completedtrainings": page.records, "paging": paging})


async def poll_for_minutes(station: "Station", minutes: int) -> None:
    for _ in range(minutes):
        station.clock.advance(60)
        await station.round()


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("by", [3, -3])
async def test_wrong_count_raises_count_unexplained_and_causes_at_most_8_sweeps(station: "Station", by: int) -> None:
    await open_and_sweep(station, 500, page_size=20)
    Miscounting(station, by)
    await poll_for_minutes(station, 11)
    memory = await station.memory()
    assert memory.unexplained + memory.count_offset == by
    assert [condition.name for condition in station.conditions()] == [ConditionName.COUNT_UNEXPLAINED]
    await poll_for_minutes(station, 20)
    assert (await station.memory()).count_offset == 0
    await poll_for_minutes(station, 60)
    assert (await station.memory()).count_offset == by
    assert len(await station.query("SELECT id FROM sweeps")) <= 8
    assert [condition.name for condition in station.conditions()] == [ConditionName.COUNT_UNEXPLAINED]


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("by", [3, -3])
async def test_wrong_count_does_not_hide_a_later_insert_or_deletion(station: "Station", by: int) -> None:
    await open_and_sweep(station, 500, page_size=20)
    Miscounting(station, by)
    await poll_for_minutes(station, 91)
    assert (await station.memory()).count_offset == by
    station.upstream.asked.clear()
    await poll_for_minutes(station, 1)
    assert station.upstream.requests() == [(1, 20)]
    [new] = station.enter(date_number=YEARS_AGO)
    await poll_for_minutes(station, 1)
    assert await changes(station) == [(str(new.id), "created", "count")]
    station.account.remove(new.id)
    await poll_for_minutes(station, 2)
    await station.settle()
    assert (await changes(station))[1:] == [(str(new.id), "removed", "count")]
    station.upstream.interfere = None
    await poll_for_minutes(station, 61)
    assert (await station.memory()).count_offset == 0
    assert station.conditions() == ()


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("failing", [1, 2, 3, 4])
async def test_failed_search_is_repeated_and_finds_all_changes(
    station: "Station", faults: "dict[str, Answer]", failing: int
) -> None:
    await open_and_sweep(station, 1_000, page_size=20)
    new, gone = station.enter(2, date_number=YEARS_AGO), shuffled_records(station)[0]
    station.account.remove(gone.id)
    station.upstream.fail([failing + 1], faults["bad_gateway"])
    await station.round()
    station.upstream.interfere = None
    assert not [change for change in await changes(station) if change[:2] == (str(gone.id), "created")]
    station.clock.advance(61)
    await station.round()
    await station.settle()
    assert {(key, type_) for key, type_, _ in await changes(station)} == {
        *((str(record.id), "created") for record in new),
        (str(gone.id), "removed"),
    }
    await station.check_consistency()


@pytest.mark.usefixtures("small_pages")
async def test_restart_during_a_search_loses_no_event(station: "Station") -> None:
    await open_and_sweep(station, 1_000, page_size=20)
    new = station.enter(3, date_number=YEARS_AGO)
    reached = asyncio.Event()

    async def hang(asked: "Asked") -> None:
        if asked.limit == 50:
            reached.set()
            await asyncio.Event().wait()

    station.upstream.interfere = hang
    await station.watcher.poll()
    await reached.wait()
    assert station.watcher.is_searching
    station.upstream.interfere = None
    await station.restart()
    await station.round()
    assert sorted(station.told()) == sorted(station.keys_of(new))


@pytest.mark.usefixtures("small_pages")
async def test_polls_continue_during_a_search(station: "Station") -> None:
    await open_and_sweep(station, 1_000, page_size=20)
    hidden = station.enter(date_number=YEARS_AGO)
    reached, released = asyncio.Event(), asyncio.Event()

    async def hold(asked: "Asked") -> None:
        if asked.limit == 50 and asked.page != 1:
            reached.set()
            await released.wait()

    station.upstream.interfere = hold
    await station.watcher.poll()
    await reached.wait()
    fresh = station.enter(2)
    assert (await station.watcher.poll()).result is RoundResult.DONE
    assert station.told() == station.keys_of(fresh)
    released.set()
    await station.quiet()
    await station.round()
    assert sorted(station.told()) == sorted(station.keys_of([*fresh, *hidden]))
