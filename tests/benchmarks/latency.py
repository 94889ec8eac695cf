"""Measures the time from the API's answer to the arrival of the webhook, for one new record on a page of 100.

    python -m tests.benchmarks.latency [--events 200]

The API and the receiver are other processes; all three read the same monotonic clock. The measured time begins when the
API's answer begins to arrive, and ends when the receiver has the request. The minimum is a loop that parses the page,
looks up each id in a set, writes the new record in one transaction, as safely as the notifier does, and then sends it.
Finally, the times at which the notifier has done each step are printed.
"""

import argparse
import asyncio
import hashlib
import hmac
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
import orjson

from notifier.clock import SystemClock
from notifier.config import load
from notifier.daemon.watcher_factory import build_watcher
from notifier.delivery.dispatcher import Dispatcher
from notifier.delivery.subscriptions import subscriptions_of
from notifier.delivery.worker import Worker
from notifier.http.connector import ExpiringConnection
from notifier.http.exchange import new_session
from notifier.store.file.store import FileStore
from notifier.store.tables import records_by_person
from notifier.watch import ingest, ingest_transaction
from notifier.watch.source_reader import SourceReader
from tests.benchmarks.common import HERE, beside, describe, report

PAGE_SIZE = 100


class NotingConnection(ExpiringConnection):
    """A connection of the program that records when each answer begins to arrive."""

    def __init__(self, answers: list[int], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._answers = answers
        self._is_awaiting = False

    def set_response_params(self, **params: Any) -> None:
        """Prepare to read the next answer."""
        self._is_awaiting = True
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Record the time if an answer begins, and parse the bytes."""
        if self._is_awaiting:
            self._answers.append(time.monotonic_ns())
            self._is_awaiting = False
        super().data_received(data)


class Steps:
    """Records when each step was first done after an answer began to arrive."""

    def __init__(self) -> None:
        self.moments: dict[str, int] = {}
        self.took: dict[str, list[float]] = {}

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Record the steps from the answer to the request until the end of the block."""
        fetch, hand_over = SourceReader.fetch, Worker.hand_over
        look_up, write = ingest_transaction._look_up, ingest_transaction.evaluate_and_write

        async def noted_fetch(*arguments: Any, **options: Any) -> Any:
            page = await fetch(*arguments, **options)
            self._note("the page is read")
            return page

        def noted_function(function: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
            def noted(*arguments: Any) -> Any:
                if before:
                    self._note(before)
                result = function(*arguments)
                self._note(after)
                return result

            return noted

        with ExitStack() as patches:
            for owner, name, noting in (
                (SourceReader, "fetch", noted_fetch),
                (ingest_transaction, "_look_up", noted_function(look_up, "the transaction begins", "looked up")),
                (ingest, "evaluate_and_write", noted_function(write, "", "record, event and delivery are written")),
                (Worker, "hand_over", noted_function(hand_over, "committed to the disk", "handed to the worker")),
            ):
                patches.enter_context(patch.object(owner, name, noting))
            yield

    def add(self, answered: int, arrived: int) -> None:
        """Add the times of one event to the results, and clear them."""
        for name, moment in (*self.moments.items(), ("the receiver has the request", arrived)):
            self.took.setdefault(name, []).append((moment - answered) / 1e6)

    def _note(self, name: str) -> None:
        self.moments.setdefault(name, time.monotonic_ns())


async def measure(
    api: subprocess.Popen[str],
    receiver: str,
    events: int,
    answers: list[int],
    poll: Callable[[], Awaitable[object]],
    steps: Steps | None = None,
) -> list[float]:
    """Enter records one by one, and poll after each; return the milliseconds for each."""
    steps = steps or Steps()
    assert api.stdin is not None
    took = []
    async with aiohttp.ClientSession() as asking:
        for _ in range(events):
            api.stdin.write("one more\n")
            api.stdin.flush()
            arrived: list[int] = []
            while not arrived:
                answers.clear()
                steps.moments.clear()
                await poll()
                await asyncio.sleep(0.05)
                async with asking.get(f"{receiver}/arrivals") as response:
                    arrived = await response.json()
            took.append((arrived[0] - answers[0]) / 1e6)
            steps.add(answers[0], arrived[0])
    return took


async def measure_minimum(
    api: subprocess.Popen[str], url: str, receiver: str, events: int, folder: Path
) -> list[float]:
    """Measure the minimum."""
    answers: list[int] = []
    known: set[int] = set()
    body = orjson.dumps({"token": "sandbox", "page": 1, "limit": PAGE_SIZE})
    async with aiohttp.ClientSession() as session, aiohttp.ClientSession() as api_session:
        note_answers(api_session, answers)
        with closing(sqlite3.connect(folder / "minimum.db")) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, record TEXT)")

            async def poll(*, is_first: bool = False) -> None:
                async with api_session.post(f"{url}/completedtrainings.v2.list", data=body) as response:
                    page = orjson.loads(await response.read())
                new = [record for record in page["completedtrainings"] if record["id"] not in known]
                with db:
                    db.executemany("INSERT INTO records VALUES (?, ?)", [(it["id"], orjson.dumps(it)) for it in new])
                known.update(record["id"] for record in new)
                for event in () if is_first else map(orjson.dumps, new):
                    signature = hmac.new(b"secret", event, hashlib.sha256).hexdigest()
                    async with session.post(f"{receiver}/hook", data=event, headers={"x-signature": signature}):
                        pass

            await poll(is_first=True)
            return await measure(api, receiver, events, answers, poll)


def note_answers(session: aiohttp.ClientSession, answers: list[int]) -> None:
    """Make the connections of a session record in `answers` when each answer begins to arrive."""
    connector: Any = session.connector
    connector._factory = partial(NotingConnection, answers, asyncio.get_running_loop())


async def measure_notifier(
    api: subprocess.Popen[str], url: str, receiver: str, events: int, folder: Path, steps: Steps
) -> list[float]:
    """Measure the watcher, the store and the worker of the daemon."""
    environ = {
        "NOTIFIER_STORE__PATH": str(folder / "notifier.db"),
        "NOTIFIER_SOURCES__ACME__BASE_URL": url,
        "NOTIFIER_SOURCES__ACME__TOKEN": "sandbox",
        "NOTIFIER_SOURCES__ACME__REQUESTS_PER_MINUTE": "10000000",
        "NOTIFIER_SOURCES__ACME__PAGE_SIZE": str(PAGE_SIZE),
        "NOTIFIER_DESTINATIONS__HR__TYPE": "http",
        "NOTIFIER_DESTINATIONS__HR__URL": f"{receiver}/hook",
        "NOTIFIER_DESTINATIONS__HR__SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr",
    }
    settings = load(environ=environ, cwd=folder)
    answers: list[int] = []
    store = FileStore(settings.store.path)
    await store.open()
    async with new_session() as session, new_session() as api_session:
        note_answers(api_session, answers)
        dispatcher = Dispatcher(settings.destinations, store, SystemClock())
        await dispatcher.start(session)
        wanted = subscriptions_of(settings.destinations)
        watcher = build_watcher(
            settings,
            "acme",
            api_session,
            store,
            SystemClock(),
            lambda: wanted,
            lambda _events: dispatcher.wake(),
            on_deliveries=dispatcher.hand_over,
        )
        await watcher.start()
        await watcher.poll()
        await watcher.run_followups()
        while watcher.is_sweeping:
            await asyncio.sleep(0.05)
        # The daemon's maintenance does this after the first sweep.
        await store.run(records_by_person.create_index)
        with steps.noted():
            took = await measure(api, receiver, events, answers, watcher.poll, steps)
        await watcher.stop()
        await dispatcher.stop(1.0)
    await store.close()
    return took


@contextmanager
def running_api() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the API with 1,000 records; yield its process, which adds a record for each line, and its URL."""
    command = [sys.executable, str(HERE / "api.py"), "1000"]
    api = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert api.stdout is not None
    try:
        yield api, api.stdout.readline().strip()
    finally:
        api.communicate()


async def main() -> None:
    """Measure both, and print medians and 99th percentiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200)
    options = parser.parse_args()
    with beside("receiver.py") as port, tempfile.TemporaryDirectory() as folder:
        receiver = f"http://127.0.0.1:{port}"
        # Each has an account of its own, so that both see the same records.
        with running_api() as (api, url):
            least = await measure_minimum(api, url, receiver, options.events, Path(folder))
        with running_api() as (api, url):
            took = await measure_notifier(api, url, receiver, options.events, Path(folder), steps := Steps())
    minimum, ours = (statistics.quantiles(figures, n=100) for figures in (least, took))
    report("minimum, p50", [minimum[49]], "ms")
    report("minimum, p99", [minimum[98]], "ms")
    report("answer to webhook, p50", [ours[49]], "ms")
    report("answer to webhook, p99", [ours[98]], "ms")
    report("p50, times the minimum's", [ours[49] / minimum[49]], "")
    report("p99, times the minimum's", [ours[98] / minimum[98]], "")
    for name, moments in steps.took.items():
        print(describe(name, statistics.quantiles(moments, n=4), "ms"))


if __name__ == "__main__":
    asyncio.run(main())
