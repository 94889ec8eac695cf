"""Waits, in real time, for conditions."""

import asyncio
import time
from collections.abc import Callable

DEADLINE = 30.0


async def until(is_so: Callable[[], bool], deadline: float = DEADLINE, *, pause: float = 0.02) -> None:
    """Check a condition every `pause` seconds until it is true; fail after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not is_so():
        assert time.monotonic() < end, "what was waited for did not happen"
        await asyncio.sleep(pause)
