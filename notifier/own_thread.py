"""Runs blocking work in a separate thread; neither the event loop nor the end of the program waits for it."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def run_in_thread(work: Callable[[], _T], name: str) -> _T:
    """Run `work` in a thread of its own and return its result; if the caller is cancelled, the result is dropped.

    The shared threads of the event loop are not used, because a name lookup, a peer or a file system may block them for
    minutes or for ever, and because the program waits for them when it ends.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[_T] = loop.create_future()

    def set_outcome(value: _T | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            call_on_loop(loop, set_outcome, None, error)
        else:
            call_on_loop(loop, set_outcome, value, None)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await result


def call_on_loop(loop: asyncio.AbstractEventLoop, action: Callable[..., None], *values: object) -> None:
    """Call `action` on the event loop from another thread; do nothing if the loop is closed."""
    try:
        loop.call_soon_threadsafe(action, *values)
    except RuntimeError:
        if not loop.is_closed():
            raise
