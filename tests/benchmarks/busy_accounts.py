"""Measures how soon changes in busy accounts are reported, and how many requests that takes: one virtual hour each.

    python -m tests.benchmarks.busy_accounts [--records 20000 200000 1000000] [--entries 1 10 60] [--requests 30 60]
        [--backdated recent|anywhere] [--minutes 60]

A third of the entries are backdated: by forty days on average (`recent`, as when people are late), or to any day of
the list (`anywhere`). For every ten entries there are an edit on the first page, an edit below it, and a deletion below
it. The real watcher polls a simulated API over HTTP. The API takes half a second for a large page and 50 ms for a small
one. Time is virtual, so an hour takes minutes. Nothing changes in the half hour after the hour, so that late reports
are counted as late. Edits below the first page are normally found by the next sweep, a day later, so few of them are
reported here.

Requests are counted within the hour, without head polls. Of the precise questions, those about a person or a training
without a deletion are counted separately: they ask for records that exist.
"""

import argparse
import asyncio
import gc
import itertools
import random
import shutil
import socket
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from notifier.events import Event
from notifier.sandbox import Account, make_app, serve, synthetic_account
from notifier.sandbox.records import Version, date_number, day_of
from tests.benchmarks.watched import HEAD_PAGE, POLL_SECONDS, watching
from tests.support.clocks import LapsingClock
from tests.support.time_lapse import TimeLapse

T = TypeVar("T")

MINUTE = 60.0
REST_MINUTES = 30.0
LATE_DAYS_ON_AVERAGE = 40
LARGE_PAGE_SECONDS = 0.5
SMALL_PAGE_SECONDS = 0.05
UNLIMITED = 10**7


class Kind(StrEnum):
    """The kinds of changes of an account."""

    TODAY = "entry of today"
    BACKDATED = "backdated entry"
    EDIT_ABOVE = "edit, page 1"
    EDIT_BELOW = "edit, below"
    DELETION = "deletion"


@dataclass(frozen=True, slots=True)
class Case:
    """One account: its size, entries and requests a minute, how entries are backdated, and the duration in minutes."""

    records: int
    entries: int
    requests: int
    anywhere: bool
    minutes: int


@dataclass(slots=True)
class Requests:
    """The numbers of requests: head polls, others, and the precise questions among the others."""

    heads: int = 0
    beside: int = 0
    questions: int = 0
    about_existing: int = 0


@dataclass
class Figures:
    """The results of an hour: by kind, the seconds until each change was reported, and the number that were not."""

    case: Case
    reported: dict[Kind, list[float]]
    unreported: dict[Kind, int]
    false: int
    requests: Requests
    conditions: set[str]
    real_seconds: float

    def lines(self) -> Iterator[str]:
        """Return the lines to print."""
        case, requests = self.case, self.requests
        yield (
            f"{case.records:,} records, {case.entries} entries a minute, {case.requests} requests a minute"
            f" ({self.real_seconds:.0f} s)"
        )
        for kind in Kind:
            delays = self.reported[kind]
            within = f"{_shown(statistics.median(delays))} {_shown(max(delays))}" if delays else f"{'-':>8} {'-':>8}"
            unreported = f"   {self.unreported[kind]} not reported" if self.unreported[kind] else ""
            yield f"  {kind:<16} {len(delays):>5} reported within {within} (median, max){unreported}"
        yield (
            f"  requests a minute: {requests.heads / case.minutes:.1f} of head polls,"
            f" {requests.beside / case.minutes:.1f} beside them"
        )
        yield f"  precise questions: {requests.questions}, of them {requests.about_existing} about records that exist"
        yield f"  false events: {self.false}; conditions: {', '.join(sorted(self.conditions)) or 'none'}"


