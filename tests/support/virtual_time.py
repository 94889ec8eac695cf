"""Days in an instant: an event loop whose clock leaps to what comes next, and a state file without a thread."""

import asyncio
import selectors
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from notifier.store.database import Database
from notifier.store.file.store import FileStore
from tests.support.new_state_file import new_state_file

P = ParamSpec("P")
T = TypeVar("T")

STARTED_MS = 1_795_280_400_000
"""2026-11-21T17:00:00Z: what the wall clock shows when the loop's shows 0."""

STORE_LATENCY = 0.003

_LEAST_STEP = 1e-6
"""Seconds that everything takes; less could be lost in the rounding after days, and time would stand still."""


class _Leaping(selectors.DefaultSelector):
    """Waits for nothing: what would have been a wait is added to the time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if timeout is None:
            raise AssertionError("everybody waits, and nothing is to happen")
        if not ready:
            self.now += max(timeout, _LEAST_STEP)
        return ready


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop in which time passes only where everybody waits."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now


class LoopClock:
    """The running loop's time, as the program's clock."""

    def now_ms(self) -> int:
        return STARTED_MS + round(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class ThreadlessStore(FileStore):
    """The store, its work done on the loop's own thread: a clock that leaps does not wait for another one."""

    async def open(self) -> None:
        new_state_file(self.path)
        self._open()
        assert self._db is not None
        self._db.execute("PRAGMA synchronous = OFF")

    async def run(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.sleep(STORE_LATENCY)
        return self._perform(work, *args, **kwargs)

    async def close(self) -> None:
        self._close()
