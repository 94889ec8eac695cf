"""How soon changes are told in accounts where much happens, and what that costs: an hour each, in virtual time.

    python -m tests.benchmarks.busy_accounts [--records 20000 200000 1000000] [--entries 1 10 60] [--requests 30 60]
        [--backdated recent|anywhere] [--minutes 60]

Every account is entered into, a third of it backdated: by forty days on average (`recent`, as people are late), or to
any day of the list (`anywhere`). For ten entries there are an edit on the first page, an edit below it, and a deletion
below it. The real watcher looks at it through the real HTTP of a simulated API that takes half a second for a large
page and 50 ms for a small one; a loop that waits for nothing makes minutes of the hours. After the hour nothing
happens for half an hour, so that what is late is told late, not never. Edits below the first page are left to the next
scan, a day later: they are told only by accident.

Requests are counted within the hour: beside head polls, and precise questions of a person or a training of whom
nothing was deleted, which ask for records that exist.
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
    """What happens to an account."""

    TODAY = "entry of today"
    BACKDATED = "backdated entry"
    EDIT_ABOVE = "edit, page 1"
    EDIT_BELOW = "edit, below"
    DELETION = "deletion"


@dataclass(frozen=True, slots=True)
class Case:
    """One account: records, entries a minute, requests a minute; backdated by days or to any day; minutes."""

    records: int
    entries: int
    requests: int
    anywhere: bool
    minutes: int


@dataclass(slots=True)
class Requests:
    """What was asked of the list: the first pages of head polls, all else, and precise questions among that."""

    heads: int = 0
    beside: int = 0
    questions: int = 0
    about_existing: int = 0


@dataclass
class Figures:
    """What an hour came to: by kind the seconds until each change was told, and how many were not."""

    case: Case
    told: dict[Kind, list[float]]
    untold: dict[Kind, int]
    false: int
    requests: Requests
    conditions: set[str]
    real_seconds: float

    def lines(self) -> Iterator[str]:
        """Write them for people."""
        case, requests = self.case, self.requests
        yield (
            f"{case.records:,} records, {case.entries} entries a minute, {case.requests} requests a minute"
            f" ({self.real_seconds:.0f} s)"
        )
        for kind in Kind:
            delays = self.told[kind]
            within = f"{_shown(statistics.median(delays))} {_shown(max(delays))}" if delays else f"{'-':>8} {'-':>8}"
            untold = f"   {self.untold[kind]} not told" if self.untold[kind] else ""
            yield f"  {kind:<16} {len(delays):>5} told within {within} (median, max){untold}"
        yield (
            f"  requests a minute: {requests.heads / case.minutes:.1f} of head polls,"
            f" {requests.beside / case.minutes:.1f} beside them"
        )
        yield f"  precise questions: {requests.questions}, of them {requests.about_existing} about records that exist"
        yield f"  false events: {self.false}; conditions: {', '.join(sorted(self.conditions)) or 'none'}"


@dataclass
class BusyAccount:
    """An account, what people do to it, and when that was told."""

    account: Account
    loop: asyncio.AbstractEventLoop
    luck: random.Random
    done: dict[str, tuple[Kind, float]] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)
    false: int = 0
    requests: Requests = field(default_factory=Requests)
    counting: bool = False
    deleted: set[tuple[int, str]] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)
    ids: list[int] = field(default_factory=list)

    def hear(self, events: Sequence[Event]) -> None:
        """Note when a change is told; what has not happened, or was told before, is false."""
        for event in events:
            key = f"{event.type} {event.subject}"
            if key not in self.done or key in self.told:
                self.false += 1
            self.told.setdefault(key, self.loop.time())

    async def live(self, case: Case) -> None:
        """Let so many minutes pass, in which things happen at moments by chance."""
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
        """Tell whether an edit is news of its own: what was entered just now is told as it is then."""
        created = f"completion.created {record_id}"
        return created not in self.done or created in self.told

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
        """Choose a record that nothing has happened to yet, by far not on the first page."""
        while (id_ := self.luck.choice(self.ids)) in self.touched:
            pass
        return id_

    @web.middleware
    async def between(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a request, and let its answer take its time on the way."""
        asked = orjson.loads(await request.read())
        if self.counting:
            self._count(asked)
        answer = await handler(request)
        await asyncio.sleep(LARGE_PAGE_SECONDS if asked.get("limit", 0) > HEAD_PAGE else SMALL_PAGE_SECONDS)
        return answer

    def _count(self, asked: dict[str, object]) -> None:
        requests, precise = self.requests, "user_id" in asked or "training_id" in asked
        if (asked.get("page"), asked.get("limit"), precise) == (1, HEAD_PAGE, False):
            requests.heads += 1
            return
        requests.beside += 1
        if precise:
            requests.questions += 1
            requests.about_existing += not any(
                asked.get("training_id", training) == training and asked.get("user_id", user) == user
                for training, user in self.deleted
            )


