"""Makes the message about some events for one destination: renders the templates and lays out the text."""

import asyncio
import logging
from collections.abc import Sequence

from notifier.config import DigestBy, MessageSettings
from notifier.events import Event
from notifier.messages.layout import LINES, Fits, Layout, is_one_session, lay_out, lay_out_listing, portion
from notifier.messages.rendering import TemplateProblem
from notifier.messages.templates import Templates

_log = logging.getLogger(__name__)


class MessageRenderer:
    """Renders messages for a destination that people read."""

    def __init__(self, name: str, settings: MessageSettings, fits: Fits) -> None:
        """Initialize with the destination's name, its settings, and a check whether a layout fits its service."""
        self._name = name
        self._digest_above = settings.digest_above
        self._by_person = settings.digest_by is DigestBy.PERSON
        self._folder = settings.templates
        self._fits = fits
        self._templates: Templates | None = None
        self._reported: set[tuple[str, int | None]] = set()

    async def prepare(self) -> None:
        """Read the templates again, or for the first time."""
        await self._read()

    async def lay_out(self, events: Sequence[Event]) -> Layout:
        """Return the layout of the message about `events` (at least one)."""
        templates = self._templates or await self._read()
        # Only a group session may have more than LINES lines, because all its completions belong together.
        digest = len(events) > self._digest_above or (len(events) > LINES and not is_one_session(events))
        if templates.may_block:
            return await asyncio.to_thread(lay_out, events, templates, digest=digest, fits=self._fits)
        return lay_out(events, templates, digest=digest, fits=self._fits)

    async def lay_out_listing(self, events: Sequence[Event]) -> Layout:
        """Return the layout of the digest that names each of `events`, all of one slot."""
        if len(events) == 1:
            return await self.lay_out(events)
        templates = self._templates or await self._read()
        return await asyncio.to_thread(lay_out_listing, events, templates, by_person=self._by_person, fits=self._fits)

    async def portion(self, events: Sequence[Event]) -> int:
        """Return how many of the first `events` fit into one digest that names each of them."""
        templates = self._templates or await self._read()
        return await asyncio.to_thread(portion, events, templates, by_person=self._by_person, fits=self._fits)

    async def _read(self) -> Templates:
        self._reported.clear()
        self._templates = await asyncio.to_thread(Templates, self._folder, self._report)
        return self._templates

    def _report(self, trouble: TemplateProblem) -> None:
        """Log a template's problem, the first time only."""
        place = (trouble.file, trouble.line)
        if place not in self._reported:
            self._reported.add(place)
            facts = {"destination": self._name, "detail": str(trouble)}
            _log.error("a template is invalid; the shipped one is used instead", extra=facts)
