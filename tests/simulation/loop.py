"""A deterministic event loop in simulated time, without sockets and threads, and the clock that follows it.

Instead of waiting for the next timer, the loop sets its time to that timer. Two runs of the same coroutines call the
same callbacks in the same order: sets of tasks are iterated in the order in which the tasks were created.
"""

import asyncio
import itertools
from asyncio import base_events
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple

from tests.support.work_threads import works_at_once

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_SECONDS: Final = 1000.0
"""The loop's time at the start of a simulation. At 0, a time that was never set would look recent."""

_START_MS: Final = 1_764_547_200_000
"""The wall clock at the start: 2025-12-01 00:00 UTC."""


class DeadlockError(RuntimeError):
    """All tasks wait, and no timer is set."""


class NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that the order of a set of tasks does not depend on addresses."""

    def __init__(
        self, number: int, coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **keywords: Any
    ) -> None:
        self._number = number
        super().__init__(coroutine, **keywords)

    def __hash__(self) -> int:
        return self._number


class _TimerSelector:
    """Replaces the selector of the loop. No file is ever ready, so a wait ends at the next timer."""

    def __init__(self, loop: "SimulatedLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None:
            raise DeadlockError("everything waits, and no timer is set")
        if timeout > 0:
            self._loop.advance_to_next_timer()
        return ()

    def close(self) -> None:
        pass


class _Timer(Protocol):
    def when(self) -> float: ...


@works_at_once
class SimulatedLoop(base_events.BaseEventLoop):
    """Runs coroutines in simulated time. Work for a thread runs at once; its result arrives `delay()` seconds later."""

    _scheduled: list[_Timer]

    def __init__(self, delay: Callable[[], float] = lambda: 0.0) -> None:
        super().__init__()
        self._now = START_SECONDS
        self._selector = _TimerSelector(self)
        self._clock_resolution = 1e-9
        self._delay = delay
        self._numbers = itertools.count()
        self.faults: list[BaseException] = []
        """The exceptions of tasks that nothing awaited."""
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._record_fault)

    def time(self) -> float:
        return self._now

    @property
    def seconds(self) -> float:
        """The seconds since the start of the simulation."""
        return self._now - START_SECONDS

    def call_at_second(self, seconds: float, callback: Callable[[*Ts], object], *arguments: *Ts) -> None:
        """Schedule a callback at a number of seconds after the start."""
        self.call_at(START_SECONDS + seconds, callback, *arguments)

    def advance_to_next_timer(self) -> None:
        # `now + (when - now)` is not always exactly `when`, and a replay would then differ from the recorded run.
        self._now = max(self._now, self._scheduled[0].when())

    def run_in_executor(
        self, _executor: Executor | None, work: Callable[[*Ts], T], *arguments: *Ts
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        result: T | None = None
        fault: BaseException | None = None
        try:
            result = work(*arguments)
        except BaseException as error:  # noqa: BLE001  set as the exception of the future
            fault = error

        def finish() -> None:
            if future.cancelled():
                return
            if fault is not None:
                future.set_exception(fault)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # a T: `work` has returned

        if delay := self._delay():
            self.call_later(delay, finish)
        else:
            self.call_soon(finish)
        return future

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        **keywords: Any,
    ) -> asyncio.Future[T]:
        return NumberedTask(next(self._numbers), coroutine, loop=loop, **keywords)

    def _record_fault(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        fault = context.get("exception")
        if fault is not None and not isinstance(fault, asyncio.CancelledError):
            self.faults.append(fault)

    def _process_events(self, _events: object) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class SimulatedClock:
    """The clock of the machine: a correct monotonic clock, and a wall clock that is `wall_error_seconds` wrong."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.wall_error_seconds = 0.0

    def now_ms(self) -> int:
        return true_ms(self._loop.seconds + self.wall_error_seconds)

    def monotonic(self) -> float:
        return self._loop.time()


def true_ms(seconds: float) -> int:
    """Return the true time in Unix milliseconds at a number of seconds after the start."""
    return _START_MS + round(seconds * 1000)


def in_creation_order(tasks: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Return tasks in the order in which they were created."""
    return sorted(tasks, key=hash)
