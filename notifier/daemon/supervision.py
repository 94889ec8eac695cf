"""Keeps systemd informed: ready, how it is doing, and alive only while the work truly gets on."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from notifier.daemon.progress import Part, Pulse, Still, lived, observe, parts, stuck
from notifier.daemon.schedule import SPREAD
from notifier.daemon.service_manager import ServiceManager
from notifier.ledger.errors import LedgerError

_log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks at how the daemon is doing; fewer when the watchdog wants to be fed more often."""

_FEEDS_PER_DEADLINE = 3
_READY_LOOK = 0.2
_PATIENCE = 60.0
"""Seconds by which a part may be late where no watchdog says so."""

_ASK_EVERY = 5.0
_ASK_FOR = 30.0
OPENING = 4 * 3600.0
"""Seconds after which no more time is asked for to open the state file; systemd then ends the start."""


class Supervised(Protocol):
    """The daemon, as far as systemd hears of it."""

    def pulses(self) -> Sequence[Pulse]:
        """Return what can be seen of each job of the schedule."""
        ...

    def unattempted(self) -> Sequence[str]:
        """Return the sources whose first round is still to come, or is waiting for its first answers."""
        ...

    async def summary(self) -> str:
        """Ask the ledger's thread, and say in a sentence how the daemon is doing. Raises LedgerError."""
        ...


@contextmanager
def time_to_start(manager: ServiceManager) -> Iterator[None]:
    """Ask for more time as long as it takes to open the state file: a migration of a large one takes minutes."""
    asking = asyncio.create_task(_ask_for_time(manager), name="time to start") if manager.listens else None
    try:
        yield
    finally:
        if asking is not None:
            asking.cancel()


async def _ask_for_time(manager: ServiceManager) -> None:
    end = time.monotonic() + OPENING
    while time.monotonic() < end:
        await asyncio.sleep(_ASK_EVERY)
        manager.status("starting: the state file is being opened and brought up to date")
        manager.more_time(_ASK_FOR)


class Supervision:
    """Looks at a daemon again and again, and tells systemd what it sees."""

    def __init__(
        self, daemon: Supervised, manager: ServiceManager, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the daemon, once it has started, and whom to tell."""
        self._daemon = daemon
        self._manager = manager
        self._monotonic = monotonic
        self._patience = manager.watchdog or _PATIENCE
        self._tick = min(LOOK_EVERY, self._patience / _FEEDS_PER_DEADLINE)
        self._looked_at = monotonic()
        self._seen: Mapping[str, Still] = {}
        self._answers = 0
        self._asking: asyncio.Task[None] | None = None
        self._stuck: Mapping[str, float] = {}

    async def run(self) -> None:
        """Tell that the daemon is ready as soon as it is, and from then on how it is doing, until cancelled."""
        if not self._manager.listens:
            return
        try:
            await self._until_ready()
            self._manager.ready()
            while True:
                self._look()
                await asyncio.sleep(self._tick)
        finally:
            if self._asking is not None:
                self._asking.cancel()

    async def _until_ready(self) -> None:
        """Wait until each source was asked, or has had the time that one request may take."""
        longest = max((pulse.step for pulse in self._daemon.pulses()), default=0.0)
        self._manager.more_time(SPREAD + longest + _PATIENCE)
        while waits_for := self._daemon.unattempted():
            self._manager.status(f"starting: the first round of {', '.join(waits_for)} is still to come")
            await asyncio.sleep(_READY_LOOK)

    def _look(self) -> None:
        """Look at every part once, and feed the watchdog unless one of them is stuck."""
        now = self._monotonic()
        seconds, self._looked_at = lived(now - self._looked_at, self._tick), now
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="supervision")
        current = parts(self._daemon.pulses(), self._answers, self._patience)
        self._seen = observe(self._seen, current, seconds)
        self._judge(current)
        self._manager.flush()

    def _judge(self, current: Sequence[Part]) -> None:
        still = stuck(self._seen, current)
        for name in still.keys() - self._stuck.keys():
            _log.critical(
                "a part of the daemon is stuck; the watchdog is told no more, so that systemd starts the daemon anew",
                extra={"part": name, "seconds_without_life": round(still[name])},
            )
        for name in self._stuck.keys() - still.keys():
            _log.warning("a part of the daemon that was stuck goes on", extra={"part": name})
        self._stuck = still
        if still:
            self._manager.status(f"stuck, waiting to be started anew: {', '.join(sorted(still))}")
        elif self._manager.watchdog is not None:
            self._manager.alive()

    async def _ask(self) -> None:
        """Ask the ledger's thread; an error is an answer, too."""
        try:
            sentence = await self._daemon.summary()
        except LedgerError as error:
            sentence = error.message
        self._answers += 1
        if not self._stuck:
            self._manager.status(sentence)
