"""How deliveries to one destination become a message for people: grouped, put into words, and laid out."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from notifier.config import MessageSettings
from notifier.deliver.destination import Grouping
from notifier.deliver.message.layout import LINES, Fits, Layout, is_one_session, lay_out
from notifier.deliver.message.words import session_of
from notifier.ledger.outbox import Delivery

if TYPE_CHECKING:
    from notifier.deliver.message.templates import Report, Templates, Trouble

_log = logging.getLogger(__name__)


class Writer:
    """What a destination that people read has said for it."""

    def __init__(self, name: str, settings: MessageSettings, fits: Fits) -> None:
        """Take the destination's name and settings, and what tells whether a layout is within its service's limits."""
        self.grouping = Grouping(LINES, digest_above=settings.digest_above, together=session_of)
        """Up to ten events, or a group session, share a message; more than `digest_above` become one digest."""
        self._name = name
        self._digest_above = settings.digest_above
        self._folder = settings.templates
        self._fits = fits
        self._templates: Templates | None = None
        self._reported: set[tuple[str, int | None]] = set()

    async def prepare(self) -> None:
        """Read the templates, again if they have been read."""
        await self._read()

    async def lay_out(self, deliveries: Sequence[Delivery]) -> Layout:
        """Lay out the message that `deliveries` (at least one) are."""
        templates = self._templates or await self._read()
        events = [delivery.event for delivery in deliveries]
        # Only a group session may have more lines than usual: its people are one piece of news.
        digest = len(events) > self._digest_above or (len(events) > LINES and not is_one_session(events))
        return lay_out(events, templates, digest=digest, fits=self._fits)

    async def _read(self) -> "Templates":
        self._reported.clear()
        self._templates = await asyncio.to_thread(_templates, self._folder, self._report)
        return self._templates

    def _report(self, trouble: "Trouble") -> None:
        """Log what is wrong with a template, the first time."""
        place = (trouble.file, trouble.line)
        if place not in self._reported:
            self._reported.add(place)
            facts = {"destination": self._name, "reason": str(trouble)}
            _log.error("a template is wrong; the shipped one is used in its place", extra=facts)


def _templates(folder: Path | None, report: "Report") -> "Templates":
    # Whoever sends nothing to people does without the template engine: 25 ms, and half a megabyte.
    from notifier.deliver.message.templates import Templates  # noqa: PLC0415

    return Templates(folder, report)
