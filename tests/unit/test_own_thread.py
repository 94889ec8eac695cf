"""Work in a separate thread."""

import asyncio
import threading
import weakref
from functools import partial

import pytest

from notifier.own_thread import WorkThread, run_in_thread


async def test_run_in_thread_returns_the_result_raises_its_error_and_can_time_out() -> None:
    assert await run_in_thread(lambda: threading.current_thread().name, "work") == "work"
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(lambda: 1 // 0, "work")
    goes_on = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run_in_thread(goes_on.wait, "work")
    goes_on.set()


async def test_work_thread_runs_work_in_order_and_raises_its_errors() -> None:
    thread, order = WorkThread("worker"), list[int]()
    futures = [thread.run(partial(order.append, number)) for number in range(100)]
    assert await thread.run(lambda: threading.current_thread().name) == "worker"
    assert order == [*range(100)]
    assert all(future.done() for future in futures)
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    assert await thread.run(lambda: "it still works") == "it still works"
    thread.close()


async def test_work_thread_skips_cancelled_work_unless_it_has_begun() -> None:
    thread, may_end, has_begun = WorkThread("worker"), threading.Event(), asyncio.Event()
    loop, done = asyncio.get_running_loop(), list[str]()

    def work() -> None:
        loop.call_soon_threadsafe(has_begun.set)
        may_end.wait()
        done.append("begun")

    begun, waiting = thread.run(work), thread.run(partial(done.append, "waiting"))
    await has_begun.wait()
    begun.cancel()
    waiting.cancel()
    may_end.set()
    await asyncio.to_thread(thread.close)
    assert done == ["begun"]


async def test_work_thread_close_finishes_queued_work_and_rejects_more() -> None:
    thread, done = WorkThread("worker"), list[int]()
    last = [thread.run(partial(done.append, number)) for number in range(100)][-1]
    await asyncio.to_thread(thread.close)
    assert done == [*range(100)]
    await last
    with pytest.raises(RuntimeError, match="worker"):
        thread.run(lambda: None)
    WorkThread("never started").close()


async def test_work_thread_does_not_keep_a_result_while_it_waits() -> None:
    class Result:
        pass

    thread = WorkThread("worker")
    result = weakref.ref(await thread.run(Result))
    await thread.run(lambda: None)
    assert result() is None
    thread.close()
