"""Which changes the watcher of a source reports as events, and which it does not."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import pytest

from notifier.kpa.versions import RecordFormat
from notifier.sandbox import Dialect, Override
from notifier.store.file.store import FileStore
from notifier.store.tables import sources
from notifier.watch.rounds import RoundResult
from notifier.watch.source_health import SourceState
from notifier.watch.source_reader import SourceReader

if TYPE_CHECKING:
    from notifier.events import Event
    from notifier.sandbox import Record
    from tests.support.watched_source import Station

YEARS_AGO = 20190704


def previous(event: "Event") -> dict[str, Any] | None:
    told: dict[str, Any] | None = json.loads(event.data)["previous"]
    return told


async def test_5000_existing_records_cause_no_event_and_3_new_ones_cause_3_events(either: "Station") -> None:
    await either.open(5000)
    for _ in range(3):
        assert (await either.round()).events == 0
        either.clock.advance(60)
    assert (await either.memory()).records == 5000
    new = either.enter(3)
    done = await either.round()
    assert (done.result, done.events) == (RoundResult.DONE, 3)
    assert either.told() == either.keys_of(new)
    assert either.told_types() == {"completion.created": 3}
    await either.round()
    assert len(either.events) == 3
    await either.check_consistency()


async def test_delivery_starts_before_the_next_page_is_requested(
    station: "Station", monkeypatch: pytest.MonkeyPatch
) -> None:
    await station.open(300)
    await station.round()
    order: list[str] = []
    fetch, ingester = SourceReader.fetch, station.watcher._ingester

    async def noted_fetch(*arguments: Any, **options: Any) -> Any:
        order.append("request")
        return await fetch(*arguments, **options)

    async def deliver() -> None:
        order.append("delivery")

    monkeypatch.setattr(SourceReader, "fetch", noted_fetch)
    monkeypatch.setattr(ingester, "_on_events", lambda _events: deliveries.append(asyncio.create_task(deliver())))
    deliveries: list[asyncio.Task[None]] = []
    station.enter(1)
    await station.watcher.poll()
    assert order[:3] == ["request", "delivery", "request"]


@pytest.fixture
def uses(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The number of calls of each function on the store's thread."""
    found: Counter[str] = Counter()
    run = FileStore.run

    async def count(store: FileStore, work: Any, *args: Any, **kwargs: Any) -> Any:
        found[getattr(work, "func", work).__name__] += 1
        return await run(store, work, *args, **kwargs)

    monkeypatch.setattr(FileStore, "run", count)
    return found


async def test_round_uses_the_store_once_per_answer(station: "Station", uses: Counter[str]) -> None:
    await station.open(230, page_size=10, names=True)
    for _ in range(2):
        await station.round()
    for new in (0, 1, 0):
        station.clock.advance(60)
        station.enter(new)
        uses.clear()
        assert (await station.round()).events == new
        # After a new record, one more page is read.
        assert uses == {"evaluate_and_write": 2 + new}
        assert (await station.memory()).last_success_ms == station.clock.now_ms()


