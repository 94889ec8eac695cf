"""Months in minutes with everything real but the time: sockets and files, on a loop that waits for nothing."""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from tests.support.work_threads import works_at_once

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


@works_at_once
class TimeLapse(asyncio.SelectorEventLoop):
    """An event loop in which time passes only where everybody waits, and no thread is at work.

    Both sides of each connection have to be on it. What is meant for a thread is done at once on the loop's own: to
    wake a thread and be woken by it, a hundred thousand times in a test, takes longer than the work.
    """

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Do the work at once. Work that is done by asking what this loop serves needs `beside`."""
        if executor is not None:
            # A connection to a file belongs to one thread, so that it has to be closed on this one, too.
            setattr(executor, "submit", _done)  # noqa: B010  mypy forbids to assign to a method
        work = _done(func, *args)
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_hand_on, work, future)
        return future

    async def run_on_thread(self, func: Callable[..., T], *args: Any) -> T:
        """Call a function on another thread, and serve this loop meanwhile."""
        self._leaping.threads += 1
        try:
            return await super().run_in_executor(None, func, *args)
        finally:
            self._leaping.threads -= 1

    async def shutdown_default_executor(self) -> None:
        # A thread waits for the threads, and nothing else is to happen meanwhile.
        self._leaping.threads += 1
        await super().shutdown_default_executor()
        self._leaping.threads -= 1

    def end(self) -> None:
        """Let its threads end, and close it."""
        self.run_until_complete(self.shutdown_default_executor())
        self.close()


async def beside(func: Callable[..., T], *args: Any) -> T:
    """Call a function that may ask what is served on the running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimeLapse)
    return await loop.run_on_thread(func, *args)


def _done(func: Callable[..., T], *args: Any) -> Future[T]:
    """Do the work of an executor here and now."""
    work: Future[T] = Future()
    try:
        work.set_result(func(*args))
    except BaseException as error:  # noqa: BLE001  whoever awaits the work gets it
        work.set_exception(error)
    return work


def _hand_on(work: Future[T], future: asyncio.Future[T]) -> None:
    if future.cancelled():
        return
    if (error := work.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(work.result())
