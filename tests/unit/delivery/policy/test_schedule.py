from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config import DestinationSettings, HttpSettings
from notifier.delivery.policy.schedule import Timetable, first_moment_at, timetable_of, wall_clock_at

ZONES = (
    "UTC",
    "America/Chicago",
    "America/Denver",
    "Europe/Berlin",
    "Australia/Lord_Howe",  # half an hour of daylight saving time
    "Pacific/Apia",  # skipped a whole day
    "Asia/Kathmandu",
    "America/Sao_Paulo",  # its clocks changed at midnight
    "Africa/Casablanca",
    "Antarctica/Troll",  # two hours
)
zones = st.sampled_from(ZONES)
moments = st.integers(1_262_304_000, 1_924_905_600).map(lambda seconds: seconds * 1000)
"""2010 to 2030, Unix milliseconds."""
schedules = st.sampled_from(
    ["daily 08:00", "daily 02:30", "daily 00:00", "weekly sun 02:15", "*/20 * * * *", "0 1,2,3 * * *", "30 7 1 * *"]
)
quiet = st.sampled_from(["", "20:00-06:00", "01:30-02:30", "02:00-03:00", "23:00-01:00"])
days = st.sampled_from([(), ("sat", "sun"), ("sun",), ("mon", "wed")])

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def make_timetable(**keys: Any) -> Timetable:
    settings = HttpSettings.model_validate({"type": "http", "url": "http://127.0.0.1:9/", **keys})
    found = timetable_of(settings)
    assert found is not None
    return found


def moment_of(text: str, zone: str = "America/Chicago") -> int:
    """Return the moment of a time with an offset, or the first moment at which the zone's wall clock shows a time."""
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp() * 1000)


def local_time(moment_ms: int | None, zone: str = "America/Chicago") -> str | None:
    return None if moment_ms is None else f"{datetime.fromtimestamp(moment_ms / 1000, ZoneInfo(zone)):%m-%d %H:%M%z}"


def next_slots(table: Timetable, after_ms: int, count: int, zone: str = "America/Chicago") -> list[str | None]:
    found = []
    for _ in range(count):
        after_ms = table.next_slot_ms(after_ms)
        found.append(local_time(after_ms, zone))
    return found


def test_timetable_of_returns_none_without_a_schedule() -> None:
    settings: DestinationSettings = HttpSettings.model_validate({"type": "http", "url": "http://127.0.0.1:9/"})
    assert timetable_of(settings) is None


def test_slot_at_a_skipped_time_comes_when_the_clock_changes() -> None:
    table = make_timetable(schedule="daily 02:30", timezone="America/Chicago")
    assert next_slots(table, moment_of("2026-03-07T00:00"), 3) == [
        "03-07 02:30-0600",
        "03-08 03:00-0500",
        "03-09 02:30-0500",
    ]


def test_slot_at_a_repeated_time_comes_once() -> None:
    table = make_timetable(schedule="daily 01:30", timezone="America/Chicago")
    assert next_slots(table, moment_of("2026-10-31T00:00"), 3) == [
        "10-31 01:30-0500",
        "11-01 01:30-0500",
        "11-02 01:30-0600",
    ]
    within_the_second = moment_of("2026-11-01T01:15-06:00")
    assert local_time(table.next_slot_ms(within_the_second)) == "11-02 01:30-0600"


def test_slot_within_a_quiet_time_comes_at_its_end() -> None:
    table = make_timetable(
        schedule="daily 22:00", quiet_hours="20:00-06:00", quiet_days=["sat", "sun"], timezone="America/Chicago"
    )
    friday = moment_of("2026-11-27T12:00")
    assert next_slots(table, friday, 2) == ["11-30 06:00-0600", "12-01 06:00-0600"]


@pytest.mark.parametrize(
    ("moment", "early", "late"),
    [
        ("2026-11-01T01:29:00-05:00", True, False),
        ("2026-11-01T01:31:00-05:00", False, True),
        ("2026-11-01T01:10:00-06:00", False, True),
        ("2026-11-01T01:50:00-06:00", False, True),
    ],
)
def test_is_quiet_changes_only_once_in_a_repeated_hour(moment: str, early: bool, late: bool) -> None:
    assert make_timetable(quiet_hours="00:30-01:30", timezone="America/Chicago").is_quiet(moment_of(moment)) is early
    assert make_timetable(quiet_hours="01:30-05:00", timezone="America/Chicago").is_quiet(moment_of(moment)) is late


def test_gate_joins_quiet_days_with_the_quiet_hours_around_them() -> None:
    table = make_timetable(quiet_hours="20:00-06:00", quiet_days=["sat", "sun"], timezone="America/Chicago")
    gate = table.gate_at(moment_of("2026-11-27T06:00"), moment_of("2026-11-27T20:00"))
    assert (gate.slot_ms, local_time(gate.closed_until_ms), gate.is_open) == (None, "11-30 06:00-0600", False)
    after = table.gate_at(moment_of("2026-11-27T06:00"), moment_of("2026-11-30T06:00"))
    assert (local_time(after.slot_ms), after.closed_until_ms, after.is_open) == ("11-30 06:00-0600", None, True)
    assert local_time(after.changes_ms) == "11-30 20:00-0600"


