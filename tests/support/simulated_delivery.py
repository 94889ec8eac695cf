"""A real worker and a real store with a simulated endpoint, in virtual time, for tests of days of failures."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notifier.config.webhooks import HttpSettings
from notifier.delivery.worker import Worker
from notifier.destinations.base import Grouping
from notifier.destinations.outcome import Outcome
from notifier.events import Change, DetectedBy, EventType
from notifier.store.database import Database
from notifier.store.subscriptions import Subscription
from notifier.store.tables import sources
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.records import Findings, write_findings
from tests.support.completions import completion
from tests.support.virtual_time import LoopClock, ThreadlessStore, VirtualTimeLoop

NAME = "hr"
LATENCY = 0.05
"""Seconds until the simulated endpoint answers."""

HOUR = 3600.0
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the endpoint: begin and answer (seconds), the keys of its records, its outcome, and the number of
    requests at that time."""

    began: float
    answered: float
    subjects: tuple[str, ...]
    outcome: Outcome
    active: int


Answer = Callable[[Sequence[str]], Outcome]


@dataclass
class SimulatedEndpoint:
    """A destination that returns the outcome of the function `answer` after LATENCY seconds."""

    answer: Answer
    grouping: Grouping = field(default_factory=Grouping)
    requests: list[Request] = field(default_factory=list)
    name: str = NAME
    active: int = 0

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        began, self.active = now(), self.active + 1
        active = self.active
        subjects = tuple(delivery.event.subject for delivery in deliveries)
        try:
            await asyncio.sleep(LATENCY)
        finally:
            self.active -= 1
        outcome = self.answer(subjects)
        self.requests.append(Request(began, now(), subjects, outcome, active))
        return outcome

    def attempts_at(self, subject: str) -> list[Request]:
        """Return the requests that carried a record, in order of their answers."""
        return [request for request in self.requests if subject in request.subjects]


@dataclass
class SimulatedDelivery:
    """A worker that delivers events from a store to a simulated endpoint."""

    store: ThreadlessStore
    endpoint: SimulatedEndpoint
    settings: HttpSettings
    jitter: Callable[[], float]
    _worker: Worker | None = None

    async def enter(self, *keys: str) -> None:
        """Write one event about each of these records."""
        changes = [Change(EventType.CREATED, completion(key), 1, DetectedBy.HEAD, "entered_since") for key in keys]
        findings = Findings("acme", "acme", changes=changes)
        wants = [Subscription(NAME, frozenset(EventType))]
        written = await self.store.run(write_findings, findings, wants, LoopClock().now_ms())
        if self._worker is not None:
            self._worker.hand_over(written.deliveries)
            self._worker.wake()

    @property
    def worker(self) -> Worker:
        assert self._worker is not None
        return self._worker

    async def start(self) -> None:
        """Start a new worker, as after a restart of the daemon."""
        self._worker = Worker(self.endpoint, self.settings, self.store, LoopClock(), self.jitter)
        await self._worker.start()

    async def stop(self) -> None:
        """Stop the worker in an orderly way."""
        await self.worker.stop(1.0)
        self._worker = None

    async def restart_after(self, seconds: float) -> None:
        """Let time pass, then stop the worker and start a new one."""
        await asyncio.sleep(seconds)
        await self.stop()
        await self.start()

    async def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Query the state file."""

        def rows(db: Database) -> list[tuple[Any, ...]]:
            return db.execute(sql).fetchall()

        return await self.store.run(rows)

    async def states(self) -> dict[str, int]:
        """Count the deliveries by their state."""
        return dict(await self.ask("SELECT state, count(*) FROM deliveries GROUP BY 1"))


def simulate(
    answer: Answer,
    story: Callable[[SimulatedDelivery], Awaitable[None]],
    *,
    jitters: Iterable[float] = (0.5,),
    **keys: Any,
) -> SimulatedEndpoint:
    """Run `story` with a worker in virtual time, and return the endpoint with all requests that it got."""
    settings = HttpSettings.model_validate({"type": "http", "url": "http://127.0.0.1:9/", **keys})
    wait = settings.batch_wait if settings.batch_size > 1 else 0.0
    endpoint = SimulatedEndpoint(answer, Grouping(settings.batch_size, wait))
    jitter = itertools.cycle(jitters).__next__

    async def perform() -> None:
        async with _opened() as store:
            delivery = SimulatedDelivery(store, endpoint, settings, jitter)
            await delivery.start()
            await story(delivery)
            await delivery.stop()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(perform())
    return endpoint


@asynccontextmanager
async def _opened() -> AsyncIterator[ThreadlessStore]:
    with tempfile.TemporaryDirectory() as folder:
        store = ThreadlessStore(Path(folder) / "notifier.db")
        await store.open()
        await store.run(sources.read_or_create, "acme")
        yield store
        await store.close()


def now() -> float:
    """Return the virtual time, in seconds since the start."""
    return asyncio.get_running_loop().time()
