"""Lets event loops in virtual time call a thread's work directly, without another thread."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from notifier.own_thread import WorkThread

T = TypeVar("T")
LoopClass = TypeVar("LoopClass", bound=type[asyncio.AbstractEventLoop])


def works_at_once(loop_class: LoopClass) -> LoopClass:
    """Let `WorkThread.run` call `run_in_executor` of the running loop, if that loop is of this class."""
    run_on_thread = WorkThread.run

    def run(self: WorkThread, work: Callable[[], T]) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        if isinstance(loop, loop_class):
            return loop.run_in_executor(None, work)
        return run_on_thread(self, work)

    WorkThread.run = run  # type: ignore[method-assign]
    return loop_class
