"""Notices when a part of the daemon hangs, and reports readiness, signs of life and the state to systemd."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from notifier.daemon.scheduler import SPREAD_SECONDS
from notifier.daemon.systemd.liveness import Component, JobStats, Stalled, lived, observe, parts, stuck
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.store.errors import StoreError

_log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 5.0
"""Seconds between two checks of the daemon, or less if the watchdog's time limit is short."""

_FEEDS_PER_DEADLINE = 3
_READY_LOOK = 0.2
_PATIENCE_SECONDS = 60.0
"""Seconds by which a part may be late if systemd sets no time limit for the watchdog."""

_ASK_EVERY = 5.0
_ASK_FOR = 30.0
OPENING_SECONDS = 4 * 3600.0
"""Seconds for which systemd is asked to wait while the state file is opened; then it ends the start."""


class Supervised(Protocol):
    """The operations of a daemon that the watchdog uses."""

    def pulses(self) -> Sequence[JobStats]:
        """Return the current statistics of each job of the schedule."""
        ...

    def unattempted(self) -> Sequence[str]:
        """Return the sources whose first round has not begun, or may still be waiting for an answer."""
        ...

    async def summary(self) -> str:
        """Return the daemon's state as a sentence. This includes a query to the store's thread. Raises StoreError."""
        ...

    def report_hanging(self, names: Sequence[str]) -> None:
        """Let `/healthz` name the parts that hang; `names` is empty if everything makes progress."""
        ...


@contextmanager
def time_to_start(manager: SystemdNotifier) -> Iterator[None]:
    """Keep asking systemd for more time while the state file is opened; migrating a large one takes minutes."""
    asking = asyncio.create_task(_ask_for_time(manager), name="time to start") if manager.listens else None
    try:
        yield
    finally:
        if asking is not None:
            asking.cancel()


async def _ask_for_time(manager: SystemdNotifier) -> None:
    end = time.monotonic() + OPENING_SECONDS
    while time.monotonic() < end:
        await asyncio.sleep(_ASK_EVERY)
        manager.status("starting: the state file is being opened and updated")
        manager.more_time(_ASK_FOR)


class Watchdog:
    """Checks a daemon periodically, and reports to systemd and to `/healthz`."""

    def __init__(
        self, daemon: Supervised, manager: SystemdNotifier, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Initialize with a daemon that has started."""
        self._daemon = daemon
        self._manager = manager
        self._monotonic = monotonic
        self._patience = manager.watchdog or _PATIENCE_SECONDS
        self._tick = min(LOOK_EVERY_SECONDS, self._patience / _FEEDS_PER_DEADLINE)
        self._looked_at = monotonic()
        self._seen: Mapping[str, Stalled] = {}
        self._answers = 0
        self._asking: asyncio.Task[None] | None = None
        self._stuck: Mapping[str, float] = {}

    async def run(self) -> None:
        """Wait until the daemon is ready, report that, and then report its status until cancelled.

        Without systemd the checks are the same, because a container's health check relies on them.
        """
        try:
            if self._manager.listens:
                await self._until_ready()
                self._manager.ready()
            while True:
                self._look()
                await asyncio.sleep(self._tick)
        finally:
            if self._asking is not None:
                self._asking.cancel()

    async def _until_ready(self) -> None:
        """Wait until each source's first round has ended, or has lasted as long as one request may take."""
        longest = max((pulse.step for pulse in self._daemon.pulses()), default=0.0)
        self._manager.more_time(SPREAD_SECONDS + longest + _PATIENCE_SECONDS)
        while waits_for := self._daemon.unattempted():
            self._manager.status(f"starting: waiting for the first round of {', '.join(waits_for)}")
            await asyncio.sleep(_READY_LOOK)

    def _look(self) -> None:
        """Check every part once, and reset the watchdog's timer if none is stuck."""
        now = self._monotonic()
        seconds, self._looked_at = lived(now - self._looked_at, self._tick), now
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="supervision")
        current = parts(self._daemon.pulses(), self._answers, self._patience)
        self._seen = observe(self._seen, current, seconds)
        self._judge(current)
        self._manager.flush()

    def _judge(self, current: Sequence[Component]) -> None:
        still = stuck(self._seen, current)
        for name in still.keys() - self._stuck.keys():
            _log.critical(
                "a part of the daemon hangs; `/healthz` and the watchdog report it, so that the daemon is restarted",
                extra={"part": name, "seconds": round(still[name])},
            )
        for name in self._stuck.keys() - still.keys():
            _log.warning("the part of the daemon that hung is running again", extra={"part": name})
        if still.keys() != self._stuck.keys():
            self._daemon.report_hanging(sorted(still))
        self._stuck = still
        if still:
            self._manager.status(f"hanging, waiting for a restart: {', '.join(sorted(still))}")
        elif self._manager.watchdog is not None:
            self._manager.alive()

    async def _ask(self) -> None:
        """Query the store's thread and report the status. An error, too, shows that the thread works."""
        try:
            sentence = await self._daemon.summary()
        except StoreError as error:
            sentence = error.message
        self._answers += 1
        if not self._stuck:
            self._manager.status(sentence)
