from datetime import UTC, datetime, time

import pytest

from notifier.config import HttpSettings, ScheduledSettings, SlackSettings, TeamsSettings, schedules
from notifier.config.errors import InvalidValue
from notifier.config.message_destinations import AppriseSettings
from notifier.config.schedules import QuietHours, parse_quiet_hours, parse_schedule, parse_time_zone

SATURDAY = datetime(2026, 11, 21, 12, tzinfo=UTC)


def times(schedule: str, count: int = 3) -> list[str]:
    trigger = parse_schedule(schedule)
    found, moment = [], SATURDAY
    for _ in range(count):
        moment = trigger.get_next_fire_time(moment, moment)  # type: ignore[union-attr]
        found.append(f"{moment:%a %d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("schedule", "first"),
    [
        ("daily 08:00", ["Sun 22 08:00", "Mon 23 08:00", "Tue 24 08:00"]),
        ("daily 23:59", ["Sat 21 23:59", "Sun 22 23:59", "Mon 23 23:59"]),
        ("weekly mon 08:00", ["Mon 23 08:00", "Mon 30 08:00", "Mon 07 08:00"]),
        ("0 8 * * 1", ["Mon 23 08:00", "Mon 30 08:00", "Mon 07 08:00"]),
        ("0 8 * * 0", ["Sun 22 08:00", "Sun 29 08:00", "Sun 06 08:00"]),
        ("0 8 * * 7", ["Sun 22 08:00", "Sun 29 08:00", "Sun 06 08:00"]),
        ("0 8 * * 0-7", ["Sun 22 08:00", "Mon 23 08:00", "Tue 24 08:00"]),
        ("0 8 * * 1-5", ["Mon 23 08:00", "Tue 24 08:00", "Wed 25 08:00"]),
        ("0 8 * * fri-mon", ["Sun 22 08:00", "Mon 23 08:00", "Fri 27 08:00"]),
        ("0 8 * * SAT,sun", ["Sun 22 08:00", "Sat 28 08:00", "Sun 29 08:00"]),
        ("30 6,18 * * *", ["Sat 21 18:30", "Sun 22 06:30", "Sun 22 18:30"]),
        ("0 7 1 * *", ["Tue 01 07:00", "Fri 01 07:00", "Mon 01 07:00"]),
        ("*/30 * * * *", ["Sat 21 12:30", "Sat 21 13:00", "Sat 21 13:30"]),
    ],
)
def test_parse_schedule_returns_the_times_of_cron(schedule: str, first: list[str]) -> None:
    assert times(schedule) == first


def test_parse_schedule_immediately_returns_none() -> None:
    assert parse_schedule("immediately") is None


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ("", 'must be "immediately"'),
        ("hourly", 'must be "immediately"'),
        ("daily", 'must be "immediately"'),
        ("daily 8:00", "must have a time from 00:00 to 23:59, with two digits each, such as 08:00"),
        ("daily 08:0", "must have a time from"),
        ("weekly mon 8:00", "must have a time from"),
        ("weekly mon 8.00", 'must be "immediately"'),
        ("daily 24:00", "must have a time from"),
        ("daily 08:60", "must have a time from"),
        ("weekly 08:00", 'must be "immediately"'),
        ("weekly monday 08:00", "names the weekday monday; the weekdays are mon, tue"),
        ("weekly mon 25:00", "must have a time from"),
        ("0 8 * * * *", 'must be "immediately"'),
        ("99 8 * * *", "is not a schedule that can be read"),
        ("x 8 * * *", "is not a schedule that can be read"),
        ("0 8 31 2 *", "names a date that no year has"),
        ("0 8 1 * mon", "names days of the month and weekdays"),
        ("0 8 * * 8", "names the weekday 8"),
        ("0 8 * * mon-", "names the weekday nothing"),
        ("0 8 * * */2", "names the weekday */2"),
        ("0 8 * * " + "9" * 500, "names the weekday 99999999999999999999;"),
    ],
)
def test_parse_schedule_rejects_an_invalid_schedule_with_the_reason(schedule: str, reason: str) -> None:
    with pytest.raises(InvalidValue, match="^" + reason.replace("*", r"\*")):
        parse_schedule(schedule)


def test_quiet_hours_include_the_start_but_not_the_end_also_past_midnight() -> None:
    night = parse_quiet_hours("20:00-06:00")
    assert night == QuietHours(time(20), time(6))
    assert [night.covers(time(hour)) for hour in (5, 6, 19, 20, 23)] == [True, False, False, True, True]
    noon = QuietHours(time(12), time(13, 30))
    assert [noon.covers(it) for it in (time(11, 59), time(12), time(13, 29), time(13, 30))] == [
        False,
        True,
        True,
        False,
    ]
    assert parse_quiet_hours("") is None


