"""Lets event loops that simulate the time do the work of threads at once, on their own thread."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from notifier.own_thread import WorkThread

T = TypeVar("T")
LoopClass = TypeVar("LoopClass", bound=type[asyncio.AbstractEventLoop])


def works_at_once(loop_class: LoopClass) -> LoopClass:
    """Let a `WorkThread` that is used on a loop of this class work as the loop's `run_in_executor` does."""
    run_on_thread = WorkThread.run

    def run(self: WorkThread, work: Callable[[], T]) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        if isinstance(loop, loop_class):
            return loop.run_in_executor(None, work)
        return run_on_thread(self, work)

    WorkThread.run = run  # type: ignore[method-assign]
    return loop_class
