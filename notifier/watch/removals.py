"""Known records that seem to be gone: held back when they are too many at once, else asked for one by one."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from notifier.completions import Net
from notifier.kpa.budget import Urgency
from notifier.ledger import days, sources
from notifier.ledger.days import Suspect
from notifier.ledger.ledger import Ledger
from notifier.watch.health import SourceHealth
from notifier.watch.reader import Reader
from notifier.watch.verdicts import held_back

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of suspected removals: how many events came of asking, and how many are held back."""

    events: int = 0
    held: int = 0


class Removals:
    """Settles whether known records of one source are gone. Raises ApiFailure and LedgerError."""

    def __init__(self, source: str, share: float, reader: Reader, ledger: Ledger, health: SourceHealth) -> None:
        """Hold back what is more than `share` of the known records."""
        self._source = source
        self._share = share
        self._reader = reader
        self._ledger = ledger
        self._health = health

    async def settle(
        self, ids: Sequence[int], net: Net, urgency: Urgency, *, first_seen_before_ms: int | None = None
    ) -> Outcome:
        """Ask for each of these records (by the ledger's numbers), unless they are too many at once.

        Records that were first met after a moment are no suspects, if one is given.
        """
        suspects = await self._ledger.run(days.suspects, ids, first_seen_before_ms=first_seen_before_ms)
        known = (await self._health.refresh()).records
        if held_back(len(suspects), known, self._share):
            await self._hold(len(suspects), known)
            return Outcome(held=len(suspects))
        events = 0
        for (user_id, training_id), group in groupby(suspects, key=_question):
            keys = [suspect.key for suspect in group]
            taken = await self._reader.confirm(user_id, training_id, keys, net, urgency)
            events += len(taken.events)
        return Outcome(events)

    async def release(self) -> None:
        """Take note that nothing is held back any more."""
        if self._health.memory.held:
            _log.info("no removals are held back any more", extra={"source": self._source})
            self._health.remember(await self._ledger.run(sources.hold, self._source, 0))

    async def _hold(self, suspects: int, known: int) -> None:
        if not self._health.memory.held:
            _log.error(
                "so many records seem to be gone at once that their removal is held back",
                extra={"source": self._source, "suspects": suspects, "known": known, "share": self._share},
            )
        self._health.remember(await self._ledger.run(sources.hold, self._source, suspects))


def _question(suspect: Suspect) -> tuple[str, str]:
    return suspect.user_id, suspect.training_id
