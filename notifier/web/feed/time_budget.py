"""Limits a task to a share of the event loop's time, so that other tasks are not delayed."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SLICE_SECONDS: Final = 0.002
"""Seconds of work after which other tasks get a turn."""

_LONGEST_REST_SECONDS: Final = 1.0
"""The longest rest in seconds. Because of this limit, a task exceeds its share after a long piece of work."""


class TimeBudget:
    """Measures how long a task works, and makes it sleep so that it works only for a given share of the time."""

    def __init__(self, share: float) -> None:
        """Initialise with the share of the time for which the task may work, between 0 and 1."""
        self._rest_per_second_of_work = 1 / share - 1
        self._worked = 0.0

    @contextmanager
    def measure_work(self) -> Iterator[None]:
        """Count the time spent in the context as work."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(time.perf_counter() - started)

    def add(self, seconds: float) -> None:
        """Count seconds of work that was measured elsewhere."""
        self._worked += seconds

    async def rest(self) -> None:
        """If the task has worked long enough since the last rest, sleep so that other tasks run."""
        if self._worked >= _SLICE_SECONDS:
            pause = min(self._worked * self._rest_per_second_of_work, _LONGEST_REST_SECONDS)
            self._worked = 0.0
            await asyncio.sleep(pause)
