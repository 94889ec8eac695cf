"""A wall clock that can be set, for the daemon and for the scheduler that it runs on."""

from datetime import datetime, timedelta, tzinfo
from typing import Self

import pytest

from tests.real_time import SettableClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SettableClock:
    """A clock that APScheduler, which reads the time by itself, goes by as well; its jumps are noticed quickly."""
    settable = SettableClock()

    class Shown(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(milliseconds=settable.offset_ms)

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Shown)
    monkeypatch.setattr("notifier.daemon.schedule.datetime", Shown)
    monkeypatch.setattr("notifier.daemon.schedule.CLOCK_CHECK", 0.1)
    return settable