def new_account(records: int, clock: LapsingClock) -> Account:
    """Make up an account, of which every process makes the same; collections shall not look through it."""
    account = synthetic_account(records, now_ms=clock.now_ms)
    gc.collect()
    gc.freeze()
    return account


def in_virtual_time(work: Callable[[TimeLapse], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a loop of its own that waits for nothing."""
    loop = TimeLapse()
    try:
        return loop.run_until_complete(work(loop))
    finally:
        loop.end()


def free_port() -> int:
    """Return a port for all accounts: under another address, a state file would have to be filled again."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def learn(records: int, state_file: Path, started_ms: int, port: int, loop: TimeLapse) -> None:
    """Let a state file know all of an account."""
    clock = SharedClock(loop, started_ms)
    account = new_account(records, clock)
    async with (
        serve(make_app(account, rate_limit=None), port=port) as url,
        watching(url, state_file, clock, UNLIMITED, lambda _: None) as watched,
    ):
        await watched.learn()


async def run_case(case: Case, state_file: Path, started_ms: int, port: int, loop: TimeLapse) -> Figures:
    """Let an account have its hour."""
    began = time.perf_counter()
    clock = SharedClock(loop, started_ms)
    account = new_account(case.records, clock)
    busy = BusyAccount(account, loop, random.Random(1))
    busy.ids = [record.id for record in itertools.islice(account.records(), 10 * HEAD_PAGE, None)]
    conditions: set[str] = set()
    async with (
        serve(make_app(account, rate_limit=None, middlewares=[busy.between]), port=port) as url,
        watching(url, state_file, clock, case.requests, busy.hear) as watched,
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
    told: dict[Kind, list[float]] = defaultdict(list)
    untold: dict[Kind, int] = defaultdict(int)
    for key, (kind, at) in busy.done.items():
        if key in busy.told:
            told[kind].append(busy.told[key] - at)
        else:
            untold[kind] += 1
    seconds = time.perf_counter() - began
    return Figures(case, told, untold, busy.false, busy.requests, conditions, seconds)


class SharedClock(LapsingClock):
    """The loop's time as the program's clock, which begins at the same moment on every loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, started_ms: int) -> None:
        super().__init__(loop)
        self._started_ms = started_ms


def _shown(seconds: float) -> str:
    return f"{seconds / MINUTE:>5.1f} min"


def main() -> None:
    """Measure, and print the figures of each account as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="*", default=[20_000, 200_000, 1_000_000])
    parser.add_argument("--entries", type=int, nargs="*", default=[1, 10, 60], help="a minute")
    parser.add_argument("--requests", type=int, nargs="*", default=[30, 60], help="a minute")
    parser.add_argument("--backdated", choices=["recent", "anywhere"], default="recent")
    parser.add_argument("--minutes", type=int, default=60)
    asked = parser.parse_args()
    started_ms, port = time.time_ns() // 1_000_000, free_port()
    for records in asked.records:
        with tempfile.TemporaryDirectory() as folder:
            learned = Path(folder, "learned.db")
            in_virtual_time(partial(learn, records, learned, started_ms, port))
            for entries, requests in itertools.product(asked.entries, asked.requests):
                case = Case(records, entries, requests, asked.backdated == "anywhere", asked.minutes)
                state_file = Path(folder, f"{entries}-{requests}.db")
                shutil.copy(learned, state_file)
                figures = in_virtual_time(partial(run_case, case, state_file, started_ms, port))
                print("\n".join(figures.lines()), "\n", flush=True)
                state_file.unlink()


if __name__ == "__main__":
    main()
