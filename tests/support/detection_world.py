"""One account, its API, the daemon that watches it, and the receiver that is told: all real but for the time.

The daemon, the sandbox and the receiver talk HTTP over the loopback, and the state file is a file. Time passes only
where everybody waits, so that settings are those of a real installation: a poll a minute, second looks after five.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import aiohttp
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec.structs import replace

from notifier.config import Settings
from notifier.daemon.configuration import SettingsSource
from notifier.daemon.daemon import Daemon
from notifier.daemon.socket_path import socket_path
from notifier.sandbox import CONTROL, Account, Record, SandboxControl, make_app, serve, synthetic_account
from notifier.sandbox.records import date_number, day_of
from notifier.watch.patience import PATIENCE
from tests.support.clocks import LapsingClock
from tests.support.new_state_file import forgo_the_disk, new_state_file
from tests.support.servers import serving

MINUTE = 60.0
HOUR = 3600.0
DAY = 86_400.0

HEAD_PAGE = 100

REMOVAL = 8.0
"""Minutes within which a removal is told that the count shows: a poll, a search, five minutes, a poll; and a spare."""

_WHOLE_SCAN = 3 * HOUR
_STEP = 1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for completions as it arrived: when (the loop's seconds), and what it asked for.

    It is precise where it asks for the records of a person or a training that the source's own filter does not name.
    """

    at: float
    page: int
    limit: int
    precise: bool

    @property
    def is_head(self) -> bool:
        """Whether it is the first page of a head poll."""
        return self.page == 1 and self.limit == HEAD_PAGE and not self.precise


