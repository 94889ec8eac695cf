"""Keeps a piece of work from taking more than a share of the time that others need as well."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SLICE: Final = 0.002
"""Seconds of work after which others get their turn: nobody waits longer for the event loop because of it."""

_LONGEST_REST: Final = 1.0
"""Seconds; what took very long by chance is not made up for in full."""


class Duty:
    """Counts the seconds of work, and rests so long that they are no more than a share of all."""

    def __init__(self, share: float) -> None:
        """Take the share, between 0 and 1."""
        self._rest_for_each = 1 / share - 1
        self._worked = 0.0

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count what is done within."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(time.perf_counter() - started)

    def add(self, seconds: float) -> None:
        """Count what was done elsewhere."""
        self._worked += seconds

    async def rest(self) -> None:
        """Let others have their turn, if it is time."""
        if self._worked >= _SLICE:
            pause = min(self._worked * self._rest_for_each, _LONGEST_REST)
            self._worked = 0.0
            await asyncio.sleep(pause)