@dataclass
class BusyAccount:
    """An account, its changes, and when they were reported."""

    account: Account
    loop: asyncio.AbstractEventLoop
    luck: random.Random
    done: dict[str, tuple[Kind, float]] = field(default_factory=dict)
    reported: dict[str, float] = field(default_factory=dict)
    false: int = 0
    requests: Requests = field(default_factory=Requests)
    counting: bool = False
    deleted: set[tuple[int, str]] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)
    ids: list[int] = field(default_factory=list)

    def record_events(self, events: Sequence[Event]) -> None:
        """Record when a change is reported. A report of no change, or a second report, counts as false."""
        for event in events:
            key = f"{event.type} {event.subject}"
            if key not in self.done or key in self.reported:
                self.false += 1
            self.reported.setdefault(key, self.loop.time())

    async def live(self, case: Case) -> None:
        """Let minutes pass with changes at random times."""
        began = self.loop.time()
        for at, act in self._plan(case):
            await asyncio.sleep(max(0.0, began + at - self.loop.time()))
            act()
        await asyncio.sleep(began + case.minutes * MINUTE - self.loop.time())

    def _plan(self, case: Case) -> list[tuple[float, Callable[[], None]]]:
        entries, seconds = case.entries * case.minutes, case.minutes * MINUTE
        acts: list[Callable[[], None]] = []
        for number in range(entries):
            acts.append(self._enter if number % 3 else (self._enter_anywhere if case.anywhere else self._enter_late))
            if number % 10 == 0:
                acts += [self._edit_above, self._edit_below, self._delete]
        return sorted(((self.luck.uniform(0, seconds), act) for act in acts), key=lambda planned: planned[0])

    def _note(self, kind: Kind, event: str, record_id: int) -> None:
        self.done[f"completion.{event} {record_id}"] = (kind, self.loop.time())

    def _enter(self) -> None:
        self._add(Kind.TODAY, date_number(day_of(self.account.now_ms())))

    def _enter_late(self) -> None:
        days = 1 + int(self.luck.expovariate(1 / LATE_DAYS_ON_AVERAGE))
        self._add(Kind.BACKDATED, date_number(day_of(self.account.now_ms()) - timedelta(days=days)))

    def _enter_anywhere(self) -> None:
        self._add(Kind.BACKDATED, self.account.get(self._any_below()).date_number)

    def _add(self, kind: Kind, day: int) -> None:
        person, training = self.luck.choice(self.account.users), self.luck.choice(self.account.trainings)
        record = self.account.add(user=person["id"], training=training.ids, date_number=day)
        self._note(kind, "created", record.id)

    def _edit_above(self) -> None:
        shown = [record["id"] for record in self.account.page(Version.V2, limit=HEAD_PAGE // 2).records]
        known = [id_ for id_ in shown if id_ not in self.touched and self._is_known(id_)]
        if known:
            self._edit(Kind.EDIT_ABOVE, self.luck.choice(known))

    def _is_known(self, record_id: int) -> bool:
        """Return whether the record was reported already, so that an edit of it is reported separately."""
        created = f"completion.created {record_id}"
        return created not in self.done or created in self.reported

    def _edit_below(self) -> None:
        self._edit(Kind.EDIT_BELOW, self._any_below())

    def _edit(self, kind: Kind, record_id: int) -> None:
        self.touched.add(record_id)
        self.account.edit(record_id, notes=f"corrected {len(self.done)}")
        self._note(kind, "updated", record_id)

    def _delete(self) -> None:
        record = self.account.remove(self._any_below())
        self.touched.add(record.id)
        self.deleted.add((record.training.v2, record.user))
        self._note(Kind.DELETION, "removed", record.id)

    def _any_below(self) -> int:
        """Choose an unchanged record far below the first page."""
        while (id_ := self.luck.choice(self.ids)) in self.touched:
            pass
        return id_

    @web.middleware
    async def between(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a request, and delay its answer."""
        parameters = orjson.loads(await request.read())
        if self.counting:
            self._count(parameters)
        answer = await handler(request)
        await asyncio.sleep(LARGE_PAGE_SECONDS if parameters.get("limit", 0) > HEAD_PAGE else SMALL_PAGE_SECONDS)
        return answer

    def _count(self, parameters: dict[str, object]) -> None:
        requests, precise = self.requests, "user_id" in parameters or "training_id" in parameters
        if (parameters.get("page"), parameters.get("limit"), precise) == (1, HEAD_PAGE, False):
            requests.heads += 1
            return
        requests.beside += 1
        if precise:
            requests.questions += 1
            requests.about_existing += not any(
                parameters.get("training_id", training) == training and parameters.get("user_id", user) == user
                for training, user in self.deleted
            )


def new_account(records: int, clock: LapsingClock) -> Account:
    """Create an account, the same one in each process, and exclude it from garbage collections."""
    account = synthetic_account(records, now_ms=clock.now_ms)
    gc.collect()
    gc.freeze()
    return account


def in_virtual_time(work: Callable[[TimeLapse], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a new event loop with virtual time."""
    loop = TimeLapse()
    try:
        return loop.run_until_complete(work(loop))
    finally:
        loop.end()


def free_port() -> int:
    """Return a port for all accounts. With another address, the state file would have to be filled again."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def learn(records: int, state_file: Path, started_ms: int, port: int, loop: TimeLapse) -> None:
    """Fill a state file with all records of an account."""
    clock = SharedClock(loop, started_ms)
    account = new_account(records, clock)
    async with (
        serve(make_app(account, rate_limit=None), port=port) as url,
        watching(url, state_file, clock, UNLIMITED, lambda _: None) as watched,
    ):
        await watched.learn()


async def run_case(case: Case, state_file: Path, started_ms: int, port: int, loop: TimeLapse) -> Figures:
    """Measure one account for its hour."""
    began = time.perf_counter()
    clock = SharedClock(loop, started_ms)
    account = new_account(case.records, clock)
    busy = BusyAccount(account, loop, random.Random(1))
    busy.ids = [record.id for record in itertools.islice(account.records(), 10 * HEAD_PAGE, None)]
    conditions: set[str] = set()
    async with (
        serve(make_app(account, rate_limit=None, middlewares=[busy.between]), port=port) as url,
        watching(url, state_file, clock, case.requests, busy.record_events) as watched,
    ):
        polling = asyncio.create_task(watched.poll_for_ever())
        await asyncio.sleep(2 * POLL_SECONDS)
        busy.counting = True
        living = asyncio.create_task(busy.live(case))
        while not living.done():
            await asyncio.wait([living], timeout=POLL_SECONDS)
            conditions.update(watched.conditions())
        busy.counting = False
        await asyncio.sleep(REST_MINUTES * MINUTE)
        polling.cancel()
        await asyncio.wait([polling])
        conditions.update(watched.conditions())
    reported: dict[Kind, list[float]] = defaultdict(list)
    unreported: dict[Kind, int] = defaultdict(int)
    for key, (kind, at) in busy.done.items():
        if key in busy.reported:
            reported[kind].append(busy.reported[key] - at)
        else:
            unreported[kind] += 1
    seconds = time.perf_counter() - began
    return Figures(case, reported, unreported, busy.false, busy.requests, conditions, seconds)


class SharedClock(LapsingClock):
    """A clock for the program that shows the loop's time; it starts at the same time on every loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, started_ms: int) -> None:
        super().__init__(loop)
        self._started_ms = started_ms


def _shown(seconds: float) -> str:
    return f"{seconds / MINUTE:>5.1f} min"


def main() -> None:
    """Measure the accounts, and print the figures of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="*", default=[20_000, 200_000, 1_000_000])
    parser.add_argument("--entries", type=int, nargs="*", default=[1, 10, 60], help="a minute")
    parser.add_argument("--requests", type=int, nargs="*", default=[30, 60], help="a minute")
    parser.add_argument("--backdated", choices=["recent", "anywhere"], default="recent")
    parser.add_argument("--minutes", type=int, default=60)
    options = parser.parse_args()
    started_ms, port = time.time_ns() // 1_000_000, free_port()
    for records in options.records:
        with tempfile.TemporaryDirectory() as folder:
            learned = Path(folder, "learned.db")
            in_virtual_time(partial(learn, records, learned, started_ms, port))
            for entries, requests in itertools.product(options.entries, options.requests):
                case = Case(records, entries, requests, options.backdated == "anywhere", options.minutes)
                state_file = Path(folder, f"{entries}-{requests}.db")
                shutil.copy(learned, state_file)
                figures = in_virtual_time(partial(run_case, case, state_file, started_ms, port))
                print("\n".join(figures.lines()), "\n", flush=True)
                state_file.unlink()


if __name__ == "__main__":
    main()