class MachineClock(LapsingClock):
    """The clock of the daemon's machine, which can be set."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.set_by_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.set_by_ms


class World:
    """What is around the daemon: `events` as they were received, `told_at` the loop's seconds of each."""

    def __init__(self, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        self.clock = MachineClock(loop)
        self.true_clock = LapsingClock(loop)
        self.account = Account(now_ms=self.true_clock.now_ms)
        self.events: list[dict[str, Any]] = []
        self.told_at: list[float] = []
        self.asked: list[Asked] = []
        self.answer: Callable[[], web.Response] = web.Response
        self.destination = "hr"
        self.slow: Callable[[Asked], float] = lambda _: 0.0
        self._folder = folder
        self._resources = AsyncExitStack()
        self._resources.enter_context(patch("notifier.daemon.scheduler.CLOCK_CHECK_SECONDS", MINUTE))
        self._control: SandboxControl | None = None
        self._daemon: Daemon | None = None
        self._settings: Settings | None = None
        self._keys: dict[str, Any] = {}
        self._patience: Mapping[str, Any] = {}
        self._api = ""
        self._receiver = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._daemon is not None:
            await self._daemon.stop()
        await self._resources.aclose()

    @property
    def control(self) -> SandboxControl:
        """What begins and ends faults."""
        assert self._control is not None
        return self._control

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None
        return self._daemon

    # Beginning and ending

    async def serve(self) -> None:
        """Serve the account as it is now, and the receiver."""
        loop = asyncio.get_running_loop()
        app = make_app(self.account, rate_limit=None, clock=loop.time, middlewares=[self._between()])
        self._control = app[CONTROL]
        self._api = await self._resources.enter_async_context(serve(app))
        hooks = web.Application()
        hooks.on_response_prepare.append(self._dated)
        hooks.router.add_post("/", self._receive)
        url = await self._resources.enter_async_context(serving(hooks))
        self._receiver = f"{url}/"

    async def open(
        self, account: Account | int, *faults: str, patience: Mapping[str, Any] | None = None, **keys: Any
    ) -> None:
        """Watch an account, or a made-up one of so many records, until the first scan is over.

        `faults` are there from the beginning; `patience` are fields of the daemon's, where they are to be others;
        `keys` are those of the source's settings.
        """
        await self.begin(account, *faults, patience=patience, **keys)
        await self.scanned()

    async def begin(
        self, account: Account | int, *faults: str, patience: Mapping[str, Any] | None = None, **keys: Any
    ) -> None:
        """Begin to watch an account, and do not wait for the first scan."""
        if isinstance(account, int):
            account = synthetic_account(account, now_ms=self.true_clock.now_ms)
        self.account = account
        await self.serve()
        for fault in faults:
            self.control.begin(fault)
        self._keys = keys
        self._patience = patience or {}
        await self.start()

    async def start(self) -> None:
        """Start a daemon on the state file that there is."""
        self._settings = self._new_settings()
        new_state_file(self._settings.store.path)
        with daemon_options(self._patience) as options:
            self._daemon = Daemon(self._settings, self.clock, SettingsSource(self._new_settings), **options)
            await self._daemon.start()
        await forgo_the_disk(self._daemon._store)

    async def restart(self) -> None:
        """Stop the daemon and start another one."""
        await self.daemon.stop()
        await self.start()

    async def reload(self, **keys: Any) -> None:
        """Change keys of the source's settings while the daemon runs."""
        self._keys |= keys
        answer = await self.daemon.reload()
        assert answer.ok, answer.body

    # Time

    async def minutes(self, minutes: float) -> None:
        """Let time pass."""
        await asyncio.sleep(minutes * MINUTE)

    async def seconds(self, seconds: float) -> None:
        """Let a little time pass."""
        await asyncio.sleep(seconds)

    async def poll(self) -> None:
        """Poll by hand."""
        await self.daemon.operations.poll("acme")

    async def sweep(self) -> None:
        """Ask for a full scan, and wait until it is over."""
        await self.begin_sweep()
        await self.scanned()

    async def begin_sweep(self) -> None:
        """Ask for a full scan."""
        answer = await self.daemon.operations.sweep("acme")
        assert answer.ok, answer.body

    async def scanned(self) -> None:
        """Wait until no scan is under way, and one has been finished."""
        end = self.now + _WHOLE_SCAN
        while not (sweep := (await self.source())["sweep"]) or sweep["running"] or not sweep["finished_at"]:
            assert self.now < end, f"the scan did not end: {sweep}"
            await asyncio.sleep(_STEP)

    @property
    def now(self) -> float:
        """The loop's seconds."""
        return asyncio.get_running_loop().time()

    # What is seen

    @property
    def told(self) -> list[str]:
        """The events so far, as `created 1500`, in their order."""
        return [f"{event['type'].removeprefix('completion.')} {event['subject']}" for event in self.events]

    @property
    def told_types(self) -> Counter[str]:
        """How many events of each type."""
        return Counter(event["type"].removeprefix("completion.") for event in self.events)

    async def told_after(self, minutes: float) -> list[str]:
        """Return the events once so many minutes have passed: what is told too much is told by then as well."""
        await self.minutes(minutes)
        return self.told

    async def conditions(self) -> set[str]:
        """Return the names of what is wrong now."""
        # Conditions are looked at once a minute.
        await self.minutes(1)
        return {condition["condition"] for condition in (await self.daemon.operations.status())["conditions"]}

    async def conditions_until(self, condition: str, minutes: float) -> set[str]:
        """Wait for a condition at most so long, and return all of that moment."""
        end = self.now + minutes * MINUTE
        while condition not in (seen := await self.conditions()) and self.now < end:
            pass
        return seen

    async def source(self) -> Any:
        """Return what the status says of the source."""
        return (await self.daemon.operations.status())["sources"]["acme"]

    async def known(self) -> int:
        """Return how many records are known to exist."""
        records: int = (await self.source())["records"]
        return records

    def mark(self) -> int:
        """Return what `asked_since` begins to count from."""
        return len(self.asked)

    def asked_since(self, mark: int) -> list[Asked]:
        """Return the requests for completions since a mark, without the first pages of head polls."""
        return [asked for asked in self.asked[mark:] if not asked.is_head]

    def questions_since(self, mark: int) -> int:
        """Count the precise questions since a mark."""
        return sum(asked.precise for asked in self.asked[mark:])

    # What people do

    async def release(self, what: str, *, silently: bool = False) -> None:
        """Release what is held, over the daemon's own socket."""
        assert self._settings is not None
        connector = aiohttp.UnixConnector(str(socket_path(self._settings.store.path)))
        url = "http://localhost/v1/sources/acme/release"
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(url, json={"what": what, "silently": silently}) as response,
        ):
            assert response.status == 200, await response.text()

    def at(self, place: int) -> Record:
        """Return the record at a place of the list, from 1 on."""
        return [*self.account.records()][place - 1]

    def enter(self, *, like: Record | None = None, **fields: Any) -> Record:
        """Enter a completion of today, or of the day of another one; `fields` say what else is special about it."""
        if like is not None:
            fields["date_number"] = like.date_number
        (record,) = self.control.edits.enter()
        return self.account.edit(record.id, **fields) if fields else record

    def edit(self, record: Record, **fields: Any) -> str:
        """Correct a record; return the event that it should lead to."""
        self.account.edit(record.id, **(fields or {"notes": "corrected"}))
        return f"updated {record.id}"

    def delete(self, record: Record) -> str:
        """Delete a record; return the event that it should lead to."""
        self.account.remove(record.id)
        return f"removed {record.id}"

    # Inside

    def _new_settings(self) -> Settings:
        defaults = {
            "base_url": self._api,
            "token": "sandbox",
            "poll_interval": "60s",
            "page_size": HEAD_PAGE,
            "sweep_interval": "30d",
            "requests_per_minute": 60,
            "names": False,
        }
        return Settings.model_validate(
            {
                "store": {"path": str(self._folder / "notifier.db")},
                "http": {"listen": ""},
                "sources": {"acme": defaults | self._keys},
                "destinations": {self.destination: {"type": "http", "url": self._receiver, "concurrency": 1}},
            }
        )

    def _between(self) -> Any:
        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            if "completedtrainings" in request.path:
                asked = orjson.loads(await request.read())
                own = str(self._keys.get("training_id"))
                precise = "user_id" in asked or str(asked.get("training_id", own)) != own
                self.asked.append(Asked(self.now, asked.get("page", 1), asked.get("limit", 100), precise))
                await asyncio.sleep(self.slow(self.asked[-1]))
            return await handler(request)

        return note

    async def _dated(self, _request: web.Request, response: web.StreamResponse) -> None:
        # Time passes faster here than where the server looks.
        response.headers["Date"] = formatdate(self.true_clock.now_ms() / 1000, usegmt=True)

    async def _receive(self, request: web.Request) -> web.Response:
        answer = self.answer()
        if answer.status == 200:
            self.events.append(orjson.loads(await request.read()))
            self.told_at.append(self.now)
        answer.headers["Date"] = formatdate(self.true_clock.now_ms() / 1000, usegmt=True)
        return answer


