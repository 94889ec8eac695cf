"""Removals: suspected by count or sweep, confirmed by a precise question, and never reported by mistake."""

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from notifier.alerts.conditions import ConditionName
from notifier.sandbox import Dialect, Record
from notifier.sandbox.records import Version
from notifier.watch.detection.holds import Direction

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.watched_source import Answer, Asked, Station

DAY = 86_400
HOUR = 3_600

pytestmark = pytest.mark.usefixtures("small_pages")


async def open_and_sweep(station: "Station", records: int, **keys: object) -> None:
    """Watch an account until its first sweep is done."""
    await station.open(records, **keys)
    await station.round()
    station.upstream.asked.clear()
    station.clock.advance(60)


def random_records(station: "Station", count: int) -> list[Record]:
    return random.Random(1).sample(list(station.account.records()), count)


async def removed(station: "Station") -> list[str]:
    rows = await station.query("SELECT subject FROM events WHERE type = 'completion.removed' ORDER BY sequence")
    return [subject for (subject,) in rows]


def conditions(station: "Station") -> list[ConditionName]:
    return [condition.name for condition in station.conditions()]


def questions(station: "Station") -> int:
    """Count the precise questions: pages that are not of the whole list."""
    return sum(asked.precise for asked in station.upstream.asked)


async def test_sweep_finds_removals_that_the_count_does_not_show(either: "Station") -> None:
    await open_and_sweep(either, 230, page_size=10)
    either.account.dialect = Dialect(total=True)
    gone = random_records(either, 3)
    for record in gone:
        either.account.remove(record.id)
    either.enter(3, date_number=20200101)
    await either.round()
    assert await removed(either) == []
    either.clock.advance(DAY)
    await either.round()
    await either.settle()
    assert sorted(await removed(either)) == sorted(either.keys_of(gone))
    either.clock.advance(DAY)
    await either.round()
    assert len(await removed(either)) == 3
    await either.check_consistency()


async def test_one_precise_question_covers_all_missing_records_of_a_person(station: "Station") -> None:
    await open_and_sweep(station, 0, page_size=10)
    alike = station.enter(4, user=station.account.users[0]["id"], training=station.account.trainings[0].ids)
    others = station.enter(200)
    await station.round()
    for record in alike[:3]:
        station.account.remove(record.id)
    station.upstream.asked.clear()
    await station.round()
    assert sorted(station.waits()) == sorted(station.keys_of(alike[:3]))
    assert questions(station) == 1
    await station.settle()
    assert sorted(await removed(station)) == sorted(station.keys_of(alike[:3]))
    assert len(others) + 1 == (await station.memory()).records


async def test_removed_record_that_returns_is_created_and_can_be_removed_again(station: "Station") -> None:
    await open_and_sweep(station, 120)
    gone = random_records(station, 1)[0]
    for _ in range(2):
        station.account.remove(gone.id)
        await station.round()
        await station.settle()
        station.account.add_many([gone])
        await station.round()
        await station.settle()
    rows = await station.query("SELECT type, revision, count(DISTINCT id) FROM events GROUP BY 1, 2 ORDER BY 2")
    assert rows == [
        ("completion.removed", 2, 1),
        ("completion.created", 3, 1),
        ("completion.removed", 4, 1),
        ("completion.created", 5, 1),
    ]


@pytest.mark.parametrize("either", ["v1"], indirect=True)
async def test_removal_of_one_of_equal_records_reports_the_highest_number(either: "Station") -> None:
    await open_and_sweep(either, 60)
    user, training = either.account.users[0]["id"], either.account.trainings[0].ids
    equal = [either.account.add(user=user, training=training, created=either.clock.now_ms()) for _ in range(3)]
    await either.round()
    keys = sorted(either.told())
    either.account.remove(equal[1].id)
    await either.round()
    await either.settle()
    assert await removed(either) == [keys[2]]
    assert keys[2].endswith("-3")


@pytest.mark.parametrize("net", ["count", "sweep"])
async def test_failed_precise_question_removes_nothing_and_is_repeated(
    station: "Station", refusal: "Callable[[str], Answer]", net: str
) -> None:
    await open_and_sweep(station, 230, page_size=10)
    gone = random_records(station, 1)[0]
    station.account.remove(gone.id)
    if net == "sweep":
        station.enter(1, date_number=gone.date_number)
        station.clock.advance(DAY)

    async def fail(asked: "Asked") -> web.StreamResponse | None:
        return await refusal("server_error")() if asked.precise else None

    station.upstream.interfere = fail
    await station.round()
    assert await removed(station) == []
    station.upstream.interfere = None
    station.clock.advance(61)
    await station.round()
    await station.settle()
    assert await removed(station) == [str(gone.id)]


