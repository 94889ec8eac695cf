"""Notices when a part of the daemon hangs, and reports the state of the daemon to systemd."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from notifier.daemon.scheduler import SPREAD_SECONDS
from notifier.daemon.systemd.liveness import (
    LONG_TRANSACTION_SECONDS,
    JobStats,
    Observation,
    Part,
    all_parts,
    observe,
    running_seconds,
    stuck_parts,
)
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.store.errors import StoreError

_log = logging.getLogger(__name__)

CHECK_EVERY_SECONDS = 5.0
"""Seconds between two checks of the daemon's parts; less if the time limit of systemd's watchdog is short."""

_CHECKS_PER_TIME_LIMIT = 3
_READY_CHECK_SECONDS = 0.2
_DEFAULT_TOLERANCE_SECONDS = 60.0
"""How many seconds late a part may be. Used only if systemd sets no time limit for the watchdog."""

_EXTENSION_SECONDS = 30.0
LONGEST_OPENING_SECONDS = 4 * 3600.0
"""The longest time in seconds that opening the state file may take. After that, systemd aborts the start."""


class SupervisedDaemon(Protocol):
    """The operations of a daemon that the watchdog calls."""

    def job_stats(self) -> Sequence[JobStats]:
        """Return the current statistics of each job of the schedule."""
        ...

    def sources_in_first_round(self) -> Sequence[str]:
        """Return the sources whose first round has not ended.

        A source is left out once its first round has lasted as long as one request may take.
        """
        ...

    async def summary(self) -> str:
        """Query the store, and return the state of the daemon as a sentence. Raises StoreError."""
        ...

    def report_hanging(self, names: Sequence[str]) -> None:
        """Set the names of the hanging parts that `/healthz` shows; `names` is empty if all make progress."""
        ...


_STARTING = "starting: the state file is being opened and updated"


@contextmanager
def extend_start_timeout(manager: SystemdNotifier, status: str = _STARTING) -> Iterator[None]:
    """Until the `with` block ends, keep asking systemd for more time to start: migrating a large store takes minutes.

    `status` is reported meanwhile. A standby process has already reported that it is ready. For such a process,
    systemd's watchdog is reset instead, for at most LONG_TRANSACTION_SECONDS.
    """
    asking = None
    if manager.is_enabled:
        asking = asyncio.create_task(_extend_repeatedly(manager, status), name="time to start")
    try:
        yield
    finally:
        if asking is not None:
            asking.cancel()


async def _extend_repeatedly(manager: SystemdNotifier, status: str) -> None:
    end = time.monotonic() + (LONG_TRANSACTION_SECONDS if manager.is_ready else LONGEST_OPENING_SECONDS)
    while time.monotonic() < end:
        await asyncio.sleep(_check_every_seconds(manager))
        manager.report_status(status)
        if manager.is_ready:
            manager.reset_watchdog()
        else:
            manager.extend_timeout(_EXTENSION_SECONDS)


def _check_every_seconds(manager: SystemdNotifier) -> float:
    return min(CHECK_EVERY_SECONDS, (manager.watchdog_seconds or _DEFAULT_TOLERANCE_SECONDS) / _CHECKS_PER_TIME_LIMIT)


class Watchdog:
    """Checks the parts of a daemon periodically, and reports the result to systemd and `/healthz`."""

    def __init__(
        self, daemon: SupervisedDaemon, manager: SystemdNotifier, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Initialise with a running daemon, the connection to systemd, and a clock."""
        self._daemon = daemon
        self._manager = manager
        self._monotonic = monotonic
        self._tolerance_seconds = manager.watchdog_seconds or _DEFAULT_TOLERANCE_SECONDS
        self._check_every_seconds = _check_every_seconds(manager)
        self._checked_at = monotonic()
        self._observations: Mapping[str, Observation] = {}
        self._store_answers = 0
        self._summary_task: asyncio.Task[None] | None = None
        self._stuck: Mapping[str, float] = {}

    async def run(self) -> None:
        """Report to systemd when the daemon is ready, then check its parts periodically until cancelled.

        The parts are also checked without systemd, because the health check of a container uses the result.
        """
        try:
            # A process that stood by is ready already. If it waited here, systemd's watchdog would end it.
            if self._manager.is_enabled and not self._manager.is_ready:
                await self._wait_until_ready()
                self._manager.report_ready()
            while True:
                self._check_parts()
                await asyncio.sleep(self._check_every_seconds)
        finally:
            if self._summary_task is not None:
                self._summary_task.cancel()

    async def _wait_until_ready(self) -> None:
        """Wait until the first round of each source has ended, or has lasted as long as one request may take."""
        longest_answer_seconds = max((job.answer_seconds for job in self._daemon.job_stats()), default=0.0)
        self._manager.extend_timeout(SPREAD_SECONDS + longest_answer_seconds + _DEFAULT_TOLERANCE_SECONDS)
        while sources := self._daemon.sources_in_first_round():
            self._manager.report_status(f"starting: waiting for the first round of {', '.join(sources)}")
            await asyncio.sleep(_READY_CHECK_SECONDS)

    def _check_parts(self) -> None:
        """Check every part once. If no part is stuck, reset the timer of systemd's watchdog."""
        now = self._monotonic()
        seconds, self._checked_at = running_seconds(now - self._checked_at, self._check_every_seconds), now
        if self._summary_task is None or self._summary_task.done():
            self._summary_task = asyncio.create_task(self._report_summary(), name="supervision")
        current = all_parts(self._daemon.job_stats(), self._store_answers, self._tolerance_seconds)
        self._observations = observe(self._observations, current, seconds)
        self._report_stuck_parts(current)
        self._manager.flush()

    def _report_stuck_parts(self, current: Sequence[Part]) -> None:
        stuck_now = stuck_parts(self._observations, current)
        for name in stuck_now.keys() - self._stuck.keys():
            _log.critical(
                "a part of the daemon hangs; `/healthz` and the watchdog report it, so that the daemon is restarted",
                extra={"part": name, "seconds": round(stuck_now[name])},
            )
        for name in self._stuck.keys() - stuck_now.keys():
            _log.warning("the part of the daemon that hung is running again", extra={"part": name})
        if stuck_now.keys() != self._stuck.keys():
            self._daemon.report_hanging(sorted(stuck_now))
        self._stuck = stuck_now
        if stuck_now:
            self._manager.report_status(f"hanging, waiting for a restart: {', '.join(sorted(stuck_now))}")
        elif self._manager.watchdog_seconds is not None:
            self._manager.reset_watchdog()

    async def _report_summary(self) -> None:
        """Query the store, and report the state of the daemon.

        Any answer of the store's thread is counted, even an error, because it shows that the thread is not stuck.
        """
        try:
            sentence = await self._daemon.summary()
        except StoreError as error:
            sentence = error.message
        self._store_answers += 1
        if not self._stuck:
            self._manager.report_status(sentence)