@contextmanager
def daemon_options(patience: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what else a daemon is made with to have this patience: fields of `notifier.watch.patience.Patience`."""
    # Polls are a minute apart, and a daemon that looks at itself more often takes as much time as they do.
    with ExitStack() as patches:
        for name in ("EVALUATE_EVERY_SECONDS", "ACTIVITY_EVERY_SECONDS", "EVERY_SECONDS"):
            patches.enter_context(patch(f"notifier.daemon.daemon.{name}", MINUTE))
        yield {"patience": replace(PATIENCE, **patience)}


def created(*records: Record) -> list[str]:
    """Return the events that tell of new records."""
    return [f"created {record.id}" for record in records]


def daily_account(records: int, clock: LapsingClock) -> Account:
    """Make an account with one record a day, up to yesterday: the place of each is known beforehand."""
    like = synthetic_account(1, now_ms=clock.now_ms)
    account = Account(users=like.users, trainings=like.trainings, now_ms=clock.now_ms)
    now = clock.now_ms()
    account.add_many(
        Record(
            id=1000 + number,
            user=like.users[number % len(like.users)]["id"],
            training=like.trainings[number % len(like.trainings)].ids,
            created=now - round((records + 1 - number) * DAY * 1000),
            date_number=date_number(day_of(now) - timedelta(days=records + 1 - number)),
        )
        for number in range(1, records + 1)
    )
    return account


def alike(account: Account, records: int, **fields: Any) -> list[Record]:
    """Enter records of one person, training and day, one a minute, a year ago; `fields` say otherwise."""
    day = day_of(account.now_ms()) - timedelta(days=365)
    defaults = {
        "user": account.users[1]["id"],
        "training": account.trainings[1].ids,
        "date_number": date_number(day),
    }
    since = account.now_ms() - round(365 * DAY * 1000)
    entered = [
        Record(id=account.next_id(), **{**defaults, "created": since + number * 60_000, **fields})
        for number in range(records)
    ]
    account.add_many(entered)
    return entered
