"""Digests at their slots: the real worker and a real state file in virtual time, with clock changes and sleep."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from notifier.config.message_destinations import SlackSettings
from notifier.config.webhooks import HttpSettings
from notifier.delivery.worker import Worker
from notifier.destinations.base import Grouping
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.events import EventType
from notifier.store.queries import history
from notifier.store.queries.history import DeliveryFilter
from notifier.store.tables import destinations, outbox, requeue
from notifier.store.tables.outbox import Delivery, DeliveryState
from notifier.store.tables.requeue import RetrySelection
from tests.simulation.delivery import PlannedEvent, insert_events, open_store
from tests.support.virtual_time import ThreadlessStore, VirtualTimeLoop

CHICAGO = ZoneInfo("America/Chicago")
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
DELIVERED, DOWN = Outcome(AttemptResult.DELIVERED, 200), Outcome(AttemptResult.SERVER_ERROR, 500)


def moment_of(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=CHICAGO).timestamp() * 1000)


def local_time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, CHICAGO):%m-%d %H:%M}"


@dataclass
class MachineClock:
    """The loop's time. The machine may sleep, and timers stop meanwhile; its wall clock may be set."""

    began_ms: int
    slept: float = 0.0
    set_by_ms: int = 0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.slept

    def now_ms(self) -> int:
        return self.began_ms + round(self.monotonic() * 1000) + self.set_by_ms


@dataclass(frozen=True)
class Message:
    at: str
    records: tuple[str, ...]
    is_digest: bool
    taken: bool


@dataclass
class Channel:
    """A receiver whose answers a test chooses, and which records its requests."""

    clock: MachineClock
    grouping: Grouping
    answer: Callable[[Sequence[Delivery]], Outcome] = lambda _deliveries: DELIVERED
    messages: list[Message] = field(default_factory=list)
    room: int = 1000
    mixed: bool = False
    name: str = "hr"

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        await asyncio.sleep(0.05)
        outcome = self.answer(deliveries)
        records = tuple(it.event.subject for it in deliveries)
        is_digest = deliveries[0].slot_ms is not None
        # Checked at the end: the worker would treat an error raised here as a fault of the event.
        self.mixed |= len({it.slot_ms for it in deliveries}) > 1
        taken = outcome is DELIVERED
        self.messages.append(Message(local_time(self.clock.now_ms()), records, is_digest, taken))
        return outcome

    async def count_fitting(self, deliveries: Sequence[Delivery]) -> int:
        return min(self.room, len(deliveries))

    @property
    def taken(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(it.at, it.records) for it in self.messages if it.taken]


@dataclass
class World:
    """A state file, a channel, and the worker between them."""

    store: ThreadlessStore
    clock: MachineClock
    channel: Channel
    settings: SlackSettings | HttpSettings
    worker: Worker | None = None
    entered: int = 0

    async def start(self, **changed: Any) -> None:
        if changed:
            self.settings = make_settings(**changed)
        self.worker = Worker(self.channel, self.settings, self.store, self.clock, lambda: 0.5)
        await self.worker.start()

    async def stop(self) -> None:
        assert self.worker is not None
        await self.worker.stop(1.0)
        self.worker = None

    async def kill(self) -> None:
        """End the worker as a killed process ends: at once, without writing anything."""
        assert self.worker is not None
        tasks = {it for it in asyncio.all_tasks() if it is not asyncio.current_task()}
        self.worker._running = False
        for timer in self.worker._timers.values():
            timer.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.worker = None

    async def enter(self, *records: str, kind: str = EventType.CREATED) -> None:
        news = [PlannedEvent(record, kind=kind) for record in records]
        await self.store.run(insert_events, news, self.clock.now_ms())
        self.entered += len(records)
        if self.worker is not None:
            self.worker.wake()

    async def until(self, text: str) -> None:
        """Wait until this local time."""
        seconds = (moment_of(text) - self.clock.now_ms()) / 1000
        await asyncio.sleep(max(0.0, seconds))

    async def sleep_machine(self, seconds: float) -> None:
        self.clock.slept += seconds
        if self.worker is not None:
            self.worker.after_sleep(seconds)
        await asyncio.sleep(1.0)

    async def waiting(self) -> tuple[int, str | None]:
        """Return how many events wait for the schedule, and until when, as the status shows it."""
        memory = (await self.store.run(destinations.read_all))["hr"]
        return memory.scheduled, None if memory.scheduled_for_ms is None else local_time(memory.scheduled_for_ms)


