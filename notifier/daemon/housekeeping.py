"""What a daemon does for the state file now and then, so that it can be left alone for years."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from notifier.clock import Clock
from notifier.ledger import counts, finding, housekeeping, retention
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger
from notifier.ledger.rebuilding import essentials
from notifier.ledger.rebuilding.essentials import essentials_file
from notifier.ledger.retention import FIRST, Place

_log = logging.getLogger(__name__)

LARGE_LOG = 8_000_000
"""Bytes of the write-ahead log from which on it is cut off before its hour. SQLite itself keeps it at some 4 MB,
unless somebody has read the file for long."""

ESSENTIALS_EVERY = 600.0
"""Seconds after which the essentials are written although nothing in them has changed but the last success."""

OPTIMIZE_EVERY = 86_400.0
"""Seconds between two looks at what SQLite knows of its tables."""


class Housekeeping:
    """Looks after one state file."""

    def __init__(self, ledger: Ledger, clock: Clock, retention_of_now: Callable[[], float]) -> None:
        """Take who tells the retention, in seconds, that the configuration wants now."""
        self._ledger = ledger
        self._clock = clock
        self._retention = retention_of_now
        self._written: tuple[Any, ...] | None = None
        self._written_at = 0.0
        self._kept_sources = False
        self._optimize_at = clock.monotonic() + OPTIMIZE_EVERY
        self._in_trouble = False

    @property
    def has_kept(self) -> bool:
        """Whether the essentials were written since a source was met."""
        return self._kept_sources

    async def tidy(self) -> None:
        """Forget what is older than the retention, bit by bit, and give back its room. What fails is left for later."""
        forgotten = 0
        try:
            before_ms = self._clock.now_ms() - round(self._retention() * 1000)
            place: Place | None = FIRST
            while place is not None:
                done = await self._ledger.run(retention.forget, before_ms, place)
                forgotten, place = forgotten + done.events, done.place
            await self._ledger.run(housekeeping.prune, self._clock.now_ms())
            await self._ledger.run(counts.forget, self._clock.now_ms())
            while await self._ledger.run_bare(housekeeping.give_back):
                pass
            if self._clock.monotonic() >= self._optimize_at:
                self._optimize_at = self._clock.monotonic() + OPTIMIZE_EVERY
                await self._ledger.run_bare(housekeeping.optimize)
            await self._ledger.run_bare(housekeeping.checkpoint)
        except LedgerError as error:
            _log.error(error.message, extra={"reason": error.reason})
        if forgotten:
            _log.info("old events forgotten", extra={"events": forgotten})

    async def keep(self) -> None:
        """Write the essentials down if they have changed, prepare searches, cut a write-ahead log off that is large."""
        try:
            await self.write_essentials()
            await self._ledger.run(finding.prepare)
            if await asyncio.to_thread(housekeeping.log_size, self._ledger.path) > LARGE_LOG:
                await self._ledger.run_bare(housekeeping.checkpoint)
        except LedgerError as error:
            # Whoever reads and writes all the time says the same.
            _log.debug(error.message, extra={"reason": error.reason})

    async def write_essentials(self) -> None:
        """Write the essentials beside the state file, unless what stands there is as good. Raises LedgerError."""
        now = self._clock.monotonic()
        found = await self._ledger.run(essentials.signature)
        if found == self._written and now - self._written_at < ESSENTIALS_EVERY:
            return
        content = await self._ledger.run(essentials.gather, self._clock.now_ms())
        try:
            await asyncio.to_thread(essentials.write, essentials_file(self._ledger.path), content)
        except OSError as error:
            if not self._in_trouble:
                _log.error(
                    "the essentials cannot be written beside the state file; make room, or make its folder writable",
                    extra={"detail": error.strerror},
                )
            self._in_trouble = True
            return
        self._in_trouble = False
        self._written, self._written_at, self._kept_sources = found, now, bool(content.sources)
