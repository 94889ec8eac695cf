"""Writes down what attempts came to: many at a time, and nothing is forgotten while the ledger cannot be written."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlite_utils import Database

from notifier.ledger import destinations, outbox
from notifier.ledger.destinations import Health, LastError
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger
from notifier.ledger.outbox import Delivery, DeliveryState, Settlement

_log = logging.getLogger(__name__)

GATHER = 0.05
"""Seconds in which successes come together before they are written: a transaction for each would cost more than
the requests themselves. If the process is killed meanwhile, these few are delivered again under the same ids."""

_TRY_AGAIN = 1.0
"""Seconds between two tries to write down what could not be written."""


class Settling:
    """What one destination's attempts came to, on its way into the ledger."""

    def __init__(self, name: str, ledger: Ledger, on_written: Callable[[Sequence[Settlement]], None]) -> None:
        """Take the destination's name and the ledger; `on_written` hears of every batch that is in it."""
        self._name = name
        self._ledger = ledger
        self._on_written = on_written
        self._settlements: list[Settlement] = []
        self._health: Health | None = None
        self._error: LastError | None = None
        self._something_to_write = asyncio.Event()
        self._urgent = asyncio.Event()
        self._blocked = False
        self._stopping = False
        self.turn = asyncio.Lock()
        """Whoever holds it may be sure that nothing is on its way into the ledger."""
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def blocked(self) -> bool:
        """Whether outcomes cannot be written down at present, so that nothing more may be sent."""
        return self._blocked

    def start(self) -> None:
        """Begin to write."""
        self._writing = asyncio.create_task(self._write_on(), name=f"settle {self._name}")

    def add(self, settlements: Sequence[Settlement]) -> None:
        """Take in what became of a request's deliveries."""
        self._settlements += settlements
        if any(settlement.state is not DeliveryState.DELIVERED for settlement in settlements):
            self._urgent.set()
        self._something_to_write.set()

    def hurry(self) -> None:
        """Write down at once what there is: no request is under way whose outcome could join it."""
        self._urgent.set()

    def note(self, health: Health, error: LastError | None = None) -> None:
        """Take in the destination's health and, when there is a new one, its last error."""
        self._health = health
        self._error = error or self._error
        self._urgent.set()
        self._something_to_write.set()

    def follow_clock(self, by_ms: int) -> None:
        """Move what has not been written down by as much as the wall clock was set."""
        self._settlements = [
            replace(
                settlement,
                attempted_ms=settlement.attempted_ms + by_ms,
                next_attempt_ms=settlement.next_attempt_ms and settlement.next_attempt_ms + by_ms,
            )
            for settlement in self._settlements
        ]

    async def stop(self) -> None:
        """Write down what is left, unless it cannot be written."""
        self._stopping = True
        self._urgent.set()
        self._something_to_write.set()
        if self._writing is not None:
            # Not cancelled: nobody could tell whether what it is writing right now is written or not.
            await self._writing
        await self._write()

    async def _write_on(self) -> None:
        while not self._stopping:
            await self._something_to_write.wait()
            await self._gather()
            self._something_to_write.clear()
            if not await self._write() and not self._stopping:
                self._try_again_later()

    async def _gather(self) -> None:
        """Let successes come together for a moment; what has to be tried again cannot be before it is written."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER):
                await self._urgent.wait()
        self._urgent.clear()

    def _try_again_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_TRY_AGAIN, self._something_to_write.set)

    async def _write(self) -> bool:
        """Write down everything so far in one transaction; tell whether it worked, and keep it all when it did not."""
        async with self.turn:
            batch, self._settlements = self._settlements, []
            health, self._health = self._health, None
            error, self._error = self._error, None
            try:
                await self._ledger.run(_write_down, self._name, batch, health, error)
            except Exception as failure:  # noqa: BLE001 - reported; whatever it is, what is not written must not be lost
                self._take_back(batch, health, error)
                self._report(failure)
                return False
        if self._blocked:
            self._blocked = False
            _log.info("outcomes can be written down again", extra={"destination": self._name})
        self._on_written(batch)
        return True

    def _take_back(self, batch: list[Settlement], health: Health | None, error: LastError | None) -> None:
        """Keep what could not be written, before what has come in since."""
        self._settlements[:0] = batch
        self._health = self._health or health
        self._error = self._error or error

    def _report(self, failure: Exception) -> None:
        if not self._blocked:
            if isinstance(failure, LedgerError):
                _log.error(failure.message, extra={"destination": self._name, "reason": failure.reason})
            else:
                _log.error("outcomes cannot be written down", extra={"destination": self._name}, exc_info=failure)
        self._blocked = True


def report_attempt(deliveries: Sequence[Delivery], settlements: Sequence[Settlement]) -> None:
    """Say in the log what was decided after a request, in one line however many deliveries it carried."""
    first = settlements[0]
    match first.state:
        case DeliveryState.DELIVERED:
            level, words = logging.DEBUG, "delivered"
        case DeliveryState.PENDING:
            level, words = logging.INFO, "attempt failed"
        case DeliveryState.DEAD:
            level, words = logging.ERROR, "delivery given up"
    if not _log.isEnabledFor(level):
        return
    facts = {
        "destination": first.destination,
        "event": deliveries[0].event.id if len(deliveries) == 1 else None,
        "events": len(deliveries) if len(deliveries) > 1 else None,
        "reason": first.reason,
        "status": first.status,
        "detail": first.detail,
        "decision": ", ".join(dict.fromkeys(settlement.decision for settlement in settlements)),
    }
    _log.log(level, words, extra=facts)


def _write_down(
    db: Database, name: str, settlements: Sequence[Settlement], health: Health | None, error: LastError | None
) -> None:
    if settlements:
        outbox.settle(db, settlements)
    if health is not None:
        destinations.remember(db, name, health, error)