def make_settings(**keys: Any) -> SlackSettings | HttpSettings:
    kind = keys.pop("type", "slack")
    wanted = {"type": kind, "url": "https://127.0.0.1:9/x", "timezone": "America/Chicago", "rate": 0, **keys}
    return (SlackSettings if kind == "slack" else HttpSettings).model_validate(wanted)


Story = Callable[[World], Awaitable[None]]


def play(story: Story, began: str, **keys: Any) -> World:
    settings = make_settings(**keys)
    clock = MachineClock(moment_of(began))
    grouping = (
        Grouping(10, digest_above=settings.digest_above)
        if isinstance(settings, SlackSettings)
        else Grouping(settings.batch_size, settings.batch_wait)
    )

    async def perform() -> World:
        async with open_store() as store:
            world = World(store, clock, Channel(clock, grouping), settings)
            await world.start()
            await story(world)
            if world.worker is not None:
                await world.stop()
            assert not world.channel.mixed
            return world

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(perform())


def test_schedule_sends_all_events_since_the_last_slot_as_one_digest() -> None:
    async def story(world: World) -> None:
        await world.enter("1", "2")
        await world.until("2026-06-01T20:00")
        await world.enter("3")
        assert await world.waiting() == (3, "06-02 08:00")
        await world.until("2026-06-02T08:00:30")
        assert await world.waiting() == (0, None)
        await world.enter("4")
        await world.until("2026-06-04T09:00")

    world = play(story, "2026-06-01T12:00", schedule="daily 08:00")
    assert world.channel.taken == [("06-02 08:00", ("1", "2", "3")), ("06-03 08:00", ("4",))]


def test_quiet_hours_collect_events_into_one_digest_and_others_are_sent_at_once() -> None:
    async def story(world: World) -> None:
        await world.enter("1")
        await world.until("2026-06-01T20:00")
        for record in ("2", "3"):
            await world.enter(record)
            await asyncio.sleep(HOUR)
        assert await world.waiting() == (2, "06-02 06:00")
        await world.until("2026-06-02T06:01")
        await world.enter("4")
        await world.until("2026-06-02T07:00")

    world = play(story, "2026-06-01T12:00", quiet_hours="20:00-06:00")
    assert world.channel.taken == [("06-01 12:00", ("1",)), ("06-02 06:00", ("2", "3")), ("06-02 06:01", ("4",))]
    assert [it.is_digest for it in world.channel.messages] == [False, True, False]


def test_urgent_event_is_sent_with_the_earlier_events_of_its_record() -> None:
    async def story(world: World) -> None:
        await world.enter("1", "2")
        await world.enter("1", kind=EventType.REMOVED)
        await asyncio.sleep(MINUTE)
        assert world.channel.taken == [("06-01 21:00", ("1", "1"))]
        await world.until("2026-06-02T09:00")

    keys = {"schedule": "daily 08:00", "quiet_hours": "20:00-06:00", "urgent": ["completion.removed"]}
    world = play(story, "2026-06-01T21:00", **keys)
    assert world.channel.taken[1:] == [("06-02 08:00", ("2",))]


def test_alert_is_sent_at_once_despite_schedule_and_quiet_hours() -> None:
    async def story(world: World) -> None:
        await world.enter("1")
        await world.enter("alerts", kind=EventType.ALERT)
        await asyncio.sleep(MINUTE)

    world = play(story, "2026-06-01T21:00", schedule="daily 08:00", quiet_hours="20:00-06:00")
    assert world.channel.taken == [("06-01 21:00", ("alerts",))]


def test_failed_digest_is_retried_whole_and_new_events_join_the_next_one() -> None:
    async def story(world: World) -> None:
        world.channel.answer = lambda _: DOWN
        await world.enter("1", "2", "3")
        await world.until("2026-06-02T08:10")
        await world.enter("4")
        await world.stop()
        await world.start()
        await world.until("2026-06-02T08:30")
        world.channel.answer = lambda _: DELIVERED
        await world.until("2026-06-03T09:00")

    world = play(story, "2026-06-01T12:00", schedule="daily 08:00")
    assert {it.records for it in world.channel.messages if it.at < "06-03"} == {("1", "2", "3")}
    (first, second) = world.channel.taken
    assert (first[1], second) == (("1", "2", "3"), ("06-03 08:00", ("4",)))