def test_gate_is_closed_until_the_next_slot_and_returns_a_missed_slot() -> None:
    table = make_timetable(schedule="daily 08:00", timezone="America/Chicago", urgent=["completion.removed"])
    gate = table.gate_at(moment_of("2026-11-21T08:00"), moment_of("2026-11-21T12:00"))
    assert (gate.slot_ms, local_time(gate.closed_until_ms), gate.held_until_ms) == (None, "11-22 08:00-0600", None)
    assert gate.urgent == {"completion.removed"}
    missed = table.gate_at(moment_of("2026-11-21T08:00"), moment_of("2026-11-24T12:00"))
    assert (local_time(missed.slot_ms), local_time(missed.closed_until_ms)) == ("11-22 08:00-0600", "11-25 08:00-0600")


def test_gate_does_not_repeat_a_served_slot_when_the_clock_is_set_back() -> None:
    table = make_timetable(schedule="daily 08:00", timezone="America/Chicago")
    gate = table.gate_at(moment_of("2026-11-21T08:00"), moment_of("2026-11-21T07:55"))
    assert (gate.slot_ms, local_time(gate.closed_until_ms)) == (None, "11-22 08:00-0600")


@given(moment=moments, zone=zones)
def test_wall_clock_at_never_goes_back_and_first_moment_at_is_its_earliest(moment: int, zone: str) -> None:
    place = ZoneInfo(zone)
    for step in range(0, 3 * HOUR, 10 * MINUTE):
        wall = wall_clock_at(moment + step, place)
        assert wall <= wall_clock_at(moment + step + 10 * MINUTE, place)
        first = first_moment_at(wall, place)
        assert first <= moment + step
        assert wall_clock_at(first, place) >= wall > wall_clock_at(first - 1000, place)


@given(moment=moments, zone=zones, schedule=schedules)
def test_next_slot_ms_gives_one_slot_for_each_time_of_the_schedule(moment: int, zone: str, schedule: str) -> None:
    """Compare with the wall clock, which is read every five minutes."""
    table = make_timetable(schedule=schedule, timezone=zone)
    end, slots, after = moment + DAY, [], moment
    while (after := table.next_slot_ms(after)) <= end:
        slots.append(after)
    wanted = []
    for before, now in pairwise(range(moment - moment % MINUTE, end + 1, 5 * MINUTE)):
        walls = wall_clock_at(before, table.zone), wall_clock_at(now, table.zone)
        time = table.trigger.get_next_fire_time(None, walls[0].replace(tzinfo=UTC) + timedelta(microseconds=1))
        if time.replace(tzinfo=None) <= walls[1]:
            wanted.append((before, now))
    assert len(slots) == len(set(slots))
    inside = [it for it in wanted if it[0] >= moment and it[1] <= end]
    assert all(any(before < slot <= now for slot in slots) for before, now in inside)
    assert all(any(before <= slot <= now for before, now in wanted) for slot in slots)


@given(moment=moments, zone=zones, schedule=st.one_of(st.just("immediately"), schedules), hours=quiet, free=days)
def test_gate_fields_are_consistent(moment: int, zone: str, schedule: str, hours: str, free: tuple[str, ...]) -> None:
    keys = {"schedule": schedule, "quiet_hours": hours, "quiet_days": free, "timezone": zone}
    if schedule == "immediately" and not hours and not free:
        return
    table, now = make_timetable(**keys), moment + DAY
    gate = table.gate_at(moment, now)
    assert gate.slot_ms is None or moment < gate.slot_ms <= now
    assert gate.changes_ms is not None
    assert gate.changes_ms > now
    for until in (gate.closed_until_ms, gate.held_until_ms):
        assert until is None or (until > now and not table.is_quiet(until))
    assert (gate.held_until_ms is not None) == table.is_quiet(now)
    # The gate does not change before `changes_ms`, and the next slot opens it.
    just_before = table.gate_at(now, gate.changes_ms - 1)
    assert (just_before.closed_until_ms, just_before.held_until_ms) == (
        table.gate_at(now, now).closed_until_ms,
        gate.held_until_ms,
    )
    slot = table.next_slot_ms(now)
    assert table.gate_at(now, slot).slot_ms == slot
    assert table.gate_at(now, slot - 1).slot_ms is None


@pytest.mark.parametrize("zone", ZONES)
def test_daily_schedule_has_one_slot_on_each_day_of_a_year(zone: str) -> None:
    table = make_timetable(schedule="daily 02:30", timezone=zone)
    after, found = moment_of("2026-01-01T00:00", zone), []
    for _ in range(365):
        after = table.next_slot_ms(after)
        found.append(datetime.fromtimestamp(after / 1000, ZoneInfo(zone)).date())
    assert [later - earlier for earlier, later in pairwise(found)] == [timedelta(days=1)] * 364
