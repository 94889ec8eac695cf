"""Limits how many pages of sweeps are in memory at a time, when many sources are swept at once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

MAX_PAGES: Final = 4
"""The number of pages of all sources that may be in memory; a page of 1,000 records takes about a megabyte."""

UNANSWERED_SECONDS: Final = 0.5
"""Seconds after which an unanswered request is not counted any more: a slow API must not delay other sources."""


class SweepPageLimiter:
    """Limits the pages that the sweeps of all sources have requested, or have read but not written yet.

    Many sources together deliver pages faster than the store writes them. The waiting pages would fill the memory.
    """

    def __init__(self) -> None:
        self._turn_lock = asyncio.Lock()
        self._page_released = asyncio.Event()
        self._requested_at: dict[object, float] = {}
        self._unwritten = 0

    @asynccontextmanager
    async def requesting(self) -> AsyncIterator[None]:
        """Wait until a page may be requested. The page counts until its answer, but not beyond `UNANSWERED_SECONDS`."""
        async with self._turn_lock:
            while self._count() >= MAX_PAGES:
                self._page_released.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(UNANSWERED_SECONDS):
                        await self._page_released.wait()
        request = object()
        self._requested_at[request] = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            del self._requested_at[request]
            self._page_released.set()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Count a page while it waits for the store or is being written."""
        self._unwritten += 1
        try:
            yield
        finally:
            self._unwritten -= 1
            self._page_released.set()

    def _count(self) -> int:
        counted_since = asyncio.get_running_loop().time() - UNANSWERED_SECONDS
        return self._unwritten + sum(at > counted_since for at in self._requested_at.values())