async def test_removal_of_a_persons_only_record_is_found_if_empty_answers_are_errors(station: "Station") -> None:
    await station.open(230, page_size=10)
    station.account.dialect = Dialect(missing_is_error=True)
    newcomer = "5e580f0cb780600088bd2cff"
    [record] = station.enter(user=newcomer)
    await station.round()
    station.account.remove(record.id)
    await station.round()
    await station.settle()
    assert await removed(station) == [str(record.id)]


async def test_record_that_becomes_unreadable_is_not_reported_as_removed(station: "Station") -> None:
    await open_and_sweep(station, 120, page_size=10)
    bad = random_records(station, 1)[0]
    station.account.edit(bad.id, overrides={"created": "?"})
    for _ in range(2):
        station.clock.advance(DAY)
        await station.round()
    assert await removed(station) == []
    station.account.edit(bad.id, overrides={})
    await station.round()
    assert await station.query("SELECT type FROM events") == []


Shown = tuple[list[dict[str, object]], int]
"""The records of a page, and the number of the last one."""


def serve_list(station: "Station", shown: "Callable[[Asked], Shown]") -> None:
    """Answer requests for the whole list with `shown`, which is wrong; answer precise questions correctly."""

    async def interfere(asked: "Asked") -> web.StreamResponse | None:
        if not asked.method.startswith("completed") or asked.precise:
            return None
        records, last_page = shown(asked)
        return web.json_response({"ok": True, "completedtrainings": records, "paging": {"last_page": last_page}})

    station.upstream.interfere = interfere


