"""A daemon, an account and a receiver in virtual time, which run for many rounds while figures are measured."""

import asyncio
import gc
import itertools
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from aiohttp import web

from notifier.config import Settings
from notifier.daemon.daemon import Daemon
from notifier.sandbox import Account, build_account, make_app, serve
from notifier.sandbox.records import Version
from notifier.web.response_models.status import StatusDocument
from tests.support.clocks import LapsingClock
from tests.support.new_state_file import disable_fsync
from tests.support.servers import serving
from tests.support.time_lapse import TimeLapse

INTERVAL = 60.0
RECORDS = 2_000
EDITS_AN_HOUR = 6


@dataclass(frozen=True, slots=True)
class Figures:
    """The measured figures of the daemon's process after a number of rounds; sizes in bytes."""

    rounds: int
    events: int
    kept: int
    resident: int
    objects: int
    file: int
    log: int
    essentials: int
    descriptors: int
    tasks: int


@dataclass
class Soak:
    """A soak test: a daemon, an account whose records are edited, and a receiver that sometimes fails."""

    folder: Path
    loop: TimeLapse
    retention: str = "2d"
    account: Account = field(default_factory=lambda: build_account(RECORDS))
    received: int = 0
    rounds: int = 0

    async def run(self, rounds: int, samples: int, note: Callable[[Figures], None]) -> None:
        """Run the daemon for `rounds` rounds; pass figures to `note` at `samples` evenly spaced times."""
        async with AsyncExitStack() as resources:
            api = await resources.enter_async_context(serve(make_app(self.account, rate_limit=None)))
            hooks = web.Application(middlewares=[])
            hooks.router.add_post("/", self._receive)
            url = await resources.enter_async_context(serving(hooks))
            receiver = f"{url}/"
            daemon = Daemon(self._settings(api, receiver), LapsingClock(self.loop))
            await daemon.start()
            await disable_fsync(daemon._store)
            resources.push_async_callback(daemon.stop)
            growing = asyncio.create_task(self._edit_hourly())
            resources.callback(growing.cancel)
            for sample in range(1, samples + 1):
                await asyncio.sleep(sample * rounds / samples * INTERVAL - self.loop.time())
                note(self._figures(await daemon.operations.status()))

    def _settings(self, api: str, receiver: str) -> Settings:
        return Settings.model_validate(
            {
                "store": {"path": str(self.folder / "notifier.db"), "retention": self.retention},
                "http": {"listen": ""},
                "sources": {"acme": {"base_url": api, "token": "sandbox", "requests_per_minute": 60, "page_size": 20}},
                "destinations": {
                    "hr": {"type": "http", "url": receiver},
                    "channel": {"type": "slack", "url": receiver, "events": ["completion.updated"]},
                },
            }
        )

    async def _receive(self, request: web.Request) -> web.Response:
        self.received += 1
        await request.read()
        # The receiver sometimes fails, so that retries and conditions occur, too.
        return web.Response(status=503 if self.received % 50 == 0 else 200, text="ok")

    async def _edit_hourly(self) -> None:
        """Edit some of the newest records each hour, so that there are events although the account does not grow."""
        for hour in itertools.count(1):
            await asyncio.sleep(3600.0)
            for record in self.account.page(Version.V2, limit=EDITS_AN_HOUR).records:
                self.account.edit(record["id"], notes=f"edited in hour {hour}")

    def _figures(self, status: StatusDocument) -> Figures:
        gc.collect()
        path = self.folder / "notifier.db"
        return Figures(
            rounds=round(self.loop.time() / INTERVAL),
            events=status["destinations"]["hr"]["delivered"],
            kept=status["sources"]["acme"]["records"],
            resident=_resident(),
            objects=len(gc.get_objects()),
            file=path.stat().st_size,
            log=path.with_name("notifier.db-wal").stat().st_size,
            essentials=path.with_name("notifier.db.essentials").stat().st_size,
            descriptors=len([*Path("/proc/self/fd").iterdir()]),
            tasks=len(asyncio.all_tasks()),
        )


def _resident() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024


@contextmanager
def infrequent_checks() -> Iterator[None]:
    """Let the daemon check clocks and conditions less often, because these checks would take most of the time."""
    with (
        patch("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 10 * INTERVAL),
        patch("notifier.daemon.daemon.ACTIVITY_EVERY_SECONDS", 10 * INTERVAL),
        patch("notifier.daemon.daemon.EVERY_SECONDS", 10 * INTERVAL),
        patch("notifier.daemon.scheduler.CLOCK_CHECK_SECONDS", 2 * INTERVAL),
    ):
        yield


def soak(folder: Path, rounds: int, samples: int, note: Callable[[Figures], None], **options: Any) -> Soak:
    """Run a soak test in a folder for this number of rounds."""
    loop = TimeLapse()
    this = Soak(folder, loop, **options)
    try:
        with infrequent_checks():
            loop.run_until_complete(this.run(rounds, samples, note))
    finally:
        loop.end()
    return this
