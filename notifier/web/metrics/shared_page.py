"""A cached page that is made at most once a second, however many clients request it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

KEPT: Final = 1.0
"""Seconds for which a page is cached."""


class SharedPage:
    """Caches the last page."""

    def __init__(self) -> None:
        """Initialize without a page."""
        self._making = asyncio.Lock()
        self._page = b""
        self._made_at = -KEPT

    async def page(self, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the cached page, or if it is too old a new one from `make`. Raises whatever `make` raises."""
        async with self._making:
            if time.monotonic() - self._made_at >= KEPT:
                self._page = await make()
                self._made_at = time.monotonic()
            return self._page
