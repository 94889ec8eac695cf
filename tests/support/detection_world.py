"""An account, its API, a daemon that watches it, and a receiver of its events, in virtual time.

The daemon, the sandbox and the receiver use HTTP over loopback, and the state file is a real file. Time passes only
when all tasks wait, so the settings can be those of a real installation: polls every minute, second looks after five.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec.structs import replace

from notifier.config import Settings
from notifier.daemon.configuration import ReloadHooks
from notifier.daemon.daemon import Daemon
from notifier.daemon.socket_path import socket_path
from notifier.sandbox import CONTROL, Account, Record, SandboxControl, make_app, serve, synthetic_account
from notifier.sandbox.records import date_number, day_of
from notifier.watch.limits import DETECTION_LIMITS
from tests.support.clocks import LapsingClock
from tests.support.new_state_file import disable_fsync, new_state_file
from tests.support.servers import serving

MINUTE = 60.0
HOUR = 3600.0
DAY = 86_400.0

HEAD_PAGE = 100

REMOVAL = 8.0
"""Minutes until the event about a removal that a count check finds: two polls, a search, five minutes and a reserve."""

_WHOLE_SCAN = 3 * HOUR
_STEP = 1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for completions: the time (in the loop's seconds), the page and the limit.

    `precise` means that it asks for the records of one person, or of a training other than the source's filter.
    """

    at: float
    page: int
    limit: int
    precise: bool

    @property
    def is_head(self) -> bool:
        """Whether the request is for the first page of a head poll."""
        return self.page == 1 and self.limit == HEAD_PAGE and not self.precise


