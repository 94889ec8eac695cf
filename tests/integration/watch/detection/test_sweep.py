"""Sweeps: resumed where they stopped, during head polls, and over a list that changes while it is read."""

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
    """Delays the answer with one page of a sweep until `opened` is set."""

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


async def test_first_sweep_reads_the_whole_list_once(station: "Station") -> None:
    await station.open(230, page_size=10)
    await station.round()
    assert sweep_pages(station) == [1, 2, 3, 4, 5]
    sweep = await latest(station)
    assert (sweep.finished_ms, sweep.records, sweep.changes) == (station.clock.now_ms(), 230, 0)
    assert (await station.memory()).swept_at_ms == station.clock.now_ms()
    await station.round()
    assert len(sweep_pages(station)) == 5


async def test_next_sweep_begins_after_the_sweep_interval(station: "Station") -> None:
    await station.open(120, page_size=10, sweep_interval="6h")
    await station.round()
    station.clock.advance(6 * 3600 - 1)
    await station.round()
    assert len(sweep_pages(station)) == 3
    station.clock.advance(1)
    await station.round()
    assert sweep_pages(station) == [1, 2, 3, 1, 2, 3]


async def test_wall_clock_set_back_does_not_postpone_the_next_sweep(station: "Station") -> None:
    await station.open(40, page_size=10)
    await station.round()
    station.clock.set_wall_clock(-365 * DAY)
    await station.round()
    assert sweep_pages(station) == [1, 1]
    await station.round()
    assert sweep_pages(station) == [1, 1]


async def test_first_sweep_reports_only_records_entered_during_it(either: "Station") -> None:
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
async def test_sweep_resumes_at_its_page_after_a_restart(station: "Station", page: int) -> None:
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


async def test_watcher_stopped_at_any_request_reports_each_record_once(either: "Station") -> None:
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


async def test_simultaneous_polls_and_sweep_report_each_record_once(either: "Station") -> None:
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


async def test_begin_sweep_called_five_times_at_once_begins_one_sweep(station: "Station") -> None:
    await station.open(120, page_size=10)
    await station.watcher.poll()
    await asyncio.gather(*(station.watcher.begin_sweep() for _ in range(5)))
    await station.quiet()
    assert sweep_pages(station) == [1, 2, 3]
    assert len(await station.query("SELECT * FROM sweeps")) == 1


async def test_sweep_before_the_first_poll_reports_only_records_entered_during_it(either: "Station") -> None:
    await either.open(230, page_size=10)
    gate = Gate(either, page=3)
    await either.watcher.begin_sweep()
    await gate.reached.wait()
    new = [*either.enter(1), *either.enter(2, date_number=YEARS_AGO)]
    gate.opened.set()
    await either.quiet()
    await either.watcher.poll()
    assert sorted(either.told()) == sorted(either.keys_of(new))


async def test_sweep_during_the_first_poll_reports_only_later_records(either: "Station") -> None:
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
async def test_sweep_finishes_if_the_list_becomes_shorter_during_it(
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
async def test_resumed_sweep_finishes_if_the_list_became_shorter_during_downtime(
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
async def test_head_poll_ends_at_the_end_of_a_list_that_became_shorter(station: "Station", dialect: Dialect) -> None:
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


async def test_sweep_of_a_list_that_became_empty_reports_nothing(station: "Station") -> None:
    await station.open(120, page_size=10)
    await station.watcher.poll()
    shrink(station, 0)
    await station.watcher.run_followups()
    await station.quiet()
    assert station.told() == []


async def test_records_without_entry_time_are_history_until_the_first_sweep_is_over(station: "Station") -> None:
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
async def test_close_while_the_list_is_read_leaves_no_task_running(
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
async def test_first_sweep_rereads_pages_where_a_deletion_hid_a_record(either: "Station", total: bool) -> None:
    await either.open(230, page_size=10)
    either.account.dialect = Dialect(total=total)
    gate = Gate(either, page=3)
    await either.watcher.poll()
    await either.watcher.run_followups()
    await gate.reached.wait()
    # The first record of page 3 moves to page 2, which has already been read.
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
    # The count shows that records which the sweep had read were deleted before its end.
    await either.round()
    await either.settle()
    assert (await either.memory()).records == 228
    assert either.told_types() == {"completion.removed": 2}


async def test_resumed_sweep_rereads_a_page_after_a_deletion_during_downtime(
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


async def test_sweep_without_changes_requests_each_page_once_and_the_count_twice(station: "Station") -> None:
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
    """The number of parsed records of each page, except pages of one record."""
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


async def test_later_sweep_parses_only_changes_and_unreadable_pages(station: "Station", parsed: list[int]) -> None:
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


async def test_first_sweep_after_a_restart_parses_all_records(station: "Station", parsed: list[int]) -> None:
    await station.open(230, page_size=10)
    await station.round()
    await station.restart()
    station.clock.advance(DAY)
    parsed.clear()
    await station.round()
    assert parsed == [10, 50, 50, 50, 50, 30]


async def test_skimmed_page_that_lists_a_suspected_record_cancels_its_second_look(station: "Station") -> None:
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


async def test_sweep_reports_an_edit_below_the_first_page_with_the_changed_field(either: "Station") -> None:
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


async def test_deletions_while_the_first_sweep_rereads_pages_hide_no_record(station: "Station") -> None:
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
        # The count is requested after the page before the delayed one has been stored.
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
async def test_sweep_continues_after_one_empty_answer(station: "Station", answer: dict[str, Any]) -> None:
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