def test_digest_delayed_beyond_the_next_slot_is_not_merged_with_the_next_one() -> None:
    async def story(world: World) -> None:
        # A pause that the receiver asks for does not split the digest, however long it lasts.
        world.channel.answer = lambda _: Outcome(AttemptResult.THROTTLED, 429, 3600.0)
        await world.enter("1", "2")
        await world.until("2026-06-02T09:00")
        await world.enter("3", "4")
        await world.until("2026-06-03T08:30")
        world.channel.answer = lambda _: DELIVERED
        await world.until("2026-06-03T12:00")

    world = play(story, "2026-06-01T12:00", schedule="daily 08:00")
    assert [records for _, records in world.channel.taken] == [("1", "2"), ("3", "4")]


def test_digest_with_a_bad_event_is_split_and_the_others_are_delivered() -> None:
    async def story(world: World) -> None:
        world.channel.answer = lambda deliveries: (
            DOWN if any(it.event.subject == "2" for it in deliveries) else DELIVERED
        )
        await world.enter("1", "2", "3", "4")
        await world.until("2026-06-02T20:00")

    world = play(story, "2026-06-01T12:00", schedule="daily 08:00")
    assert {record for _, records in world.channel.taken for record in records} == {"1", "3", "4"}


def test_failed_digest_waits_until_the_end_of_quiet_hours() -> None:
    async def story(world: World) -> None:
        world.channel.answer = lambda _: DOWN
        await world.enter("1")
        await world.until("2026-06-02T20:00:10")
        world.channel.answer = lambda _: DELIVERED
        tried = len(world.channel.messages)
        await world.until("2026-06-03T05:59")
        assert len(world.channel.messages) <= tried + 1
        await world.until("2026-06-03T06:01")

    world = play(story, "2026-06-01T12:00", schedule="daily 08:00", quiet_hours="20:00-06:00")
    assert world.channel.taken == [("06-03 06:00", ("1",))]


def test_digest_larger_than_a_message_is_sent_in_the_fewest_messages() -> None:
    async def story(world: World) -> None:
        world.channel.room = 700
        await world.enter(*map(str, range(1, 2101)))
        await world.until("2026-06-02T09:00")

    world = play(story, "2026-06-01T12:00", schedule="daily 08:00")
    assert [(moment, len(records)) for moment, records in world.channel.taken] == [("06-02 08:00", 700)] * 3


def test_http_destination_with_a_schedule_gets_full_batches_at_the_slot() -> None:
    async def story(world: World) -> None:
        await world.enter(*map(str, range(1, 251)))
        await world.until("2026-06-02T09:00")

    world = play(story, "2026-06-01T12:00", type="http", schedule="daily 08:00", batch_size=100)
    assert [(moment, len(records)) for moment, records in world.channel.taken] == [
        ("06-02 08:00", 100),
        ("06-02 08:00", 100),
        ("06-02 08:00", 50),
    ]


def test_slots_missed_while_the_machine_sleeps_are_made_up_by_one_digest() -> None:
    async def story(world: World) -> None:
        await world.enter("1")
        await world.sleep_machine(3.5 * DAY)
        await world.enter("2")
        await world.until("2026-06-06T09:00")

    world = play(story, "2026-06-01T12:00", schedule="daily 08:00")
    assert world.channel.taken == [("06-05 00:00", ("1",)), ("06-05 08:00", ("2",))]


def test_changed_schedule_applies_from_the_change_on() -> None:
    async def story(world: World) -> None:
        await world.enter("1")
        await world.until("2026-06-02T12:00")
        await world.enter("2")
        await world.stop()
        await world.start(schedule="daily 10:00")
        await world.until("2026-06-02T13:00")
        assert await world.waiting() == (1, "06-03 10:00")
        await world.until("2026-06-03T11:00")
        await world.enter("3")
        await world.stop()
        await world.start()
        await asyncio.sleep(MINUTE)
        assert world.channel.taken[2:] == []
        await world.stop()
        await world.start(schedule="immediately")
        await asyncio.sleep(MINUTE)

    world = play(story, "2026-06-01T12:00", schedule="daily 08:00")
    assert world.channel.taken == [("06-02 08:00", ("1",)), ("06-03 10:00", ("2",)), ("06-03 11:01", ("3",))]


def test_wall_clock_changes_repeat_no_slot_and_stop_no_digest() -> None:
    async def story(world: World) -> None:
        await world.enter("1")
        await world.until("2026-06-02T08:01")
        await world.enter("2")
        world.clock.set_by_ms -= 5 * 60_000
        assert world.worker is not None
        world.worker.follow_clock(-5 * 60_000)
        await world.until("2026-06-02T12:00")
        assert world.channel.taken[1:] == []
        await world.until("2026-06-03T09:00")
        world.clock.set_by_ms += 400 * 86_400_000
        world.worker.follow_clock(400 * 86_400_000)
        await world.enter("3")
        await asyncio.sleep(2 * DAY)
        world.clock.set_by_ms -= 400 * 86_400_000
        world.worker.follow_clock(-400 * 86_400_000)
        await world.enter("4")
        await world.until("2026-06-07T09:00")

    world = play(story, "2026-06-01T12:00", schedule="daily 08:00")
    assert [records for _, records in world.channel.taken] == [("1",), ("2",), ("3",), ("4",)]