@pytest.mark.parametrize("written", ["20:00", "20-06", "20:00-24:00", "8:00-9:00", "20:00 - 06:00", "08:00-08:00"])
def test_parse_quiet_hours_rejects_invalid_times(written: str) -> None:
    with pytest.raises(InvalidValue):
        parse_quiet_hours(written)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "America", "/etc/localtime", "x" * 5000, "a\0b"])
def test_parse_time_zone_rejects_an_unknown_name(name: str) -> None:
    with pytest.raises(InvalidValue, match="not a time zone that this machine knows"):
        parse_time_zone(name)


def test_parse_time_zone_reports_an_unusable_time_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CST6CDT,M3.2.0,M11.1.0")
    monkeypatch.setattr("tzlocal.unix._cache_tz", None)
    schedules._machine_time_zone.cache_clear()
    with pytest.raises(InvalidValue, match="is not set, and the time zone of this machine"):
        parse_time_zone("")


def test_parse_time_zone_accepts_a_name_or_empty_text() -> None:
    assert parse_time_zone("America/Chicago").utcoffset(SATURDAY.replace(tzinfo=None)) is not None
    assert parse_time_zone("").utcoffset(SATURDAY.replace(tzinfo=None)) is not None


TYPES: dict[str, type[ScheduledSettings]] = {
    "slack": SlackSettings,
    "teams": TeamsSettings,
    "apprise": AppriseSettings,
    "http": HttpSettings,
}


def problems(kind: str, **keys: object) -> list[str]:
    url = "json://ops.example.com" if kind == "apprise" else "https://ops.example.com/x"
    settings = TYPES[kind].model_validate({"type": kind, "url": url, **keys})
    return [str(it.message) for it in settings.conflicts()]


@pytest.mark.parametrize("kind", TYPES)
def test_every_scheduled_type_accepts_the_same_schedule_keys(kind: str) -> None:
    assert problems(kind, schedule="daily 08:00", timezone="America/Denver", urgent=["completion.removed"]) == []


def test_contradicting_schedule_settings_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"quiet_days|names every day"):
        problems("http", quiet_days=["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
    with pytest.raises(ValueError, match=r"concurrency|must be 1"):
        problems("slack", schedule="daily 08:00", concurrency=2)
    assert problems("http", schedule="daily 08:00", concurrency=2) == []


def test_timezone_and_urgent_without_a_schedule_give_warnings() -> None:
    settings = HttpSettings.model_validate(
        {"type": "http", "url": "http://127.0.0.1:9/", "timezone": "UTC", "urgent": ["completion.removed"]}
    )
    assert [it.key for it in settings.warnings()] == ["timezone", "urgent"]


@pytest.mark.parametrize(
    ("kind", "keys", "warned"),
    [
        ("slack", {"digest_by": "person"}, ["digest_by"]),
        # No warning: a time zone also changes the times in messages.
        ("slack", {"timezone": "UTC"}, []),
        ("teams", {"timezone": "UTC", "urgent": ["completion.created"]}, ["urgent"]),
        ("slack", {"digest_by": "person", "quiet_days": ["sat"]}, []),
        ("slack", {"urgent": ["completion.removed"], "schedule": "daily 08:00"}, ["urgent"]),
        ("slack", {"urgent": ["completion.created"], "schedule": "daily 08:00"}, []),
        ("http", {"urgent": ["completion.removed"], "schedule": "daily 08:00"}, []),
        ("http", {"format": "standard", "batch_form": "message"}, ["batch_form"]),
        ("http", {"format": "standard", "batch_form": "message", "batch_size": 2}, []),
        ("http", {"batch_wait": "2s"}, ["batch_wait"]),
        ("http", {"batch_wait": "2s", "batch_size": 2}, []),
        ("http", {"proxy": "http://proxy.example.com:3128/wpad.dat"}, ["proxy"]),
        ("http", {"proxy": "http://proxy.example.com:3128/"}, []),
        ("http", {"proxy": "none"}, []),
    ],
)
def test_settings_without_effect_give_warnings(kind: str, keys: dict[str, object], warned: list[str]) -> None:
    url = "http://127.0.0.1:9/"
    settings = TYPES[kind].model_validate({"type": kind, "url": url, **keys})
    assert [it.key for it in settings.warnings()] == warned
