"""Sweeps: resumed where they were, beside head polls, over a list that moves while it is read."""

import asyncio
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import pytest
from aiohttp import web

from notifier.kpa.versions import RecordFormat, SkimmedRecords
from notifier.sandbox import Dialect, Override
from notifier.store.tables import second_looks, sweeps
from notifier.store.tables.second_looks import LookKind, SecondLook

if TYPE_CHECKING:
    from notifier.store.tables.sweeps import Sweep
    from tests.support.watched_source import Asked, Station

pytestmark = pytest.mark.usefixtures("small_pages")

DAY = 86_400
YEARS_AGO = 20190704


class Gate:
    """Holds one page of a sweep back until it is opened."""

    def __init__(self, station: "Station", page: int) -> None:
        self._page = page
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        station.upstream.interfere = self.interfere

    async def interfere(self, asked: "Asked") -> "web.StreamResponse | None":
        if (asked.page, asked.limit) == (self._page, 50):
            self.reached.set()
            await self.opened.wait()
        return None


async def latest(station: "Station") -> "Sweep":
    found = await station.store.run(sweeps.latest, "acme")
    assert found is not None
    return found


def sweep_pages(station: "Station") -> list[int | None]:
    return [page for page, limit in station.upstream.pages() if limit == 50]


async def test_the_first_sweep_reads_the_whole_list_once(station: "Station") -> None:
    await station.open(230, page_size=10)
    await station.round()
    assert sweep_pages(station) == [1, 2, 3, 4, 5]
    sweep = await latest(station)
    assert (sweep.finished_ms, sweep.records, sweep.changes) == (station.clock.now_ms(), 230, 0)
    assert (await station.memory()).swept_at_ms == station.clock.now_ms()
    await station.round()
    assert len(sweep_pages(station)) == 5


async def test_the_next_sweep_begins_an_interval_later(station: "Station") -> None:
    await station.open(120, page_size=10, sweep_interval="6h")
    await station.round()
    station.clock.advance(6 * 3600 - 1)
    await station.round()
    assert len(sweep_pages(station)) == 3
    station.clock.advance(1)
    await station.round()
    assert sweep_pages(station) == [1, 2, 3, 1, 2, 3]


async def test_a_clock_that_is_set_does_not_put_sweeps_off(station: "Station") -> None:
    await station.open(40, page_size=10)
    await station.round()
    station.clock.set_wall_clock(-365 * DAY)
    await station.round()
    assert sweep_pages(station) == [1, 1]
    await station.round()
    assert sweep_pages(station) == [1, 1]


async def test_entries_during_the_first_sweep_are_told_and_history_is_not(either: "Station") -> None:
    await either.open(230, page_size=10)
    gate = Gate(either, page=3)
    await either.watcher.poll()
    await either.watcher.run_followups()
    await gate.reached.wait()
    on_top, below = either.enter(2), either.enter(2, date_number=YEARS_AGO)
    await either.watcher.poll()
    assert either.told() == either.keys_of(on_top)
    gate.opened.set()
    await either.quiet()
    assert either.told() == either.keys_of([*on_top, *below])
    assert (await either.memory()).records == 234
    await either.check_consistency()


@pytest.mark.parametrize("page", [1, 2, 4, 5])
async def test_a_sweep_goes_on_after_a_restart_where_it_was(station: "Station", page: int) -> None:
    await station.open(230, page_size=10)
    gate = Gate(station, page)
    await station.watcher.poll()
    await station.watcher.run_followups()
    await gate.reached.wait()
    await station.close()
    station.upstream.interfere = None
    await station.restart()
    begun = await latest(station)
    assert begun.finished_ms is None
    assert begun.next_page in (page - 1, page)
    station.upstream.asked.clear()
    hidden = station.enter(2, date_number=19991231)
    await station.round()
    assert sweep_pages(station) == list(range(begun.next_page, 6))
    assert station.told() == station.keys_of(hidden)
    done = await latest(station)
    assert (done.id, done.finished_ms is None) == (begun.id, False)
    assert (await station.memory()).records == 232
    await station.check_consistency()


