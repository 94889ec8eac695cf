"""Months in minutes with everything real but the time: sockets, threads and files, on a loop that waits for nothing."""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

_LEAST_STEP = 1e-6
_PATIENCE = 0.05


class _Leaping(selectors.DefaultSelector):
    """Adds to the time what would have been a wait, unless a thread is at work: then it really waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.threads:
            return super().select(_PATIENCE if timeout is None else min(timeout, _PATIENCE))
        # What was sent over the loopback has arrived: whoever is on this loop has something to do at once.
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits, and nothing is to happen"
            self.now += max(timeout, _LEAST_STEP) if timeout else 0.0
        return ready


class TimeLapse(asyncio.SelectorEventLoop):
    """An event loop in which time passes only where everybody waits, and no thread is at work.

    Both sides of each connection have to be on it.
    """

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        self._leaping.threads += 1
        work: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        work.add_done_callback(self._at_rest)
        return work

    async def shutdown_default_executor(self) -> None:
        # A thread waits for the threads, and nothing else is to happen meanwhile.
        self._leaping.threads += 1
        await super().shutdown_default_executor()
        self._leaping.threads -= 1

    def end(self) -> None:
        """Let its threads end, and close it."""
        self.run_until_complete(self.shutdown_default_executor())
        self.close()

    def _at_rest(self, _work: asyncio.Future[Any]) -> None:
        self._leaping.threads -= 1
