"""Runs the daily expiry rounds on the store of a watched source."""

import asyncio
import json
import time
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from notifier.delivery.subscriptions import subscriptions_of
from notifier.events import Event
from notifier.watch.expiry_rounds import ExpiryRounds, local_day
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from notifier.sandbox.records import Record
    from tests.support.watched_source import Station

ENDS = ["completion.expiring", "completion.expired", "completion.renewed"]


class Calendar:
    """The expiry rounds of one watched source; they can be restarted at any time."""

    def __init__(self, station: "Station") -> None:
        self.station = station
        self.events: list[Event] = []
        self.set_aside: list[str] = []
        self.clock_offset: float | None = 0.0
        self.restart()

    def restart(self) -> None:
        station = self.station
        assert station.settings is not None
        settings, wanted = station.settings, subscriptions_of(station.settings.destinations)
        self.rounds = ExpiryRounds(
            station.store,
            station.clock,
            lambda: settings,
            lambda: wanted,
            self.events.extend,
            self.set_aside.extend,
            clock_offset_seconds=lambda: self.clock_offset,
        )

    async def look(self) -> None:
        """Poll the source, then run an expiry round."""
        before = len(self.station.events)
        await self.station.round()
        await self.station.settle()
        self.rounds.note_events(self.station.events[before:])
        await self.rounds.run_due_rounds()

    async def days(self, count: int) -> None:
        for _ in range(count):
            self.station.clock.advance(86_400)
            await self.rounds.run_due_rounds()

    def told(self) -> list[tuple[str, str]]:
        return [(event.type.removeprefix("completion."), event.subject) for event in self.events]

    def today(self) -> date:
        return local_day(self.station.clock.now_ms())


async def names_are_stored(station: "Station") -> None:
    """Wait until the names of people and trainings are fetched and stored."""
    deadline = time.monotonic() + DEADLINE
    while await station.query("SELECT count(*) FROM names_fetched") != [(2,)]:
        assert time.monotonic() < deadline, "waited in vain for the names"
        await asyncio.sleep(0.002)


def number(day: date) -> int:
    return int(day.strftime("%Y%m%d"))


def enter(calendar: Calendar, *, person: int = 0, training: int = 0, ago: int = 0, left: int | None = None) -> "Record":
    """Add a completion from `ago` days ago that is valid for `left` more days (None: by its training's rule)."""
    station, today = calendar.station, calendar.today()
    (record,) = station.enter(
        user=station.account.users[person]["id"],
        training=station.account.trainings[training].ids,
        date_number=number(today - timedelta(days=ago)),
        expiry=None if left is None else number(today + timedelta(days=left)),
    )
    return record


def data_of(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event.data)
    return found
