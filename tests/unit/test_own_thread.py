"""Work in a thread of its own."""

import asyncio
import threading

import pytest

from notifier.own_thread import run_in_thread


async def test_work_in_a_thread_returns_or_raises_and_can_be_left_behind() -> None:
    assert await run_in_thread(lambda: threading.current_thread().name, "work") == "work"
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(lambda: 1 // 0, "work")
    goes_on = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run_in_thread(goes_on.wait, "work")
    goes_on.set()