def test_retry_of_a_named_event_sends_it_at_once_and_others_keep_the_schedule() -> None:
    async def story(world: World) -> None:
        await world.enter("1", "2", "3")
        named = RetrySelection(DeliveryState.PENDING, (f"evt_{2:026}",))
        every = RetrySelection(DeliveryState.PENDING)
        for wanted in (every, named):
            await world.store.run(requeue.retry, wanted, ["hr"], world.clock.now_ms())
            assert world.worker is not None
            world.worker.try_at_once()
            await asyncio.sleep(1.0)
        await world.until("2026-06-02T09:00")

    world = play(story, "2026-06-01T21:00", schedule="daily 08:00", quiet_hours="20:00-06:00")
    assert world.channel.taken == [("06-01 21:00", ("2",)), ("06-02 08:00", ("1", "3"))]


def test_retry_of_all_dead_deliveries_makes_an_earlier_named_event_wait_again() -> None:
    async def retry(world: World, wanted: RetrySelection) -> None:
        await world.store.run(requeue.retry, wanted, ["hr"], world.clock.now_ms())
        assert world.worker is not None
        world.worker.try_at_once()
        await asyncio.sleep(1.0)

    async def story(world: World) -> None:
        await world.enter("1")
        world.channel.answer = lambda _: Outcome(AttemptResult.UNSENDABLE)
        await retry(world, RetrySelection(DeliveryState.PENDING, (f"evt_{1:026}",)))
        await world.until("2026-06-02T02:00")
        world.channel.answer = lambda _: DELIVERED
        (given_up,) = (await world.store.run(destinations.undelivered))["hr"]
        assert given_up.state is DeliveryState.DEAD
        await retry(world, RetrySelection(DeliveryState.DEAD))
        await world.until("2026-06-02T09:00")

    keys = {"schedule": "daily 08:00", "quiet_hours": "20:00-06:00", "give_up_after": "1h"}
    world = play(story, "2026-06-01T21:00", **keys)
    assert world.channel.taken == [("06-02 08:00", ("1",))]


def test_latest_deliveries_shows_until_when_each_delivery_waits() -> None:
    async def story(world: World) -> None:
        await world.enter("1")
        await world.enter("2", kind=EventType.REMOVED)
        await asyncio.sleep(1.0)
        found = await world.store.run(history.latest_deliveries, DeliveryFilter(), 10)
        until = [None if it.scheduled_ms is None else local_time(it.scheduled_ms) for it in found]
        assert until == ["06-02 08:00", None]
        assert found[0].next_attempt_ms == found[0].scheduled_ms

    play(story, "2026-06-01T12:00", schedule="daily 08:00", urgent=["completion.removed"])


def test_due_events_counts_lateness_from_the_slot_and_not_from_the_event() -> None:
    async def story(world: World) -> None:
        await world.enter("1")
        await world.until("2026-06-05T12:00")
        now_ms = world.clock.now_ms()
        due = await world.store.run(destinations.due_events, "hr", now_ms=now_ms, horizon_ms=now_ms + 1, late_ms=0)
        assert due is None
        world.channel.answer = lambda _: DOWN
        await world.until("2026-06-08T08:00:30")
        now_ms = world.clock.now_ms()
        due = await world.store.run(destinations.due_events, "hr", now_ms=now_ms, horizon_ms=now_ms + 1, late_ms=60_000)
        assert due is not None
        assert local_time(due.since_ms) == "06-08 08:00"

    play(story, "2026-06-01T12:00", schedule="weekly mon 08:00")