async def stop_at_some_request(station: "Station", rng: random.Random) -> None:
    """Do a round, and end the watcher in the middle of it: before or after the API has answered one of its requests."""
    reached = asyncio.Event()
    requests_left = rng.randrange(1, 8)

    async def count(_: "Asked") -> None:
        nonlocal requests_left
        requests_left -= 1
        if requests_left <= 0:
            reached.set()
            if rng.random() < 0.5:
                await asyncio.Event().wait()

    station.upstream.interfere = count
    at_work = asyncio.create_task(station.round())
    waiting = asyncio.create_task(reached.wait())
    await asyncio.wait({at_work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    at_work.cancel()
    waiting.cancel()
    await asyncio.wait({at_work, waiting})
    station.upstream.interfere = None
    await station.restart()


async def test_whenever_it_is_stopped_nothing_is_lost_and_nothing_told_twice(either: "Station") -> None:
    rng = random.Random(7)
    await either.open(230, page_size=10)
    await either.watcher.poll()
    new = []
    for _ in range(25):
        new += either.enter(rng.choice([1, 3, 30, 80]), date_number=rng.choice([20261121, 20261121, YEARS_AGO]))
        either.clock.advance(rng.choice([60, DAY]))
        await stop_at_some_request(either, rng)
    for _ in range(2):
        either.clock.advance(DAY)
        await either.round()
    written = await either.query("SELECT subject, type FROM events")
    assert sorted(written) == sorted((key, "completion.created") for key in either.keys_of(new))


async def test_polls_and_a_sweep_that_read_the_same_records_tell_each_once(either: "Station") -> None:
    rng = random.Random(11)

    async def dawdle(_: "Asked") -> None:
        await asyncio.sleep(rng.choice([0, 0, 0.001, 0.004]))

    await either.open(120, page_size=10)
    await either.round()
    either.upstream.interfere = dawdle
    new = []
    for _ in range(8):
        new += either.enter(rng.choice([5, 70]))
        edited = rng.choice(new)
        either.account.edit(edited.id, expiry=rng.choice([None, 20271231, 20281231]))
        await either.watcher.begin_sweep()
        await asyncio.gather(*(either.watcher.poll() for _ in range(3)))
        await either.quiet()
    created = [event.subject for event in either.events if event.type == "completion.created"]
    assert sorted(created) == sorted(either.keys_of(new))
    await either.check_consistency()


async def test_two_who_begin_a_sweep_begin_one(station: "Station") -> None:
    await station.open(120, page_size=10)
    await station.watcher.poll()
    await asyncio.gather(*(station.watcher.begin_sweep() for _ in range(5)))
    await station.quiet()
    assert sweep_pages(station) == [1, 2, 3]
    assert len(await station.query("SELECT * FROM sweeps")) == 1


async def test_a_sweep_by_hand_before_the_first_poll_meets_the_source_first(either: "Station") -> None:
    await either.open(230, page_size=10)
    gate = Gate(either, page=3)
    await either.watcher.begin_sweep()
    await gate.reached.wait()
    new = [*either.enter(1), *either.enter(2, date_number=YEARS_AGO)]
    gate.opened.set()
    await either.quiet()
    await either.watcher.poll()
    assert sorted(either.told()) == sorted(either.keys_of(new))


async def test_a_sweep_by_hand_while_the_first_poll_is_on_its_way(either: "Station") -> None:
    async def dawdle(asked: "Asked") -> None:
        if asked.limit == 10:
            await asyncio.sleep(0.02)

    await either.open(230, page_size=10)
    either.upstream.interfere = dawdle
    first = asyncio.create_task(either.watcher.poll())
    await either.watcher.begin_sweep()
    await first
    new = either.enter(1, date_number=YEARS_AGO)
    await either.quiet()
    either.clock.advance(DAY)
    await either.round()
    assert either.told() == either.keys_of(new)


def shrink(station: "Station", to: int) -> None:
    for record in list(station.account.records())[to:]:
        station.account.remove(record.id)


@pytest.mark.parametrize("dialect", [Dialect(), Dialect(missing_is_error=True), Dialect(total=True)])
@pytest.mark.parametrize("gate_page", [2, 4])
async def test_a_list_that_becomes_shorter_while_it_is_read_ends_where_it_ends(
    station: "Station", dialect: Dialect, gate_page: int
) -> None:
    await station.open(230, page_size=10)
    station.account.dialect = dialect
    gate = Gate(station, gate_page)
    await station.watcher.poll()
    await station.watcher.run_followups()
    await gate.reached.wait()
    shrink(station, 60)
    gate.opened.set()
    await station.quiet()
    assert (await latest(station)).finished_ms is not None
    assert station.watcher.state == "ok"


@pytest.mark.parametrize("dialect", [Dialect(), Dialect(missing_is_error=True)])
async def test_a_list_that_became_shorter_while_the_notifier_was_down_does_not_hold_a_sweep_up(
    station: "Station", dialect: Dialect
) -> None:
    await station.open(230, page_size=10)
    station.account.dialect = dialect
    gate = Gate(station, page=5)
    await station.watcher.poll()
    await station.watcher.run_followups()
    await gate.reached.wait()
    await station.close()
    station.upstream.interfere = None
    shrink(station, 60)
    await station.restart()
    await station.round()
    assert (await latest(station)).finished_ms is not None
    assert station.watcher.state == "ok"
    station.clock.advance(60)
    assert (await station.round()).result == "done"


@pytest.mark.parametrize("dialect", [Dialect(), Dialect(missing_is_error=True)])
async def test_the_end_of_a_list_that_became_shorter_ends_a_head_poll(station: "Station", dialect: Dialect) -> None:
    await station.open(10, page_size=10)
    await station.round()
    station.account.dialect = dialect
    new = station.enter(70)

    async def shrink_before_the_second(asked: "Asked") -> None:
        if (asked.page, asked.limit) == (2, 50):
            shrink(station, 50)

    station.upstream.interfere = shrink_before_the_second
    assert (await station.watcher.poll()).result == "done"
    assert sorted(station.told()) == sorted(station.keys_of(new[20:]))


async def test_a_page_that_is_empty_for_no_reason_ends_a_sweep_without_harm(station: "Station") -> None:
    await station.open(120, page_size=10)
    await station.watcher.poll()
    shrink(station, 0)
    await station.watcher.run_followups()
    await station.quiet()
    assert station.told() == []


async def test_undated_entries_during_the_first_sweep_are_taken_for_history(station: "Station") -> None:
    await station.open(230, page_size=10)
    gate = Gate(station, page=3)
    await station.watcher.poll()
    await station.watcher.run_followups()
    await gate.reached.wait()
    station.enter(1, overrides={"created": Override.ABSENT})
    await station.watcher.poll()
    gate.opened.set()
    await station.quiet()
    assert station.told() == []
    station.enter(1, overrides={"created": Override.ABSENT})
    await station.watcher.poll()
    assert len(station.told()) == 1


@pytest.mark.parametrize("page", [1, 2, 5])
async def test_stopping_in_the_middle_leaves_nothing_running(
    station: "Station", page: int, caplog: pytest.LogCaptureFixture
) -> None:
    await station.open(230, page_size=10)
    gate = Gate(station, page)
    await station.watcher.poll()
    await station.watcher.run_followups()
    await gate.reached.wait()
    watcher = station.watcher
    async with asyncio.timeout(20):
        await station.close()
    assert not watcher.is_sweeping
    assert not [task for task in asyncio.all_tasks() if "sweep" in repr(task.get_coro())]
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("total", [True, False])
async def test_a_first_sweep_reads_again_where_a_deletion_hid_a_record(either: "Station", total: bool) -> None:
    await either.open(230, page_size=10)
    either.account.dialect = Dialect(total=total)
    gate = Gate(either, page=3)
    await either.watcher.poll()
    await either.watcher.run_followups()
    await gate.reached.wait()
    # The first record of page 3 comes to stand on page 2, which has been read.
    standing = list(either.account.records())
    hidden = standing[100]
    for record in standing[20:22]:
        either.account.remove(record.id)
    await either.watcher.poll()
    gate.opened.set()
    await either.quiet()
    known = {key for (key,) in await either.query("SELECT key FROM records")}
    assert either.key(hidden) in known
    assert {either.key(record) for record in either.account.records()} <= known
    assert len(sweep_pages(either)) > 5
    assert "list_unsearchable" not in [condition.name for condition in either.conditions()]
    # Those that were read and deleted before the sweep was over are found by the count.
    await either.round()
    await either.settle()
    assert (await either.memory()).records == 228
    assert either.told_types() == {"completion.removed": 2}


async def test_a_sweep_that_was_interrupted_by_a_deletion_while_the_notifier_was_down_reads_again(
    station: "Station",
) -> None:
    await station.open(230, page_size=10)
    gate = Gate(station, page=4)
    await station.watcher.poll()
    await station.watcher.run_followups()
    await gate.reached.wait()
    await station.watcher.poll()
    await station.close()
    station.upstream.interfere = None
    standing = list(station.account.records())
    station.account.remove(standing[20].id)
    await station.restart()
    station.upstream.asked.clear()
    await station.round()
    assert sweep_pages(station) == [3, 4, 5]
    known = {key for (key,) in await station.query("SELECT key FROM records")}
    assert station.key(standing[150]) in known


async def test_a_quiet_sweep_asks_for_each_page_once_and_for_the_count_before_and_after(station: "Station") -> None:
    await station.open(230, page_size=10)
    await station.round()
    station.clock.advance(DAY)
    station.upstream.asked.clear()
    await station.round()
    assert station.upstream.requests() == [
        (1, 10),
        (ANY, 1),
        (1, 1),
        *((page, 50) for page in range(1, 6)),
        (1, 1),
    ]
    assert (await latest(station)).changes == 0


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records of a page were parsed, for each page but those of one record."""
    sizes: list[int] = []
    parse, parse_except = RecordFormat.parse, SkimmedRecords.parse_except

    def count(version: RecordFormat, records: Any) -> Any:
        sizes.extend([len(records)] if len(records) > 1 else [])
        return parse(version, records)

    def count_others(skimmed: SkimmedRecords, read: Any) -> Any:
        others = parse_except(skimmed, read)
        sizes.extend([len(others)] if others else [])
        return others

    monkeypatch.setattr(RecordFormat, "parse", count)
    monkeypatch.setattr(SkimmedRecords, "parse_except", count_others)
    return sizes


async def test_a_later_sweep_parses_only_what_has_changed(station: "Station", parsed: list[int]) -> None:
    await station.open(230, page_size=10)
    await station.round()
    await station.round()
    assert parsed == [10, 50, 50, 50, 50, 30, 10]
    standing = list(station.account.records())
    for edited, changes, expected, unreadable in (
        (standing[20], {}, [], 0),
        (standing[123], {"expiry": 20300101}, [1], 0),
        (standing[20], {"overrides": {"m_user_id": Override.ABSENT}}, [50], 1),
        (standing[123], {}, [50], 1),
        (standing[20], {"overrides": {}}, [], 0),
    ):
        station.account.edit(edited.id, **changes)
        parsed.clear()
        station.clock.advance(DAY)
        await station.round()
        assert parsed == expected
        assert (await station.memory()).unreadable == unreadable
    assert station.told_types() == {"completion.updated": 1}
    await station.check_consistency()


async def test_the_first_sweep_after_a_start_parses_everything(station: "Station", parsed: list[int]) -> None:
    await station.open(230, page_size=10)
    await station.round()
    await station.restart()
    station.clock.advance(DAY)
    parsed.clear()
    await station.round()
    assert parsed == [10, 50, 50, 50, 50, 30]


async def test_a_page_that_was_only_skimmed_shows_that_its_records_are_not_gone(station: "Station") -> None:
    await station.open(230, page_size=10, confirm_after="1h")
    await station.round()
    record = list(station.account.records())[123]
    key = station.key(record)
    await station.store.run(
        second_looks.put, "acme", [SecondLook(key, LookKind.REMOVAL, station.clock.now_ms(), 1, "sweep", 0, "u", "t")]
    )
    await station.watcher.second_looks.recall()
    assert station.waits() == [key]
    await station.watcher.begin_sweep()
    await station.quiet()
    assert station.waits() == []
    assert await station.query("SELECT key FROM second_looks") == []


async def test_edits_below_the_first_page_are_told_by_the_next_sweep_with_what_they_changed(either: "Station") -> None:
    await either.open(230, page_size=10)
    await either.round()
    edited = list(either.account.records())[123]
    either.account.edit(edited.id, expiry=20300101)
    await either.round()
    assert either.told() == []
    either.clock.advance(DAY)
    await either.round()
    [event] = either.events
    assert (event.type, event.subject) == ("completion.updated", either.key(edited))
    data = json.loads(event.data)
    assert data["completion"]["expires_on"] == "2030-01-01"
    assert set(data["previous"]) == {"expires_on"}


async def test_deletions_while_a_place_is_read_again_hide_nothing_either(station: "Station") -> None:
    await station.open(500, page_size=10)
    standing = list(station.account.records())
    served: Counter[int | None] = Counter()
    reached, released = asyncio.Event(), asyncio.Event()
    deletions = {(3, 1): standing[:50], (2, 2): standing[50:51]}

    async def interfere(asked: "Asked") -> None:
        if asked.limit != 50:
            return
        served[asked.page] += 1
        for record in deletions.get((asked.page or 0, served[asked.page]), ()):
            station.account.remove(record.id)
        if (asked.page, served[asked.page]) in {(4, 1), (3, 2)}:
            reached.set()
            await released.wait()
            released.clear()

    station.upstream.interfere = interfere
    await station.watcher.poll()
    await station.watcher.run_followups()
    for held_up in (4, 3):
        await reached.wait()
        reached.clear()
        # The count is taken when the page before the one that is held up has been written.
        while (await latest(station)).next_page != held_up:
            await asyncio.sleep(0.002)
        await station.watcher.poll()
        released.set()
    await station.quiet()
    known = {key for (key,) in await station.query("SELECT key FROM records")}
    assert {station.key(record) for record in station.account.records()} <= known


@pytest.mark.parametrize(
    "answer",
    [
        {"ok": True, "completedtrainings": [], "paging": {"last_page": 5}},
        {"ok": True, "completedtrainings": [], "paging": {"last_page": 2}},
        {"ok": False, "error": "content_not_found"},
    ],
    ids=["empty", "empty_and_last", "refused"],
)
async def test_one_empty_answer_does_not_end_a_sweep(station: "Station", answer: dict[str, Any]) -> None:
    await station.open(230, page_size=10)
    await station.round()
    oldest = [*station.account.records()][-1]
    station.account.edit(oldest.id, notes="corrected")
    empty = iter([answer])

    async def interfere(asked: "Asked") -> "web.StreamResponse | None":
        is_chosen = (asked.page, asked.limit) == (3, 50)
        return web.json_response(found) if is_chosen and (found := next(empty, None)) else None

    station.upstream.interfere = interfere
    station.clock.advance(DAY)
    await station.round()
    assert station.told() == [station.key(oldest)]
    assert (await latest(station)).records == 230
    assert next(empty, None) is None
