"""Decides when the deliveries of a destination may be sent, by its schedule and its quiet times. Pure.

A slot is a moment at which all waiting deliveries are sent together: a time of the `schedule`, or the end of a quiet
time. If a clock change skips a time of day, its slot is the moment of the change. If a time of day occurs twice, only
the first of the two moments is a slot. So each time of the schedule has exactly one slot.
"""

from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any, Final

from msgspec import Struct

from notifier.config import DestinationSettings, ScheduledSettings
from notifier.config.schedules import (
    WEEKDAYS,
    QuietHours,
    daily_trigger,
    parse_quiet_hours,
    parse_schedule,
    parse_time_zone,
)
from notifier.store.tables.slots import Gate

_MILLISECONDS: Final = 1000
_MAX_BOUNDARIES: Final = 60
"""The number of boundaries that the search for the end of a quiet time examines before it fails.

A day has at most three boundaries: the start and the end of the quiet hours, and midnight for quiet days. So the search
covers at least 20 days.
"""


class Timetable(Struct, frozen=True):
    """When the deliveries of one destination may be sent."""

    trigger: Any
    """Fires at the times of the schedule; None without a schedule."""
    zone: tzinfo
    quiet_hours: QuietHours | None
    quiet_days: frozenset[int]
    boundaries: tuple[Any, ...]
    """Fire at the times of day at which a quiet time may begin or end."""
    urgent: frozenset[str]
    settings_text: str
    """The settings that determine the slots, as one text. When the text changes, slots before that moment are ignored.
    """

    def gate_at(self, from_ms: int, now_ms: int) -> Gate:
        """Return what may be sent at `now_ms` (Unix ms).

        `from_ms` is the Unix time in ms at which a slot was last served. If no slot was served with the current
        settings, `from_ms` is the time at which these settings were first seen.
        """
        is_quiet = self.is_quiet(now_ms)
        due_ms = self.next_slot_ms(from_ms)
        slot_ms = due_ms if due_ms <= now_ms else None
        if self.trigger is None:
            closed_until_ms = self._quiet_end_ms(now_ms) if is_quiet else None
        else:
            closed_until_ms = due_ms if slot_ms is None else self.next_slot_ms(max(now_ms, due_ms))
        limits = (self._next_ms(it, now_ms) for it in self.boundaries)
        return Gate(
            slot_ms=slot_ms,
            closed_until_ms=closed_until_ms,
            held_until_ms=self._quiet_end_ms(now_ms) if is_quiet else None,
            changes_ms=min((it for it in (closed_until_ms, *limits) if it is not None), default=None),
            urgent=self.urgent,
        )

    def next_slot_ms(self, after_ms: int) -> int:
        """Return the first slot after a moment (Unix ms); a slot in a quiet time moves to the end of the quiet time."""
        if self.trigger is None:
            return self._quiet_end_ms(after_ms)
        return self._quiet_end_ms(self._next_ms(self.trigger, after_ms), inclusive=True)

    def is_quiet(self, moment_ms: int) -> bool:
        """Return whether a moment (Unix ms) is in a quiet time."""
        wall = wall_clock_at(moment_ms, self.zone)
        in_hours = self.quiet_hours is not None and self.quiet_hours.covers(wall.time())
        return in_hours or wall.weekday() in self.quiet_days

    def _quiet_end_ms(self, after_ms: int, *, inclusive: bool = False) -> int:
        """Return the end of the quiet time that contains a moment (Unix ms).

        For a moment outside of quiet times, return the end of the next quiet time; with `inclusive`, the moment itself.
        """
        moment_ms = after_ms
        was_quiet = self.is_quiet(moment_ms)
        if inclusive and not was_quiet:
            return moment_ms
        for _ in range(_MAX_BOUNDARIES):
            moment_ms = min(self._next_ms(it, moment_ms) for it in self.boundaries)
            is_quiet = self.is_quiet(moment_ms)
            if was_quiet and not is_quiet:
                return moment_ms
            was_quiet = is_quiet
        raise RuntimeError("a quiet time has no end")

    def _next_ms(self, trigger: Any, after_ms: int) -> int:
        """Return the first moment after `after_ms` at which a trigger fires."""
        wall = wall_clock_at(after_ms, self.zone).replace(tzinfo=UTC) + timedelta(microseconds=1)
        found: datetime | None = trigger.get_next_fire_time(None, wall)
        if found is None:
            raise RuntimeError("a schedule has no further time")  # the configuration refuses such schedules
        return first_moment_at(found.replace(tzinfo=None), self.zone)


def timetable_of(settings: DestinationSettings) -> Timetable | None:
    """Return the timetable of a destination; None if its deliveries may be sent at any time."""
    if not isinstance(settings, ScheduledSettings) or not settings.has_slots:
        return None
    hours = parse_quiet_hours(settings.quiet_hours)
    boundaries = {*((hours.begin, hours.end) if hours else ()), *((time(0),) if settings.quiet_days else ())}
    zone = parse_time_zone(settings.timezone)
    written = (settings.schedule, str(zone), settings.quiet_hours, ",".join(sorted(set(settings.quiet_days))))
    return Timetable(
        trigger=parse_schedule(settings.schedule),
        zone=zone,
        quiet_hours=hours,
        quiet_days=frozenset(WEEKDAYS.index(day) for day in settings.quiet_days),
        boundaries=tuple(daily_trigger(it) for it in sorted(boundaries)),
        urgent=frozenset(settings.urgent),
        settings_text=" | ".join(written),
    )


def wall_clock_at(moment_ms: int, zone: tzinfo) -> datetime:
    """Return the wall-clock time of a zone at a moment (Unix ms), as a naive datetime that never decreases.

    If the clock is set back from 3:00 to 2:00, the result stays 3:00 until the clock shows 3:00 again.
    """
    moment = datetime.fromtimestamp(moment_ms / _MILLISECONDS, UTC)
    local = moment.astimezone(zone)
    if not local.fold:
        return local.replace(tzinfo=None)
    first = local.replace(fold=0)
    change = _find_offset_change(first.astimezone(UTC), moment, zone)
    return (change + _offset(first)).replace(tzinfo=None)


def first_moment_at(wall: datetime, zone: tzinfo) -> int:
    """Return the first moment (Unix ms) at which the wall clock of a zone shows `wall` or a later time."""
    local = wall.replace(tzinfo=zone, fold=0)
    moment = local.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) != wall:
        # A clock change skips this time. Its two folds have the zone's offsets before and after the change.
        moment = _find_offset_change(local.replace(fold=1).astimezone(UTC), moment, zone)
    return round(moment.timestamp() * _MILLISECONDS)


def _find_offset_change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return the moment between `before` and `after` (in UTC) at which the zone's offset changes, to the second."""
    old = _offset(before.astimezone(zone))
    low, high = 0, -(-(after - before) // timedelta(seconds=1))
    begin = before.replace(microsecond=0)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset((begin + timedelta(seconds=middle)).astimezone(zone)) == old:
            low = middle
        else:
            high = middle
    return begin + timedelta(seconds=high)


def _offset(moment: datetime) -> timedelta:
    return moment.utcoffset() or timedelta(0)