@pytest.mark.parametrize("seed", range(2))
def test_year_of_crashes_and_sleep_has_one_digest_a_day_and_each_event_once(seed: int) -> None:
    chance = random.Random(seed)
    troubled: set[date] = set()

    async def story(world: World) -> None:
        number = 0
        moment = datetime(2026, 1, 1, 12, tzinfo=CHICAGO)
        for _ in range(364):
            day = moment.date() + timedelta(days=1)
            for _ in range(chance.choice((0, 1, 1, 3))):
                number += 1
                await world.enter(str(number))
                await asyncio.sleep(chance.uniform(0, HOUR))
            slot = datetime.combine(day, time(2, 30), CHICAGO)
            match chance.randrange(7):
                case 0:
                    await world.until(f"{day}T02:30:00")
                    await world.kill()
                    await asyncio.sleep(chance.uniform(0, 3 * HOUR))
                    await world.start()
                case 1:
                    await world.until(f"{day}T00:30:00")
                    await world.kill()
                    await asyncio.sleep(chance.uniform(0, 6 * HOUR))
                    await world.start()
                case 2:
                    await world.until(f"{day}T01:00:00")
                    await world.stop()
                    await world.start()
                case 3:
                    await world.until(f"{day}T00:15:00")
                    await world.sleep_machine(chance.uniform(0, 8 * HOUR))
                case 4:
                    await world.until(f"{slot + timedelta(seconds=chance.uniform(-0.2, 0.2)):%Y-%m-%dT%H:%M:%S.%f}")
                    number += 1
                    await world.enter(str(number))
                case _:
                    pass
            moment = datetime.combine(day, time(12), CHICAGO)
            await world.until(f"{day}T12:00:00")
            troubled.add(day)
        assert set(await world.store.run(lambda db: db.execute("SELECT state FROM deliveries").fetchall())) == {
            ("delivered",)
        }

    world = play(story, "2026-01-01T12:00", schedule="daily 02:30")
    told = [record for it in world.channel.messages for record in it.records]
    assert sorted(told, key=int) == [str(number) for number in range(1, world.entered + 1)]
    days_told = Counter(it.at[:5] for it in world.channel.messages)
    assert set(days_told.values()) == {1}
    assert [it.at for it in world.channel.messages if it.at[:5] == "03-08"] in ([], ["03-08 03:00"])
    assert all("02:30" <= it.at[6:] < "12:00" for it in world.channel.messages)


def test_read_due_without_a_schedule_returns_no_slot() -> None:
    async def story(world: World) -> None:
        await world.enter("1")
        await world.until("2026-06-02T08:00:00")
        await world.stop()
        now_ms = world.clock.now_ms()
        await world.store.run(lambda db: db.execute("UPDATE deliveries SET slot_at = 5"))
        await world.store.run(lambda db: db.execute("UPDATE deliveries SET state = 'pending', next_attempt_at = 0"))
        due = await world.store.run(outbox.read_due, "hr", now_ms=now_ms, horizon_ms=now_ms, limit=9, in_flight=())
        assert [it.slot_ms for it in due.deliveries] == [None]

    play(story, "2026-06-01T12:00", schedule="daily 08:00")


def test_failing_urgent_event_does_not_split_the_digest() -> None:
    async def story(world: World) -> None:
        world.channel.answer = lambda deliveries: DOWN if deliveries[0].event.subject == "2" else DELIVERED
        await world.enter("1")
        await world.enter("2", kind=EventType.REMOVED)
        await world.enter("3", "4")
        await world.until("2026-06-02T09:00")

    world = play(story, "2026-06-02T07:50", schedule="daily 08:00", urgent=["completion.removed"])
    assert world.channel.taken == [("06-02 08:00", ("1", "3", "4"))]


def test_later_event_of_a_record_waits_for_its_failing_urgent_event() -> None:
    async def story(world: World) -> None:
        world.channel.answer = lambda deliveries: (
            DOWN if any(it.event.type == EventType.REMOVED for it in deliveries) else DELIVERED
        )
        await world.enter("1", kind=EventType.REMOVED)
        await world.enter("1", "2")
        await world.until("2026-06-02T08:30")
        assert world.channel.taken == [("06-02 08:00", ("2",))]
        world.channel.answer = lambda _: DELIVERED
        await world.until("2026-06-02T12:00")

    world = play(story, "2026-06-02T07:50", schedule="daily 08:00", urgent=["completion.removed"])
    assert [records for _, records in world.channel.taken] == [("2",), ("1",), ("1",)]


def test_rest_of_a_large_digest_is_sent_despite_bad_events_in_its_first_message() -> None:
    async def story(world: World) -> None:
        # Messages of four events: the rest of the digest is sent after the first message, which is split in the end.
        world.channel.room = 4
        world.channel.answer = lambda deliveries: (
            DOWN if any(it.event.subject in {"2", "3"} for it in deliveries) else DELIVERED
        )
        await world.enter(*map(str, range(1, 9)))
        await world.until("2026-06-03T07:00")

    world = play(story, "2026-06-01T12:00", schedule="daily 08:00")
    assert {record for _, records in world.channel.taken for record in records} == {"1", "4", "5", "6", "7", "8"}