class MachineClock(LapsingClock):
    """The clock of the daemon's machine. A test can set it by changing `set_by_ms`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.set_by_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.set_by_ms


class World:
    """The daemon with its account and receiver. `events` were received; `told_at` are their times in loop seconds."""

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
        self._detection_limits: Mapping[str, Any] = {}
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
        """The control of the simulated API, which starts and ends faults."""
        assert self._control is not None
        return self._control

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None
        return self._daemon

    # Beginning and ending

    async def serve(self) -> None:
        """Start the servers of the account and of the receiver."""
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
        self, account: Account | int, *faults: str, detection_limits: Mapping[str, Any] | None = None, **keys: Any
    ) -> None:
        """Watch an account until the first scan is finished. A number stands for a made-up account of that size.

        `faults` are active from the beginning. `detection_limits` replaces fields of the daemon's `DetectionLimits`.
        `keys` are settings of the source.
        """
        await self.begin(account, *faults, detection_limits=detection_limits, **keys)
        await self.scanned()

    async def begin(
        self, account: Account | int, *faults: str, detection_limits: Mapping[str, Any] | None = None, **keys: Any
    ) -> None:
        """Start to watch an account like `open`, but without waiting for the first scan."""
        if isinstance(account, int):
            account = synthetic_account(account, now_ms=self.true_clock.now_ms)
        self.account = account
        await self.serve()
        for fault in faults:
            self.control.begin(fault)
        self._keys = keys
        self._detection_limits = detection_limits or {}
        await self.start()

    async def start(self) -> None:
        """Start a daemon with the existing state file."""
        self._settings = self._new_settings()
        new_state_file(self._settings.store.path)
        with daemon_options(self._detection_limits) as options:
            self._daemon = Daemon(self._settings, self.clock, ReloadHooks(self._new_settings), **options)
            await self._daemon.start()
        await disable_fsync(self._daemon._store)

    async def restart(self) -> None:
        """Stop the daemon and start another one."""
        await self.daemon.stop()
        await self.start()

    async def reload(self, **keys: Any) -> None:
        """Change settings of the source while the daemon runs."""
        self._keys |= keys
        answer = await self.daemon.reload()
        assert answer.ok, answer.body

    # Time

    async def minutes(self, minutes: float) -> None:
        """Let this many minutes pass."""
        await asyncio.sleep(minutes * MINUTE)

    async def seconds(self, seconds: float) -> None:
        """Let this many seconds pass."""
        await asyncio.sleep(seconds)

    async def poll(self) -> None:
        """Let the daemon poll now."""
        await self.daemon.operations.poll("acme")

    async def sweep(self) -> None:
        """Request a full scan, and wait for its end."""
        await self.begin_sweep()
        await self.scanned()

    async def begin_sweep(self) -> None:
        """Request a full scan."""
        answer = await self.daemon.operations.sweep("acme")
        assert answer.ok, answer.body

    async def scanned(self) -> None:
        """Wait until a scan has finished and no other is running."""
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
        """The events so far, in order, in the form `created 1500`."""
        return [f"{event['type'].removeprefix('completion.')} {event['subject']}" for event in self.events]

    @property
    def told_types(self) -> Counter[str]:
        """The number of events so far by type."""
        return Counter(event["type"].removeprefix("completion.") for event in self.events)

    async def told_after(self, minutes: float) -> list[str]:
        """Let this many minutes pass, then return the events so far. The minutes reveal superfluous events."""
        await self.minutes(minutes)
        return self.told

    async def conditions(self) -> set[str]:
        """Return the names of the active conditions."""
        # The daemon evaluates conditions once a minute.
        await self.minutes(1)
        return {condition["condition"] for condition in (await self.daemon.operations.status())["conditions"]}

    async def wait_for_condition(self, condition: str, minutes: float) -> set[str]:
        """Wait up to `minutes` for a condition; return the names of all active conditions."""
        end = self.now + minutes * MINUTE
        while condition not in (seen := await self.conditions()) and self.now < end:
            pass
        return seen

    async def source(self) -> Any:
        """Return the source's part of the daemon's status."""
        return (await self.daemon.operations.status())["sources"]["acme"]

    async def known(self) -> int:
        """Return the number of records that the daemon knows to exist."""
        records: int = (await self.source())["records"]
        return records

    def mark(self) -> int:
        """Return the number of requests so far, for `asked_since` and `questions_since`."""
        return len(self.asked)

    def asked_since(self, mark: int) -> list[Asked]:
        """Return the requests for completions after a mark, without the first pages of head polls."""
        return [asked for asked in self.asked[mark:] if not asked.is_head]

    def questions_since(self, mark: int) -> int:
        """Return the number of precise questions after a mark."""
        return sum(asked.precise for asked in self.asked[mark:])

    # What people do

    async def release(self, what: str, *, silently: bool = False) -> None:
        """Release held records through the daemon's socket."""
        assert self._settings is not None
        connector = aiohttp.UnixConnector(str(socket_path(self._settings.store.path)))
        url = "http://localhost/v1/sources/acme/release"
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(url, json={"what": what, "silently": silently}) as response,
        ):
            assert response.status == 200, await response.text()

    def at(self, place: int) -> Record:
        """Return the record at a position of the account's list; the first position is 1."""
        return [*self.account.records()][place - 1]

    def enter(self, *, like: Record | None = None, **fields: Any) -> Record:
        """Add a completion with the date of today, or with that of `like`; `fields` replace further default values."""
        if like is not None:
            fields["date_number"] = like.date_number
        (record,) = self.control.edits.enter()
        return self.account.edit(record.id, **fields) if fields else record

    def edit(self, record: Record, **fields: Any) -> str:
        """Change a record; return the expected event."""
        self.account.edit(record.id, **(fields or {"notes": "corrected"}))
        return f"updated {record.id}"

    def delete(self, record: Record) -> str:
        """Delete a record; return the expected event."""
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
        # The server would send the real time in the header Date; virtual time passes faster.
        response.headers["Date"] = formatdate(self.true_clock.now_ms() / 1000, usegmt=True)

    async def _receive(self, request: web.Request) -> web.Response:
        answer = self.answer()
        if answer.status == 200:
            self.events.append(orjson.loads(await request.read()))
            self.told_at.append(self.now)
        answer.headers["Date"] = formatdate(self.true_clock.now_ms() / 1000, usegmt=True)
        return answer


@contextmanager
def daemon_options(detection_limits: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield arguments for `Daemon` that replace these fields of `notifier.watch.limits.DetectionLimits`."""
    # Polls are a minute apart. More frequent checks of the daemon's own state would take as much time as the polls.
    with ExitStack() as patches:
        for name in ("EVALUATE_EVERY_SECONDS", "ACTIVITY_EVERY_SECONDS", "EVERY_SECONDS"):
            patches.enter_context(patch(f"notifier.daemon.daemon.{name}", MINUTE))
        yield {"detection_limits": replace(DETECTION_LIMITS, **detection_limits)}


def created(*records: Record) -> list[str]:
    """Return the expected events for new records."""
    return [f"created {record.id}" for record in records]


def daily_account(records: int, clock: LapsingClock) -> Account:
    """Create an account with one record a day until yesterday, so that each record's position is known."""
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
    """Add records of one person, training and day, a year ago, a minute apart; `fields` replace these values."""
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


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """What is around the daemon; the test opens it."""
    async with World(tmp_path) as around:
        yield around
