"""Measures what it takes to wake the destinations of one new event among many idle destinations.

    python -m tests.benchmarks.wake [--destinations 1000] [--rounds 20]

Each destination accepts a different training. Waking all destinations, and waking only those that accept the event, are
measured in wall and processor time until the store has answered every worker.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from notifier.clock import SystemClock
from notifier.config import HttpSettings
from notifier.delivery.dispatcher import Dispatcher
from notifier.delivery.subscriptions import affected_destinations, subscriptions_of
from notifier.events import Event, EventType
from notifier.http.exchange import new_session
from notifier.store.file.store import FileStore
from tests.benchmarks.common import report


async def measure(
    dispatcher: Dispatcher, store: FileStore, wake: Callable[[], None], rounds: int
) -> tuple[list[float], list[float]]:
    """Return the wall and the processor time of each wake-up, in milliseconds."""
    passed, processor = [], []
    for _ in range(rounds):
        began, processor_began = time.perf_counter(), time.process_time()
        wake()
        while any(worker._reader.is_reading for worker in dispatcher._workers.values()):
            await store.run(lambda _db: None)
        passed.append(1000 * (time.perf_counter() - began))
        processor.append(1000 * (time.process_time() - processor_began))
    return passed, processor


async def run(number: int, rounds: int, folder: Path) -> None:
    """Measure both, and print the figures."""
    settings = {
        f"d{place}": HttpSettings.model_validate(
            {"type": "http", "url": "http://127.0.0.1:9/", "training_ids": [str(place)]}
        )
        for place in range(number)
    }
    data = orjson.dumps({"completion": {"training_id": "7", "user_id": "u"}})
    events = [Event(1, "evt_a", EventType.CREATED, "acme", "7", 0, data)]
    filters = subscriptions_of(settings)
    store = FileStore(folder / "notifier.db")
    await store.open()
    async with new_session() as session:
        dispatcher = Dispatcher(settings, store, SystemClock())
        await dispatcher.start(session)
        await measure(dispatcher, store, dispatcher.wake, 1)
        for name, wake in (
            ("all destinations", dispatcher.wake),
            ("those concerned", lambda: dispatcher.wake(affected_destinations(events, filters))),
        ):
            passed, processor = await measure(dispatcher, store, wake, rounds)
            report(name, passed, "ms")
            report(f"{name}, processor time", processor, "ms")
        await dispatcher.stop(0.0)
    await store.close()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--destinations", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(options.destinations, options.rounds, Path(folder)))


if __name__ == "__main__":
    main()