async def test_poll_whose_success_cannot_be_stored_reports_nothing_and_the_next_one_does(
    station: "Station", monkeypatch: pytest.MonkeyPatch
) -> None:
    await station.open(50, page_size=100)
    await station.round()
    write_success = sources.write_success

    def fail(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("no room")

    monkeypatch.setattr(sources, "write_success", fail)
    new = station.enter()
    assert (await station.watcher.poll()).result is RoundResult.FAILED
    assert station.told() == []
    monkeypatch.setattr(sources, "write_success", write_success)
    station.clock.advance(60)
    await station.round()
    assert station.told() == station.keys_of(new)
    await station.check_consistency()


async def test_poll_of_mostly_unreadable_records_fails(station: "Station") -> None:
    await station.open(50, page_size=10)
    await station.round()
    before = await station.memory()
    for record in list(station.account.records())[:8]:
        station.account.edit(record.id, overrides={"m_user_id": Override.ABSENT})
    station.clock.advance(60)
    assert (await station.watcher.poll()).result is RoundResult.FAILED
    assert (await station.memory()).last_success_ms == before.last_success_ms


async def test_first_event_is_reported_before_any_sweep(either: "Station") -> None:
    await either.open(2000)
    await either.watcher.poll()
    new = either.enter()
    await either.watcher.poll()
    assert either.told() == either.keys_of(new)
    assert either.upstream.pages() == [(1, 100), (1, 100), (1, 1000)]


async def test_first_record_of_an_empty_account_is_reported(either: "Station") -> None:
    await either.open(2)
    for record in list(either.account.records()):
        either.account.remove(record.id)
    await either.round()
    new = either.enter()
    await either.round()
    assert either.told() == either.keys_of(new)


async def test_2500_new_records_are_each_reported_once_in_five_requests(either: "Station") -> None:
    await either.open(3000)
    await either.round()
    new = either.enter(2500)
    either.upstream.asked.clear()
    assert (await either.watcher.poll()).events == 2500
    assert either.upstream.pages() == [(1, 100), (1, 1000), (2, 1000), (3, 1000), (4, 1000)]
    assert sorted(either.told()) == sorted(either.keys_of(new))
    await either.round()
    await either.check_consistency()
    assert len(either.events) == 2500


@pytest.mark.parametrize("page_size", [1, 49, 50])
@pytest.mark.usefixtures("small_pages")
async def test_head_poll_reads_until_a_known_record_for_any_page_size(station: "Station", page_size: int) -> None:
    await station.open(300, page_size=page_size)
    await station.round()
    new = station.enter(120)
    station.upstream.asked.clear()
    await station.watcher.poll()
    large = [(1, 50), (2, 50), (3, 50), (4, 50)]
    first = [] if page_size == 50 else [(1, page_size)]
    assert station.upstream.requests() == [*first, *large, (ANY, 1)]
    assert sorted(station.told()) == sorted(station.keys_of(new))
    await station.check_consistency()


async def test_head_poll_does_not_read_beyond_the_end_of_the_list(either: "Station") -> None:
    await either.open(10, page_size=5)
    await either.round()
    either.enter(40)
    either.upstream.asked.clear()
    await either.watcher.poll()
    assert either.upstream.pages() == [(1, 5), (1, 1000)]
    assert len(either.events) == 40


async def test_events_are_in_order_of_entry_although_the_list_is_by_date(either: "Station") -> None:
    await either.open(50)
    await either.round()
    dates = [20261119, 20261121, 20261120, 20261121]
    new = [record for date in dates for record in either.enter(date_number=date)]
    await either.round()
    assert either.told() == either.keys_of(new)


@pytest.mark.usefixtures("small_pages")
async def test_first_run_notify_reports_every_existing_record_once(either: "Station") -> None:
    await either.open(230, first_run="notify", page_size=20)
    assert (await either.round()).events == 20
    everything = either.keys_of(list(either.account.records()))
    assert sorted(either.told()) == sorted(everything)
    await either.restart()
    new = either.enter()
    await either.round()
    assert either.told()[230:] == either.keys_of(new)
    await either.check_consistency()


@pytest.mark.usefixtures("small_pages")
async def test_first_run_date_reports_records_entered_since_that_date(either: "Station") -> None:
    await either.open(200, first_run="2025-01-01", page_size=20)
    since = datetime(2025, 1, 1, tzinfo=UTC).timestamp() * 1000
    expected = [record for record in either.account.records() if record.created >= since]
    assert 20 < len(expected) < 200
    await either.round()
    assert sorted(either.told()) == sorted(either.keys_of(expected))
    new = either.enter(date_number=YEARS_AGO)
    either.clock.advance(86_400)
    await either.round()
    assert either.told()[len(expected) :] == either.keys_of(new)


@pytest.mark.usefixtures("small_pages")
async def test_sweep_finds_a_backdated_record_that_a_deletion_hides_from_the_count(
    either: "Station",
) -> None:
    await either.open(200, page_size=20)
    # Nothing is asked for the count then, and no probe sees it earlier.
    either.account.dialect = Dialect(total=True)
    await either.round()
    [new] = either.enter(1, date_number=YEARS_AGO)
    gone = min(either.account.records(), key=lambda record: record.id)
    either.account.remove(gone.id)
    assert (await either.round()).events == 0
    assert either.told() == []
    either.clock.advance(86_400)
    await either.round()
    await either.settle()
    assert either.told() == either.keys_of([new, gone])
    assert await either.query("SELECT type, net FROM events") == [
        ("completion.created", "sweep"),
        ("completion.removed", "sweep"),
    ]


@pytest.mark.usefixtures("small_pages")
async def test_records_entered_during_downtime_are_reported(either: "Station") -> None:
    await either.open(150, page_size=20)
    await either.round()
    await either.close()
    either.clock.advance(7 * 86_400)
    recent, hidden = either.enter(130), either.enter(2, date_number=YEARS_AGO)
    await either.restart()
    await either.round()
    assert sorted(either.told()) == sorted(either.keys_of([*recent, *hidden]))
    await either.check_consistency()


async def test_rebuilt_state_file_gives_events_the_same_ids(station: "Station") -> None:
    await station.open(100)
    await station.watcher.poll()
    new = station.enter(3)
    await station.watcher.poll()
    before = {event.subject: event.id for event in station.events}
    await station.close()
    for file in station.store.path.parent.glob("notifier.db*"):
        file.unlink()
    await station.restart(first_run="2026-11-21")
    await station.watcher.poll()
    after = {event.subject: event.id for event in station.events[3:]}
    assert {key: after[key] for key in station.keys_of(new)} == before


async def test_first_poll_separates_history_and_news_of_the_same_moment(station: "Station") -> None:
    station.account.now_ms = station.clock.now_ms
    await station.open(50)
    station.enter()
    await station.watcher.poll()
    new = station.enter()
    await station.round()
    assert station.told() == station.keys_of(new)


async def test_edit_on_the_first_page_is_reported_with_the_previous_values(either: "Station") -> None:
    await either.open(50)
    await either.round()
    (record,) = either.enter(expiry=20271231)
    await either.round()
    either.account.edit(record.id, expiry=None, instructor="5e580f0db780600000000001")
    assert (await either.round()).events == 1
    assert either.told_types() == {"completion.created": 1, "completion.updated": 1}
    event = either.events[-1]
    assert event.subject == either.key(record)
    assert previous(event) == {"expires_on": "2027-12-31", "instructor_id": None}
    assert (await either.round()).events == 0
    await either.check_consistency()


async def test_each_edit_back_and_forth_gets_a_new_event_id(either: "Station") -> None:
    await either.open(50)
    await either.round()
    (record,) = either.enter()
    await either.round()
    for expiry in (20271231, None, 20271231, None):
        either.account.edit(record.id, expiry=expiry)
        await either.round()
        await either.settle()
    assert len({event.id for event in either.events}) == len(either.events) == 5
    await either.check_consistency()


@pytest.mark.parametrize(
    "overrides",
    [{"field_of_tomorrow": {"a": [1]}}, {"signature": {"image": "x" * 20_000}}, {"notes": None}, {"files": None}],
)
async def test_change_of_json_that_leaves_the_completion_equal_causes_no_event(
    station: "Station", overrides: dict[str, Any]
) -> None:
    await station.open(50)
    await station.round()
    (record,) = station.enter()
    await station.round()
    station.account.edit(record.id, overrides=overrides)
    assert (await station.round()).events == 0
    station.account.edit(record.id, overrides=None)
    assert (await station.round()).events == 0
    assert len(station.events) == 1


async def test_numbers_that_become_strings_cause_no_event(either: "Station") -> None:
    await either.open(50)
    await either.round()
    (record,) = either.enter()
    await either.round()
    date_field = "date_number" if either.version == "v2" else "dateNumber"
    overrides = {"created": str(record.created), date_field: str(record.date_number)}
    either.account.edit(record.id, overrides=overrides)
    assert (await either.round()).events == 0


async def test_changed_signatures_cause_no_update_but_other_edits_do(station: "Station") -> None:
    signature = {"type": "drawn", "image": "x" * 50_000}
    files = tuple({"name": f"page-{number}.jpg", "thumbnail": "y" * 700} for number in range(4))
    await station.open(50)
    await station.round()
    new = station.enter(20, signature=signature, files=files)
    await station.round()
    for _ in range(2):
        assert (await station.round()).events == 0
    for record in new:
        station.account.edit(record.id, signature={"type": "drawn", "image": "z" * 50_000})
    assert (await station.round()).events == 0
    for record in new[:2]:
        station.account.edit(record.id, notes="Retake.", files=())
    await station.round()
    updates = [event for event in station.events if event.type == "completion.updated"]
    assert [event.subject for event in updates] == station.keys_of(new[:2])
    assert all(previous(event) == {"notes": "", "has_attachments": True} for event in updates)


async def test_unreadable_records_are_logged_once(either: "Station", caplog: pytest.LogCaptureFixture) -> None:
    await either.open(50)
    await either.round()
    good = either.enter(2)
    date_field = "date_number" if either.version == "v2" else "dateNumber"
    either.enter(overrides={date_field: "yesterday"})
    either.enter(overrides={date_field: 20269999})
    for _ in range(3):
        await either.round()
    assert either.told() == either.keys_of(good)
    said = [record for record in caplog.records if "cannot be read" in record.message]
    assert len(said) == 2
    assert {record.__dict__["source"] for record in said} == {"acme"}
    assert either.watcher.state is SourceState.OK


@pytest.mark.usefixtures("small_pages")
async def test_many_unreadable_records_do_not_flood_the_log(
    station: "Station", caplog: pytest.LogCaptureFixture
) -> None:
    await station.open(230)
    for record in list(station.account.records())[60:]:
        station.account.edit(record.id, overrides={"date_number": "2020-02-27"})
    await station.round()
    assert len(caplog.records) == 101
    assert caplog.records[-1].message == "more unreadable records; further ones are not logged one by one"
    assert (await station.memory()).records == 60
    assert (await station.memory()).unreadable == 170


@pytest.mark.usefixtures("small_pages")
async def test_old_record_that_becomes_readable_after_the_first_sweep_is_history(station: "Station") -> None:
    await station.open(130, page_size=10)
    old = list(station.account.records())[100]
    station.account.edit(old.id, overrides={"date_number": "?"})
    await station.round()
    station.account.edit(old.id, overrides=None)
    station.clock.advance(86_400)
    await station.round()
    assert (await station.memory()).records == 130
    assert station.told() == []


async def test_new_unreadable_record_is_reported_when_it_becomes_readable(either: "Station") -> None:
    await either.open(50)
    await either.round()
    (late,) = either.enter(overrides={either.day: "yesterday"})
    await either.round()
    either.enter(2)
    await either.round()
    assert len(either.events) == 2
    either.account.edit(late.id, overrides=None)
    await either.round()
    assert either.told()[2:] == [either.key(late)]
    await either.check_consistency()


async def test_known_record_that_is_unreadable_for_a_while_causes_no_event(either: "Station") -> None:
    await either.open(50)
    await either.round()
    (record,) = either.enter()
    await either.round()
    either.account.edit(record.id, overrides={either.day: []})
    await either.round()
    either.account.edit(record.id, overrides=None)
    await either.round()
    assert either.told() == [either.key(record)]


async def test_record_without_entry_time_is_reported_after_the_first_sweep(either: "Station") -> None:
    await either.open(50)
    for record in list(either.account.records())[::2]:
        either.account.edit(record.id, overrides={"created": Override.ABSENT})
    await either.round()
    assert either.told() == []
    newcomers = [f"{number:024x}" for number in range(2)]
    for newcomer in newcomers:
        either.enter(user=newcomer, overrides={"created": Override.ABSENT})
    await either.round()
    assert [json.loads(event.data)["completion"]["user_id"] for event in either.events] == newcomers[::-1]
    await either.check_consistency()


def enter_equal_records(station: "Station", count: int, **fields: Any) -> list["Record"]:
    """Enter records that version 1 of the API cannot tell apart."""
    alike = {"user": station.account.users[0]["id"], "training": station.account.trainings[0].ids}
    return [station.account.add(**alike, created=station.clock.now_ms(), **fields) for _ in range(count)]


async def test_equal_records_of_version_1_get_numbered_keys(either: "Station") -> None:
    await either.open(50)
    await either.round()
    either.clock.advance(1)
    enter_equal_records(either, 2)
    await either.round()
    enter_equal_records(either, 1)
    await either.round()
    assert len(either.events) == 3
    if either.version == "v1":
        first, second, third = either.told()
        assert (second, third) == (f"{first}-2", f"{first}-3")
    either.clock.advance(86_400)
    await either.round()
    assert len(either.events) == 3
    await either.check_consistency()


@pytest.mark.parametrize("widened", [False, True])
async def test_changed_filters_lose_no_record_that_earlier_ones_include(station: "Station", *, widened: bool) -> None:
    await station.open(0)
    me, other = (person["id"] for person in station.account.users[:2])
    for user in (me, other):
        station.enter(30, user=user, date_number=20250101)
    station.enter(60, user=me, date_number=20240601)
    station.clock.advance(3600)
    await station.restart(user_id=me if widened else None, page_size=10)
    await station.round()
    station.clock.advance(3600)
    if widened:
        station.enter(user=other, date_number=20230101)
    (entered,) = station.enter(user=me, date_number=20240601)
    # An entry and a deletion of the same day leave the count as it is, so that polls do not find them.
    station.account.remove([record.id for record in station.account.records() if record.user == me][-1])
    station.clock.advance(60)
    await station.watcher.poll()
    told = station.told()
    assert station.key(entered) not in told
    await station.restart(user_id=None if widened else me)
    await station.round()
    assert station.told() == [*told, station.key(entered)]


async def test_stop_cancels_the_task_that_polls(station: "Station", monkeypatch: pytest.MonkeyPatch) -> None:
    await station.open(50)
    asked = asyncio.Event()

    async def never_answer(*_: Any, **__: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(SourceReader, "fetch", never_answer)
    poll = asyncio.create_task(station.watcher.poll())
    await asked.wait()
    await station.watcher.stop()
    assert poll.cancelled()


async def test_quiet_round_parses_no_record(station: "Station", monkeypatch: pytest.MonkeyPatch) -> None:
    await station.open(230, page_size=10)
    for _ in range(2):
        await station.round()
    parsed: list[Any] = []

    def note(_format: RecordFormat, records: Iterable[Any]) -> tuple[list[Any], list[Any]]:
        parsed.extend(records)
        return [], []

    monkeypatch.setattr(RecordFormat, "parse", note)
    station.clock.advance(60)
    asked = len(station.upstream.asked)
    assert (await station.round()).result is RoundResult.DONE
    assert len(station.upstream.asked) == asked + 2
    assert parsed == []


@pytest.mark.parametrize("work", ["begin_sweep", "run_followups"])
async def test_begin_sweep_and_run_followups_request_nothing_after_stop(station: "Station", work: str) -> None:
    await station.open(50, names=True)
    await station.watcher.poll()
    # Both query the store first, and the watcher is stopped in the meantime.
    begun = asyncio.create_task(getattr(station.watcher, work)())
    await asyncio.sleep(0)
    await station.watcher.stop()
    asked = len(station.upstream.asked)
    await begun
    await asyncio.sleep(0.1)
    assert not station.watcher.is_sweeping
    assert len(station.upstream.asked) == asked
