"""Lays out a destination's messages from templates. Rendering runs in a thread if it may take long."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TypedDict

from msgspec.structs import replace

from notifier.config import DigestBy, MessageSettings
from notifier.config.schedules import parse_time_zone
from notifier.events import Event
from notifier.messages.layout import MAX_LINES, Fits, Layout, count_fitting, is_one_session, lay_out, lay_out_listing
from notifier.messages.phrasing import MessageContext, Phrasing
from notifier.messages.rendering import TemplateProblem
from notifier.messages.templates import Templates

_log = logging.getLogger(__name__)


class _ListingOptions(TypedDict):
    by_person: bool
    fits: Fits
    phrasing: Phrasing


class MessageRenderer:
    """Lays out the messages of one destination."""

    def __init__(
        self, name: str, settings: MessageSettings, fits: Fits, context: Callable[[], MessageContext] = MessageContext
    ) -> None:
        """Initialise with a destination's name and settings; `fits` checks whether a layout fits the service's limits.

        `context` is called for each message, and returns what all messages have in common at that time.
        """
        self._name = name
        self._language = settings.language
        self._phrasing = Phrasing(settings.language, parse_time_zone(settings.timezone), link_pattern=settings.link)
        self._context = context
        self._digest_above = settings.digest_above
        self._by_person = settings.digest_by is DigestBy.PERSON
        self._folder = settings.templates
        self._fits = fits
        self._templates: Templates | None = None
        self._reported: set[tuple[str, int | None]] = set()

    async def prepare(self) -> None:
        """Read the templates from their folder."""
        await self._read_templates()

    async def lay_out(self, events: Sequence[Event]) -> Layout:
        """Return the layout of the message about `events` (at least one)."""
        templates = self._templates or await self._read_templates()
        # Only a group session may have more than MAX_LINES lines, because its completions belong together.
        digest = len(events) > self._digest_above or (len(events) > MAX_LINES and not is_one_session(events))
        if templates.may_block:
            return await asyncio.to_thread(
                lay_out, events, templates, digest=digest, fits=self._fits, phrasing=self._current_phrasing()
            )
        return lay_out(events, templates, digest=digest, fits=self._fits, phrasing=self._current_phrasing())

    async def lay_out_listing(self, events: Sequence[Event]) -> Layout:
        """Return the layout of a scheduled digest that names each of `events`.

        If `events` has a single event, return the layout of an ordinary message about the event.
        """
        if len(events) == 1:
            return await self.lay_out(events)
        templates = self._templates or await self._read_templates()
        return await asyncio.to_thread(lay_out_listing, events, templates, **self._listing_options())

    async def count_fitting(self, events: Sequence[Event]) -> int:
        """Return how many of `events`, counted from the first, fit into one scheduled digest."""
        templates = self._templates or await self._read_templates()
        return await asyncio.to_thread(count_fitting, events, templates, **self._listing_options())

    def _listing_options(self) -> _ListingOptions:
        return {"by_person": self._by_person, "fits": self._fits, "phrasing": self._current_phrasing()}

    def _current_phrasing(self) -> Phrasing:
        context = self._context()
        events_url = f"{context.public_url}/events?destination={self._name}" if context.public_url else ""
        return replace(self._phrasing, names_source=context.has_several_sources, events_url=events_url)

    async def _read_templates(self) -> Templates:
        self._reported.clear()
        self._templates = await asyncio.to_thread(Templates, self._folder, self._report, self._language)
        return self._templates

    def _report(self, problem: TemplateProblem) -> None:
        """Log a problem of a template, but only the first problem at each place (file and line)."""
        place = (problem.file, problem.line)
        if place not in self._reported:
            self._reported.add(place)
            facts = {"destination": self._name, "detail": str(problem)}
            _log.error("a template is invalid; the shipped one is used instead", extra=facts)
