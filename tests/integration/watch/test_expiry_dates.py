"""Announcements by the account's employee status list: its dates, its failures, and the dates that are kept."""

import asyncio
import logging
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from notifier.destinations.webhook.envelope import cloudevent
from notifier.destinations.webhook.event_schema import schema
from notifier.watch.expiry_rounds import ExpiryRounds
from tests.support.expiry_calendar import ENDS, Calendar, data_of, enter, names_are_stored, number
from tests.support.watched_source import bad_gateway, refuse

if TYPE_CHECKING:
    from tests.support.watched_source import Asked, Station

STATUS = "training-employee-status.list"


class CheckedCalendar(Calendar):
    """Rounds that read the list through the station's watcher."""

    def restart(self) -> None:
        super().restart()
        rounds, station = self.rounds, self.station
        assert station.settings is not None
        settings = station.settings
        self.rounds = ExpiryRounds(
            station.store,
            station.clock,
            lambda: settings,
            rounds._subscriptions,
            self.events.extend,
            self.set_aside.extend,
            lambda _: station.watcher.employee_status,
        )

    async def look(self) -> None:
        await super().look()
        await self.end_round()

    async def days(self, count: int) -> None:
        for _ in range(count):
            await super().days(1)
            await self.end_round()

    async def end_round(self) -> None:
        await self.rounds.wait_for_readings()
        await self.rounds.run_due_rounds()

    def set_listed_end(self, record: Any, days: int) -> None:
        """Set the date in the list on which a completion runs out to so many days from today."""
        end = self.today() + timedelta(days=days)
        self.station.account.status_ends[record.user, record.training.v2] = number(end)


@pytest.fixture
async def calendar(station: "Station") -> CheckedCalendar:
    station.destinations = {"hr": {"events": ENDS}}
    await station.open(0, names=True, expiry=True, expiry_dates="employee_status")
    await station.watcher.poll()
    await station.round()
    await names_are_stored(station)
    made = CheckedCalendar(station)
    await made.look()
    return made


def asked(station: "Station") -> int:
    return sum(request.method == STATUS for request in station.upstream.asked)


async def test_employee_status_date_takes_precedence_and_each_end_is_announced_once(calendar: CheckedCalendar) -> None:
    sooner = enter(calendar, person=1, left=300)
    later = enter(calendar, person=2, left=5)
    agreed = enter(calendar, person=3, left=60)
    unruled = enter(calendar, person=4, training=28)
    for record, days in ((sooner, 40), (later, 200), (unruled, 50)):
        calendar.set_listed_end(record, days)
    await calendar.look()
    until = calendar.today() + timedelta(days=40)
    for day in range(80):
        if day % 9 == 4:
            calendar.restart()
        await calendar.days(1)
    assert sorted(calendar.told()) == sorted(
        (stage, str(record.id)) for record in (sooner, agreed, unruled) for stage in ("expiring", "expired")
    )
    for event in calendar.events:
        assert data_of(event)["completion"]["valid_until_source"] == "employee_status"
        Draft202012Validator(schema()).validate(orjson.loads(orjson.dumps(cloudevent(event))))
    first = next(event for event in calendar.events if event.subject == str(sooner.id))
    assert data_of(first)["completion"]["valid_until"] == until.isoformat()


