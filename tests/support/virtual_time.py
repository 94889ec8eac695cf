"""Virtual time: an event loop whose clock jumps to the next timer, and a store that works without a thread."""

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
"""The wall clock at the loop's time 0: 2026-11-21T17:00:00Z."""

STORE_LATENCY = 0.003

_LEAST_STEP = 1e-6
"""The shortest step of the clock, in seconds. After days, a shorter step could be lost in rounding."""


class _InstantSelector(selectors.DefaultSelector):
    """A selector that never waits; it adds each timeout to the virtual time instead."""

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


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, which passes only when all tasks wait."""

    def __init__(self) -> None:
        self._instant_selector = _InstantSelector()
        super().__init__(self._instant_selector)

    def time(self) -> float:
        return self._instant_selector.now


class LoopClock:
    """A clock of the program that shows the running loop's time."""

    def now_ms(self) -> int:
        return STARTED_MS + round(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class ThreadlessStore(FileStore):
    """A store that works on the event loop's thread, because virtual time does not wait for other threads."""

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