def half_pages(station: "Station", asked: "Asked") -> Shown:
    """Leave out the second half of each page."""
    page = station.account.page(Version.V2, limit=asked.limit or 0, page=asked.page or 0)
    return page.records[: max(1, len(page.records) // 2)], page.last_page


async def test_empty_list_removes_nothing_and_raises_removals_held_until_it_is_back(station: "Station") -> None:
    await open_and_sweep(station, 230, page_size=10)
    serve_list(station, lambda _: ([], 1))
    await station.round()
    assert conditions(station) == [ConditionName.REMOVALS_HELD]
    assert (await station.memory()).held == 230
    assert questions(station) == 0
    await station.restart()
    await station.round()
    station.clock.advance(DAY)
    await station.round()
    assert conditions(station) == [ConditionName.REMOVALS_HELD]
    station.upstream.interfere = None
    new = station.enter()
    await station.round()
    await station.round()
    assert conditions(station) == []
    assert station.told() == station.keys_of(new)
    assert await removed(station) == []
    assert questions(station) == 0


async def test_short_pages_remove_nothing(station: "Station") -> None:
    await open_and_sweep(station, 230, page_size=10)
    serve_list(station, lambda asked: half_pages(station, asked))
    for _ in range(3):
        station.clock.advance(DAY)
        await station.round()
    assert await removed(station) == []
    station.upstream.interfere = None
    for _ in range(2):
        station.clock.advance(DAY)
        await station.round()
    assert await removed(station) == []
    assert conditions(station) == []
    [new] = station.enter(date_number=20200101)
    await station.round()
    assert station.told() == [str(new.id)]


@pytest.mark.parametrize(("gone", "held"), [(20, False), (21, True)])
async def test_removals_above_the_limit_are_held_until_released(station: "Station", gone: int, held: bool) -> None:
    await open_and_sweep(station, 300, page_size=10)
    victims = random_records(station, gone)
    for record in victims:
        station.account.remove(record.id)
    await station.round()
    # One search asks twenty questions at most, and so does a round of second looks.
    station.clock.advance(61)
    await station.round()
    await station.settle()
    assert len(await removed(station)) == (0 if held else gone)
    assert conditions(station) == ([ConditionName.REMOVALS_HELD] if held else [])
    if held:
        assert await station.watcher.release(Direction.REMOVALS, silently=False) == gone
        await station.quiet()
        assert sorted(await removed(station)) == sorted(station.keys_of(victims))
        assert conditions(station) == []


async def test_release_of_removals_spares_a_record_that_moves_during_its_sweep(station: "Station") -> None:
    await open_and_sweep(station, 300, page_size=10)
    records = sorted(station.account.records(), key=lambda record: -record.date_number)
    moved, victims = records[200], records[100:140]
    for record in victims:
        station.account.remove(record.id)
    await station.round()
    assert conditions(station) == [ConditionName.REMOVALS_HELD]

    async def move_before_page_3(asked: "Asked") -> None:
        if (asked.page, asked.limit) == (3, 50):
            station.account.edit(moved.id, date_number=records[20].date_number)

    station.upstream.interfere = move_before_page_3
    await station.watcher.release(Direction.REMOVALS, silently=False)
    await station.quiet()
    assert sorted(await removed(station)) == sorted(station.keys_of(victims))
    assert conditions(station) == []


@pytest.mark.parametrize("silently", [True, False])
async def test_release_of_removals_ends_the_second_look_of_a_released_record(
    station: "Station", *, silently: bool
) -> None:
    await open_and_sweep(station, 300, page_size=10, confirm_after="1h")
    first, *others = random_records(station, 40)
    station.account.remove(first.id)
    await station.round()
    assert list(station.watcher.second_looks.by_key) == station.keys_of([first])
    for record in others:
        station.account.remove(record.id)
    station.clock.advance(61)
    await station.round()
    assert conditions(station) == [ConditionName.REMOVALS_HELD]
    await station.watcher.release(Direction.REMOVALS, silently=silently)
    await station.quiet()
    for _ in range(2):
        station.clock.advance(HOUR)
        await station.round()
    assert station.watcher.second_looks.by_key == {}
    assert station.watcher.memory.unexplained == 0
    assert sorted(await removed(station)) == ([] if silently else sorted(station.keys_of([first, *others])))


@pytest.mark.parametrize("silently", [True, False])
async def test_release_does_not_remove_what_a_second_look_has_removed_meanwhile(
    station: "Station", *, silently: bool
) -> None:
    await open_and_sweep(station, 30)
    [victim] = station.keys_of(random_records(station, 1))
    assert await station.watcher._ingester.remove([victim], silently=False) == 1
    assert await station.watcher._ingester.remove([victim], silently=silently) == 0
    assert (await station.memory()).records == 29


async def test_held_removals_do_not_hide_a_new_record(station: "Station") -> None:
    await open_and_sweep(station, 300, page_size=10)
    for record in random_records(station, 40):
        station.account.remove(record.id)
    await station.round()
    assert conditions(station) == [ConditionName.REMOVALS_HELD]
    station.clock.advance(2 * HOUR)
    [new] = station.enter(date_number=20200101)
    for _ in range(2):
        await station.round()
    assert station.told() == [str(new.id)]
    assert conditions(station) == [ConditionName.REMOVALS_HELD]


async def test_changed_filter_starts_a_sweep_before_the_interval_is_over(station: "Station") -> None:
    await open_and_sweep(station, 300, page_size=10)
    station.clock.advance(60)
    await station.restart(training_id=str(station.account.trainings[0].ids.v2))
    for _ in range(3):
        station.clock.advance(60)
        await station.round()
    await station.settle()
    assert (await station.memory()).swept_at_ms is not None


async def test_records_missing_from_lists_but_counted_by_paging_are_not_removed(station: "Station") -> None:
    """The API omits records from its list and from precise answers, but counts them."""
    await open_and_sweep(station, 230, page_size=10)
    hidden = {record.id for record in random_records(station, 10)}

    async def interfere(asked: "Asked") -> web.StreamResponse | None:
        if not asked.method.startswith("completed") or asked.counts:
            return None
        if asked.precise:
            return web.json_response({"ok": True, "completedtrainings": [], "paging": {"last_page": 1}})
        page = station.account.page(Version.V2, limit=asked.limit or 0, page=asked.page or 0)
        records = [record for record in page.records if record["id"] not in hidden]
        return web.json_response({"ok": True, "completedtrainings": records, "paging": {"last_page": page.last_page}})

    station.upstream.interfere = interfere
    for _ in range(5):
        station.clock.advance(DAY)
        await station.round()
    station.upstream.interfere = None
    for _ in range(2):
        station.clock.advance(DAY)
        await station.round()
    assert station.told() == []
    assert conditions(station) == []


async def test_restart_during_precise_questions_still_confirms_all_removals(station: "Station") -> None:
    await open_and_sweep(station, 230, page_size=10)
    # No probe sees it before the sweep.
    station.account.dialect = Dialect(total=True)
    gone = random_records(station, 10)
    for record in gone:
        station.account.remove(record.id)
    station.enter(10, date_number=20200101)
    station.clock.advance(DAY)
    reached = asyncio.Event()

    async def hang_at_the_fourth(asked: "Asked") -> None:
        if asked.precise and questions(station) == 4:
            reached.set()
            await asyncio.Event().wait()

    station.upstream.interfere = hang_at_the_fourth
    await station.watcher.poll()
    await station.watcher.run_followups()
    await reached.wait()
    station.upstream.interfere = None
    await station.restart()
    await station.round()
    await station.settle()
    assert sorted(await removed(station)) == sorted(station.keys_of(gone))
    await station.check_consistency()


async def test_records_of_a_person_whom_the_api_rejects_are_reported_as_removed(
    either: "Station", refusal: "Callable[[str], Answer]"
) -> None:
    await open_and_sweep(either, 230, page_size=10)
    person = [*either.account.records()][100].user
    gone = [record for record in either.account.records() if record.user == person]
    for record in gone:
        either.account.remove(record.id)
    refuse = refusal("parameter_invalid")

    async def interfere(asked: "Asked") -> web.StreamResponse | None:
        return await refuse() if asked.precise else None

    either.upstream.interfere = interfere
    either.clock.advance(DAY)
    await either.round()
    await either.settle()
    assert sorted(await removed(either)) == sorted(either.keys_of(gone))
    assert conditions(either) == []
    assert either.watcher.request_failures() == {}
