"""Runs blocking functions in separate threads, so that they do not block the event loop."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

_T = TypeVar("_T")


async def run_in_thread(work: Callable[[], _T], name: str) -> _T:
    """Run `work` in a new thread, and return its result.

    If the caller is cancelled, the result is dropped. `work` may hang for ever (in a DNS lookup or a file system). So
    it does not run in the event loop's thread pool, where a thread that hangs would keep the program from ending.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[_T] = loop.create_future()
    threading.Thread(target=_run_work, args=(work, loop, result), name=name, daemon=True).start()
    return await result


def call_on_loop(loop: asyncio.AbstractEventLoop, action: Callable[..., None], *values: object) -> None:
    """Call `action` in the thread of the event loop; do nothing if the loop is closed. May be called in any thread."""
    try:
        loop.call_soon_threadsafe(action, *values)
    except RuntimeError:
        if not loop.is_closed():
            raise


class WorkThread:
    """A thread that runs blocking functions for an event loop, one after the other.

    The overhead of a call is half that of `ThreadPoolExecutor`, which creates two futures and several locks per call.
    """

    def __init__(self, name: str) -> None:
        """Initialise with the name of the thread, which starts at the first `run`."""
        self._name = name
        self._thread: threading.Thread | None = None
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._is_closed = False

    def run(self, work: Callable[[], _T]) -> "asyncio.Future[_T]":
        """Run `work` in the thread after all earlier work, and return a future for its result.

        If the future is cancelled before `work` begins, `work` is skipped. If the future is cancelled later, only the
        result is dropped. Raises RuntimeError after `close`.
        """
        if self._is_closed:
            raise RuntimeError(f"the thread `{self._name}` has ended")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run_queue, name=self._name, daemon=True)
            self._thread.start()
        self._queue.put(partial(_run_work, work, loop, future))
        return future

    def close(self) -> None:
        """Block until all queued work is done, and end the thread."""
        self._is_closed = True
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run_queue(self) -> None:
        while (run := self._queue.get()) is not None:
            run()
            # While the thread waits for more work, it must not keep this work and its arguments in memory.
            del run


def _run_work(work: Callable[[], _T], loop: asyncio.AbstractEventLoop, future: "asyncio.Future[_T]") -> None:
    if future.cancelled():
        return
    try:
        value = work()
    except BaseException as error:  # noqa: BLE001 - it is raised where the future is awaited
        call_on_loop(loop, _fail, future, error)
    else:
        call_on_loop(loop, _finish, future, value)


def _finish(future: "asyncio.Future[_T]", value: _T) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[_T]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
