"""Waiting, in real time, for what is to happen."""

import asyncio
import time
from collections.abc import Callable

DEADLINE = 30.0


async def until(is_so: Callable[[], bool], deadline: float = DEADLINE, *, pause: float = 0.02) -> None:
    """Wait for a condition, looking every `pause` seconds; fail when it has not come true within `deadline` seconds."""
    end = time.monotonic() + deadline
    while not is_so():
        assert time.monotonic() < end, "what was waited for did not happen"
        await asyncio.sleep(pause)