async def test_employee_status_list_is_read_once_a_day_in_a_separate_task(
    calendar: CheckedCalendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.watch.employee_statuses.PEOPLE_PER_PAGE", 20)
    before, people = asked(calendar.station), len(calendar.station.account.users)
    await calendar.days(1)
    assert asked(calendar.station) - before == -(-people // 20)
    await calendar.look()
    assert asked(calendar.station) - before == -(-people // 20)
    held = asyncio.Event()

    async def hold(_: Any) -> None:
        await held.wait()

    calendar.station.upstream.interfere = hold
    calendar.station.clock.advance(86_400)
    await asyncio.wait_for(calendar.rounds.run_due_rounds(), 5)
    await asyncio.wait_for(calendar.rounds.stop(), 5)
    held.set()


async def test_failing_employee_status_list_is_logged_once_and_other_dates_are_used(
    calendar: CheckedCalendar, caplog: pytest.LogCaptureFixture
) -> None:
    told_by_list = enter(calendar, person=1, left=300)
    calendar.set_listed_end(told_by_list, 20)
    await calendar.days(1)
    await calendar.look()
    await calendar.days(1)
    assert calendar.told() == [("expiring", str(told_by_list.id))]
    own = enter(calendar, person=2, left=3)
    caplog.set_level(logging.WARNING)
    calendar.station.upstream.fail(range(1, 100), refuse("token_permission"), method=STATUS)
    await calendar.look()
    await calendar.days(30)
    assert calendar.told()[1:] == [
        ("expiring", str(own.id)),
        ("expired", str(own.id)),
        ("expired", str(told_by_list.id)),
    ]
    sources = [data_of(event)["completion"]["valid_until_source"] for event in calendar.events]
    assert sources == ["employee_status", "special_expiry", "special_expiry", "employee_status"]
    said = [record for record in caplog.records if "employee status list" in record.message]
    assert len(said) == 1
    assert said[0].__dict__["reason"] == "token_permission"


async def test_employee_status_list_that_works_again_corrects_an_announcement(calendar: CheckedCalendar) -> None:
    record = enter(calendar, person=1, left=10)
    calendar.set_listed_end(record, 300)
    calendar.station.upstream.fail([1], bad_gateway, method=STATUS)
    await calendar.look()
    await calendar.days(1)
    assert calendar.told() == [("expiring", str(record.id))]
    await calendar.days(1)
    assert [stage for stage, _ in calendar.told()] == ["expiring", "renewed"]
    told = data_of(calendar.events[-1])["completion"]
    assert date.fromisoformat(told["valid_until"]) == calendar.today() + timedelta(days=298)
    assert told["valid_until_source"] == "employee_status"


async def test_employee_status_date_of_an_earlier_completion_is_ignored(
    calendar: CheckedCalendar,
) -> None:
    record = enter(calendar, person=1, left=400)
    earlier = number(calendar.today() - timedelta(days=100))
    ends = {"id": record.training.v2, "date_number": earlier, "expiresOn": number(calendar.today())}
    people = [{"m_user_id": record.user, "status": "expiring", "last_completed": [ends]}]

    async def cached(asked: "Asked") -> web.StreamResponse | None:
        said = {"ok": True, "employees": people, "paging": {"last_page": 1}}
        return web.json_response(said) if asked.method == STATUS else None

    calendar.station.upstream.interfere = cached
    await calendar.look()
    await calendar.days(2)
    assert calendar.events == []
    ends["date_number"] = record.date_number
    await calendar.days(1)
    assert [subject for _, subject in calendar.told()] == [str(record.id)]


async def test_renewal_while_the_list_is_read_prevents_the_old_announcement(
    calendar: CheckedCalendar,
) -> None:
    record = enter(calendar, person=1, ago=9, left=400)
    await calendar.look()
    ends = {"id": record.training.v2, "date_number": record.date_number, "expiresOn": number(calendar.today())}
    people = [{"m_user_id": record.user, "status": "expiring", "last_completed": [ends]}]

    async def renew(asked: "Asked") -> web.StreamResponse | None:
        if asked.method != STATUS:
            return None
        calendar.station.upstream.interfere = None
        before = len(calendar.station.events)
        enter(calendar, person=1, left=500)
        await calendar.station.watcher.poll()
        calendar.rounds.note_events(calendar.station.events[before:])
        return web.json_response({"ok": True, "employees": people, "paging": {"last_page": 1}})

    calendar.station.upstream.interfere = renew
    calendar.station.clock.advance(3_600)
    calendar.restart()
    await calendar.rounds.run_due_rounds()
    await calendar.end_round()
    assert len(calendar.station.events) == 2
    assert calendar.events == []


async def test_record_moved_to_another_person_is_renewed_and_announced_in_one_round(
    calendar: CheckedCalendar,
) -> None:
    record = enter(calendar, person=1, left=400)
    calendar.set_listed_end(record, 20)
    await calendar.look()
    await calendar.days(1)
    moved = calendar.station.account.edit(record.id, user=calendar.station.account.users[2]["id"])
    calendar.set_listed_end(moved, 19)
    await calendar.station.round()
    await calendar.station.settle()
    # The process ends before it has cancelled the announcement.
    calendar.restart()
    await calendar.days(1)
    assert [stage for stage, _ in calendar.told()] == ["expiring", "renewed", "expiring"]
    people = [data_of(event)["completion"]["user_id"] for event in calendar.events]
    assert people == [record.user, moved.user, moved.user]
