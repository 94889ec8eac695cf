"""Expiry rounds over a year of days, with restarts, on the store of a watched source."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from notifier.destinations.webhook.envelope import cloudevent
from notifier.destinations.webhook.event_schema import schema
from notifier.store.errors import StoreError, StoreReason
from notifier.store.tables import erasure
from notifier.store.tables.erasure import KnownPerson
from notifier.watch.expiry_rounds import local_day
from tests.support.expiry_calendar import ENDS, Calendar, data_of, enter, names_are_stored, number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.watched_source import Station


@pytest.fixture
async def calendar(station: "Station") -> Calendar:
    station.destinations = {"hr": {"events": ENDS}, "audit": {"events": [*ENDS, "completion.created"]}}
    await station.open(0, names=True, expiry=True)
    await station.watcher.poll()
    await station.round()
    await names_are_stored(station)
    made = Calendar(station)
    await made.look()
    return made


async def waiting(calendar: Calendar, destination: str = "hr") -> "Iterable[str]":
    rows = await calendar.station.query(
        "SELECT e.type || ' ' || e.subject FROM deliveries JOIN events e USING (sequence)"
        f" WHERE destination = '{destination}' AND e.type <> 'completion.created' ORDER BY sequence"
    )
    return [row[0].removeprefix("completion.") for row in rows]


async def test_400_daily_rounds_with_restarts_announce_each_end_once(calendar: Calendar) -> None:
    by_date = enter(calendar, person=1, left=200)
    by_rule = enter(calendar, person=2, training=17, ago=200)
    newer = enter(calendar, person=3, left=300)
    enter(calendar, person=3, ago=50, left=100)
    gone = enter(calendar, person=22, left=100)
    assert calendar.station.account.users[22].get("terminationDate")
    never = enter(calendar, person=4, training=28)
    await calendar.look()
    for day in range(400):
        if day % 7 == 3:
            calendar.restart()
        await calendar.days(1)
    keys = {"by_date": str(by_date.id), "by_rule": str(by_rule.id), "newer": str(newer.id)}
    assert sorted(calendar.told()) == sorted((stage, key) for key in keys.values() for stage in ("expiring", "expired"))
    assert str(gone.id) not in dict(map(reversed, calendar.told()))  # type: ignore[arg-type]
    assert str(never.id) not in {subject for _, subject in calendar.told()}
    assert len({event.id for event in calendar.events}) == 6
    days = {told: local_day(event.time_ms) for told, event in zip(calendar.told(), calendar.events, strict=True)}
    until = date.fromisoformat(data_of(calendar.events[-1])["completion"]["valid_until"])
    assert days["expiring", str(newer.id)] == until - timedelta(days=30)
    assert days["expired", str(newer.id)] == until + timedelta(days=1)
    assert sorted(await waiting(calendar)) == sorted(f"{stage} {key}" for stage, key in calendar.told())


async def test_completion_that_ended_before_expiry_was_enabled_is_not_announced(calendar: Calendar) -> None:
    enter(calendar, ago=400, left=-30)
    enter(calendar, person=1, ago=400, left=20)
    await calendar.look()
    await calendar.days(25)
    assert [stage for stage, _ in calendar.told()] == ["expiring", "expired"]


async def test_renewal_cancels_pending_deliveries_and_is_announced_at_once(calendar: Calendar) -> None:
    old = enter(calendar, person=1, left=10)
    await calendar.look()
    calendar.restart()
    await calendar.look()
    assert await waiting(calendar) == [f"expiring {old.id}"]
    new = enter(calendar, person=1, left=400)
    await calendar.look()
    assert await waiting(calendar) == [f"renewed {old.id}"]
    assert sorted(set(calendar.set_aside)) == ["audit", "hr"]
    data = data_of(calendar.events[-1])
    assert data["completion"]["key"] == str(new.id)
    assert data["previous"] == {
        "key": str(old.id),
        "valid_until": (calendar.today() + timedelta(days=10)).isoformat(),
    }
    await calendar.days(3)
    assert calendar.told() == [("expiring", str(old.id)), ("renewed", str(old.id))]


async def test_edit_or_removal_cancels_an_announcement_and_a_restored_end_repeats_it(calendar: Calendar) -> None:
    record = enter(calendar, person=1, left=10)
    await calendar.look()
    await calendar.days(1)
    first, later = record.expiry, number(calendar.today() + timedelta(days=300))
    for expiry in (later, first):
        calendar.station.account.edit(record.id, expiry=expiry)
        await calendar.station.watcher.begin_sweep()
        await calendar.look()
        await calendar.days(1)
    assert [stage for stage, _ in calendar.told()] == ["expiring", "renewed", "expiring"]
    assert len({event.id for event in calendar.events}) == 3
    calendar.station.account.remove(record.id)
    await calendar.look()
    await calendar.days(1)
    assert [stage for stage, _ in calendar.told()] == ["expiring", "renewed", "expiring", "renewed"]
    await calendar.days(40)
    assert len(calendar.events) == 4


async def test_end_of_a_record_moved_to_another_person_is_announced_once_per_person(calendar: Calendar) -> None:
    record = enter(calendar, person=1, left=20)
    await calendar.look()
    await calendar.days(1)
    calendar.station.account.edit(record.id, user=calendar.station.account.users[2]["id"])
    await calendar.station.watcher.begin_sweep()
    await calendar.look()
    await calendar.days(5)
    assert [stage for stage, _ in calendar.told()] == ["expiring", "renewed", "expiring"]
    assert data_of(calendar.events[-1])["completion"]["user_id"] == calendar.station.account.users[2]["id"]


async def test_failed_expiry_round_is_repeated_and_announces_each_end_once(
    calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.watch.expiry_rounds._AT_ONCE", 1)
    keys = {str(enter(calendar, person=person, left=5).id) for person in range(1, 6)}
    await calendar.look()
    store, run, left = calendar.station.store, calendar.station.store.run, 4

    async def broken(work: Any, *args: Any) -> Any:
        nonlocal left
        if work.__name__ == "announce_due":
            left -= 1
            if left < 0:
                raise StoreError(StoreReason.DISK_FULL, "the disk is full")
        return await run(work, *args)

    calendar.station.clock.advance(86_400)
    monkeypatch.setattr(store, "run", broken)
    await calendar.rounds.run_due_rounds()
    assert len(calendar.events) == 4
    monkeypatch.setattr(store, "run", run)
    calendar.restart()
    await calendar.rounds.run_due_rounds()
    assert {subject for _, subject in calendar.told()} == keys
    assert len(calendar.events) == 5


async def test_expiry_event_has_only_default_person_fields(calendar: Calendar) -> None:
    enter(calendar, person=1, left=5)
    await calendar.look()
    await calendar.days(1)
    (event,) = calendar.events
    assert data_of(event)["user"].keys() == {"id", "employee_number"}
    Draft202012Validator(schema()).validate(orjson.loads(orjson.dumps(cloudevent(event))))


async def test_erasing_a_person_whose_record_still_exists_repeats_no_announcement(calendar: Calendar) -> None:
    record = enter(calendar, person=1, left=5)
    await calendar.look()
    await calendar.days(1)
    person, store = KnownPerson("acme", record.user, None), calendar.station.store
    await store.run(erasure.erase_events, person)
    await store.run(erasure.erase_records, person, calendar.station.clock.now_ms())
    # The name and the facts are read again, because the account still has the person.
    await calendar.station.query("DELETE FROM names_fetched")
    await calendar.look()
    await names_are_stored(calendar.station)
    await calendar.days(9)
    assert calendar.told() == [("expiring", str(record.id)), ("expired", str(record.id))]
    calendar.station.account.remove(record.id)
    await calendar.station.watcher.begin_sweep()
    await calendar.look()
    await store.run(erasure.erase_records, person, calendar.station.clock.now_ms())
    assert await calendar.station.query("SELECT user_id FROM expiries") == [("",)]


async def test_expiry_round_announces_nothing_before_the_first_sweep_is_over(calendar: Calendar) -> None:
    station = calendar.station
    enter(calendar, person=1, left=10)
    await station.round()
    # A file whose first sweep has not reached the end may lack a newer completion.
    await station.store.run(lambda db: db.execute("UPDATE sources SET swept_at = NULL").rowcount)
    await station.store.run(lambda db: db.execute("UPDATE expiry_rounds SET last = NULL").rowcount)
    calendar.restart()
    await calendar.rounds.run_due_rounds()
    assert calendar.events == []
    await station.store.run(lambda db: db.execute("UPDATE sources SET swept_at = 1").rowcount)
    await calendar.rounds.run_due_rounds()
    assert [stage for stage, _ in calendar.told()] == ["expiring"]


async def test_first_expiry_round_waits_until_names_are_stored(station: "Station") -> None:
    station.destinations = {"hr": {"events": ENDS}}
    await station.open(0, names=True, expiry=True)
    await station.watcher.poll()
    calendar = Calendar(station)
    await calendar.rounds.run_due_rounds()
    assert await station.query("SELECT last FROM expiry_rounds") == [(None,)]


async def test_changed_filters_do_not_cancel_or_repeat_announcements(calendar: Calendar) -> None:
    inside, outside = enter(calendar, person=1, left=10), enter(calendar, person=2, left=10)
    await calendar.look()
    await calendar.days(1)
    told = [("expiring", str(inside.id)), ("expiring", str(outside.id))]
    assert calendar.told() == told
    for user in (inside.user, None):
        await calendar.station.restart(user_id=user)
        calendar.restart()
        await calendar.look()
        await calendar.days(1)
        assert calendar.told() == told
    await calendar.days(20)
    assert calendar.told()[2:] == [("expired", key) for _, key in told]


async def test_renumbered_records_keep_their_announcements(calendar: Calendar) -> None:
    account = calendar.station.account
    records = [enter(calendar, person=person, left=10) for person in range(1, 6)]
    await calendar.look()
    await calendar.days(1)
    assert len(calendar.told()) == 5
    for record in records:
        account.remove(record.id)
    account.add_many(replace(record, id=record.id + 1000) for record in records)
    await calendar.station.watcher.begin_sweep()
    await calendar.look()
    assert (await calendar.station.memory()).renumbered == 5
    calendar.restart()
    await calendar.days(1)
    assert len(calendar.told()) == 5
    await calendar.days(20)
    assert calendar.told()[5:] == [("expired", str(record.id + 1000)) for record in records]


async def test_change_of_api_version_keeps_announcements(station: "Station") -> None:
    station.version = "v1"
    station.destinations = {"hr": {"events": ENDS}}
    await station.open(0, names=True, expiry=True)
    await station.watcher.poll()
    await station.round()
    await names_are_stored(station)
    calendar = Calendar(station)
    await calendar.look()
    records = [enter(calendar, person=person, left=10) for person in range(1, 4)]
    await calendar.look()
    await station.restart(api="v2")
    await station.round()
    calendar.restart()
    await calendar.look()
    await calendar.days(1)
    assert [stage for stage, _ in calendar.told()] == ["expiring"] * 3
    await calendar.days(20)
    assert calendar.told()[3:] == [("expired", str(record.id)) for record in records]


@pytest.mark.parametrize("days", [400, 5, -5])
async def test_expiry_round_announces_nothing_while_peers_contradict_the_clock(calendar: Calendar, days: int) -> None:
    record, clock = enter(calendar, person=1, left=33), calendar.station.clock
    await calendar.look()
    clock.set_wall_clock(days * 86_400)
    calendar.clock_offset = None
    calendar.restart()
    await calendar.rounds.run_due_rounds()
    calendar.clock_offset = -days * 86_400.0
    await calendar.rounds.run_due_rounds()
    assert calendar.events == []
    clock.set_wall_clock(-days * 86_400)
    calendar.clock_offset = 1.0
    await calendar.days(60)
    assert calendar.told() == [("expiring", str(record.id)), ("expired", str(record.id))]


async def test_expiry_round_does_not_wait_indefinitely_for_peers_that_do_not_answer(calendar: Calendar) -> None:
    enter(calendar, person=1, left=10)
    await calendar.look()
    calendar.clock_offset = None
    calendar.restart()
    calendar.station.clock.advance(11 * 86_400)
    await calendar.rounds.run_due_rounds()
    assert [stage for stage, _ in calendar.told()] == ["expired"]
