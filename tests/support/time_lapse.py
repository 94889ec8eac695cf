"""An event loop in virtual time for tests with real sockets and files: months pass in minutes."""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from tests.support.work_threads import works_at_once

T = TypeVar("T")

_LEAST_STEP = 1e-6
_PATIENCE = 0.05


class _InstantSelector(selectors.DefaultSelector):
    """A selector that adds each timeout to the virtual time. It really waits only while a thread works."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.threads:
            return super().select(_PATIENCE if timeout is None else min(timeout, _PATIENCE))
        # Data sent over the loopback interface has already arrived, so its receiver on this loop is ready now.
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits, and nothing is to happen"
            self.now += max(timeout, _LEAST_STEP) if timeout else 0.0
        return ready


@works_at_once
class TimeLapse(asyncio.SelectorEventLoop):
    """An event loop in virtual time, which passes only when all tasks wait and no thread works.

    Both ends of each connection have to be on this loop. Work for an executor is done at once on the loop's thread:
    switching threads a hundred thousand times in a test takes longer than the work.
    """

    def __init__(self) -> None:
        self._instant_selector = _InstantSelector()
        super().__init__(self._instant_selector)

    def time(self) -> float:
        return self._instant_selector.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call `func` at once on this thread. A function that sends requests to this loop needs `beside` instead."""
        if executor is not None:
            # A connection to a file belongs to one thread, so that it has to be closed on this one, too.
            setattr(executor, "submit", _finished_future)  # noqa: B010  mypy forbids to assign to a method
        work = _finished_future(func, *args)
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_copy_result, work, future)
        return future

    async def run_on_thread(self, func: Callable[..., T], *args: Any) -> T:
        """Call a function on another thread, while this loop continues to run."""
        self._instant_selector.threads += 1
        try:
            return await super().run_in_executor(None, func, *args)
        finally:
            self._instant_selector.threads -= 1

    async def shutdown_default_executor(self) -> None:
        # A thread waits for the threads, and nothing else is to happen meanwhile.
        self._instant_selector.threads += 1
        await super().shutdown_default_executor()
        self._instant_selector.threads -= 1

    def end(self) -> None:
        """Wait for the threads, and close the loop."""
        self.run_until_complete(self.shutdown_default_executor())
        self.close()


async def beside(func: Callable[..., T], *args: Any) -> T:
    """Call a function on another thread; it may send requests to servers on the running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimeLapse)
    return await loop.run_on_thread(func, *args)


def _finished_future(func: Callable[..., T], *args: Any) -> Future[T]:
    """Call a function at once, and return its result as a finished future."""
    work: Future[T] = Future()
    try:
        work.set_result(func(*args))
    except BaseException as error:  # noqa: BLE001  whoever awaits the work gets it
        work.set_exception(error)
    return work


def _copy_result(work: Future[T], future: asyncio.Future[T]) -> None:
    if future.cancelled():
        return
    if (error := work.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(work.result())


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], TimeLapse]]:
    """Run every test of a folder on a loop in which time passes only where everybody waits."""
    return {"time lapse": TimeLapse}
