"""Operational notices: looks at what is wrong, again and again, and sees to it that people are told."""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from notifier.clock import Clock
from notifier.completions import Event
from notifier.conditions import Condition, Key
from notifier.daemon.notices import NoticeReason, decide
from notifier.ledger import conditions
from notifier.ledger.conditions import Notice
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger

_log = logging.getLogger(__name__)


class Alarms:
    """Keeps the ledger's conditions, and with them the notices, abreast of what is wrong.

    What is wrong must be known as soon as it is asked for: what a restart forgets is taken for over, and told so.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        alerts_to: str,
        current: Callable[[Collection[Key]], Awaitable[Collection[Condition]]],
        on_events: Callable[[Sequence[Event]], None],
    ) -> None:
        """Take the destination of notices ("": none), who says what is wrong now, and who hears of notices written.

        Who says it is told what fired until now, over restarts too: what begins to fire at one measure may end at
        another, so that it does not flicker. A LedgerError of theirs leaves everything as it is until the next look.
        """
        self._ledger = ledger
        self._clock = clock
        self._alerts_to = alerts_to
        self._current = current
        self._on_events = on_events
        self._in_trouble = False

    def send_to(self, destination: str) -> None:
        """Tell this destination from now on ("": none)."""
        self._alerts_to = destination

    async def evaluate(self) -> None:
        """Note what has changed since the last look, and tell of it; what cannot be written is left to the next one."""
        try:
            notices = await self._take_note()
        except LedgerError as error:
            if not self._in_trouble:
                _log.error(error.message, extra={"reason": error.reason})
            self._in_trouble = True
            return
        self._in_trouble = False
        for notice in notices:
            _report(notice)

    async def _take_note(self) -> Sequence[Notice]:
        remembered = await self._ledger.run(conditions.everything)
        current = await self._current({(standing.name, standing.subject) for standing in remembered})
        now_ms = self._clock.now_ms()
        notices = decide(current, remembered, self._alerts_to, now_ms)
        if notices:
            events = await self._ledger.run(conditions.write, notices, now_ms)
            if events:
                self._on_events(events)
        return notices


def _report(notice: Notice) -> None:
    standing = notice.standing
    facts = {"condition": standing.name, "subject": standing.subject, "detail": standing.summary}
    if notice.reason == NoticeReason.BEGAN:
        _log.warning("something needs attention", extra=facts)
    elif notice.reason == NoticeReason.ENDED:
        _log.info("what needed attention is over", extra=facts)
