"""Parses the settings that decide when messages are sent: `schedule`, `timezone`, `quiet_hours` and `quiet_days`.

The cron triggers (of APScheduler) do not get the time zone. They compute wall-clock times as if the zone were UTC, and
`delivery/policy/schedule.py` applies the time zone to the result. A trigger with the time zone would skip or repeat a
time when daylight saving time begins or ends.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct
from pydantic import AfterValidator

from notifier.config.errors import InvalidValue

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

IMMEDIATELY: Final = "immediately"

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The weekdays in the order of Python's `date.weekday`."""

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

_TIME: Final = r"([01][0-9]|2[0-3]):([0-5][0-9])"
_SHORT_TIME: Final = r"[0-9]{1,2}:[0-9]{1,2}"
_DAILY: Final = re.compile(rf"daily {_TIME}")
_WEEKLY: Final = re.compile(rf"weekly ([a-z]+) {_TIME}")
_QUIET_HOURS: Final = re.compile(rf"{_TIME}-{_TIME}")
_NOTATIONS: Final = (
    f'"{IMMEDIATELY}", "daily 08:00", "weekly mon 08:00", or the five fields of cron, such as "0 8 * * 1-5"'
)
_FIELDS: Final = 5
_CRON_SUNDAYS: Final = (0, 7)


class QuietHours(Struct, frozen=True):
    """Daily hours in which nothing is sent. If `end` is earlier than `begin`, they end on the next day."""

    begin: time
    end: time

    def covers(self, moment: time) -> bool:
        """Return whether a time of day is within these hours; `begin` is within them, `end` is not."""
        if self.begin < self.end:
            return self.begin <= moment < self.end
        return moment >= self.begin or moment < self.end


def parse_schedule(schedule: str) -> "CronTrigger | None":
    """Return the trigger of a schedule; None for `immediately`. Raises InvalidValue.

    The trigger treats wall-clock times as UTC.
    """
    if schedule == IMMEDIATELY:
        return None
    if daily := _DAILY.fullmatch(schedule):
        return daily_trigger(time(int(daily[1]), int(daily[2])))
    if weekly := _WEEKLY.fullmatch(schedule):
        if weekly[1] not in WEEKDAYS:
            raise InvalidValue(f"names the weekday {weekly[1]}; the weekdays are {', '.join(WEEKDAYS)}")
        return _trigger(day_of_week=weekly[1], hour=int(weekly[2]), minute=int(weekly[3]))
    if re.fullmatch(rf"(daily|weekly [a-z]+) {_SHORT_TIME}", schedule):
        raise InvalidValue("must have a time from 00:00 to 23:59, with two digits each, such as 08:00")
    fields = schedule.split()
    if len(fields) != _FIELDS or schedule.startswith(("daily", "weekly")):
        raise InvalidValue(f"must be {_NOTATIONS}")
    return _parse_cron(fields)


def daily_trigger(moment: time) -> "CronTrigger":
    """Return a trigger that fires every day at this time."""
    return _trigger(hour=moment.hour, minute=moment.minute)


def _trigger(**fields: Any) -> "CronTrigger":
    # Imported here, because most configurations have no schedule, and the import would slow down every command.
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415

    return CronTrigger(**fields, timezone=UTC)


def parse_quiet_hours(written: str) -> QuietHours | None:
    """Return the quiet hours that are written as `20:00-06:00`; None for "". Raises InvalidValue."""
    if not written:
        return None
    match = _QUIET_HOURS.fullmatch(written)
    if match is None and re.fullmatch(rf"{_SHORT_TIME}-{_SHORT_TIME}", written):
        raise InvalidValue('must have times from 00:00 to 23:59, with two digits each, such as "20:00-06:00"')
    if match is None:
        raise InvalidValue('must be two times of day, such as "20:00-06:00", or "" for none')
    hours = QuietHours(time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4])))
    if hours.begin == hours.end:
        raise InvalidValue("begin and end at the same time: name a later or an earlier end, or use quiet_days")
    return hours


def parse_time_zone(name: str) -> tzinfo:
    """Return the time zone of this name; for "", the time zone of the machine. Raises InvalidValue."""
    try:
        return ZoneInfo(name) if name else _machine_time_zone()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if not name:
            raise InvalidValue(
                "is not set, and the time zone of this machine (the variable TZ, or /etc/localtime) is not one that can"
                ' be used: write a name such as "America/Chicago"'
            ) from None
        raise InvalidValue(
            'is not a time zone that this machine knows: write a name such as "America/Chicago" or "UTC" (`timedatectl'
            " list-timezones` shows all; a small system may lack the package tzdata)"
        ) from None


@lru_cache(maxsize=1)
def _machine_time_zone() -> tzinfo:
    from tzlocal import get_localzone  # noqa: PLC0415 - only for a schedule without a time zone

    zone: tzinfo = get_localzone()
    return zone


def _parse_cron(fields: list[str]) -> "CronTrigger":
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        # With both fields, cron runs on days that match either of them, APScheduler on days that match both.
        raise InvalidValue("names days of the month and weekdays: write * for one of them")
    days = (
        ",".join(WEEKDAYS[number] for number in sorted(set(_parse_weekdays(weekday.lower()))))
        if weekday != "*"
        else "*"
    )
    try:
        trigger = _trigger(minute=minute, hour=hour, day=day, month=month, day_of_week=days)
        is_possible = trigger.get_next_fire_time(None, datetime(2026, 1, 1, tzinfo=UTC)) is not None
    except (ValueError, TypeError) as error:
        raise InvalidValue(f"is not a schedule that can be read ({error}): write {_NOTATIONS}") from None
    if not is_possible:
        raise InvalidValue("names a date that no year has, so nothing would ever be sent")
    return trigger


def _parse_weekdays(field: str) -> Iterator[int]:
    """Yield the weekdays in a field of a cron schedule, in Python's numbers (Monday is 0), not cron's (Sunday is 0)."""
    for part in field.split(","):
        first, dash, last = part.partition("-")
        begin = _parse_weekday(first)
        end = _parse_weekday(last) if dash else begin
        yield begin
        if (first, last) == ("0", "7"):
            yield from range(len(WEEKDAYS))
        while begin != end:
            begin = (begin + 1) % len(WEEKDAYS)
            yield begin


def _parse_weekday(word: str) -> int:
    if word in WEEKDAYS:
        return WEEKDAYS.index(word)
    if word.isascii() and word.isdigit() and int(word) <= max(_CRON_SUNDAYS):
        return WEEKDAYS.index("sun") if int(word) in _CRON_SUNDAYS else int(word) - 1
    raise InvalidValue(
        f"names the weekday {word[:20] or 'nothing'}; write one of {', '.join(WEEKDAYS)}, or 0 (Sunday) to 6"
    )


def _check_schedule(written: str) -> str:
    parse_schedule(written)
    return written


def _check_quiet_hours(written: str) -> str:
    parse_quiet_hours(written)
    return written


def _check_time_zone(name: str) -> str:
    parse_time_zone(name)
    return name


ScheduleText = Annotated[str, AfterValidator(_check_schedule)]
"""A schedule as it is written in the configuration."""

QuietHoursText = Annotated[str, AfterValidator(_check_quiet_hours)]
"""The hours in which nothing is sent, such as `20:00-06:00`; `""` for none."""

ZoneName = Annotated[str, AfterValidator(_check_time_zone)]
"""The IANA name of a time zone; `""` for the machine's."""
