"""Base classes of the destinations that send messages to people. Templates turn the events into text."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

import aiohttp

from notifier import __version__
from notifier.clock import Clock
from notifier.config.message_destinations import ChatWebhookSettings, MessageSettings
from notifier.destinations.base import Grouping, Preview
from notifier.destinations.endpoint import Endpoint
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.http.exchange import Answer
from notifier.http.tls import Certificates
from notifier.messages.layout import MAX_LINES, Fits, Layout
from notifier.messages.phrasing import MessageContext
from notifier.messages.renderer import MessageRenderer
from notifier.messages.variables import session_key
from notifier.store.tables.outbox import Delivery

_HEADERS: Final = {
    # Without the charset, older Teams webhooks read every character as two bytes.
    "content-type": "application/json; charset=utf-8",
    "user-agent": f"completion-notifier/{__version__}",
    "accept-encoding": "identity",
}


class ChatDestination(ABC):
    """A destination that sends messages to people. Subclasses implement the format and the request of a service."""

    def __init__(
        self, name: str, settings: MessageSettings, fits: Fits, context: Callable[[], MessageContext] = MessageContext
    ) -> None:
        self.name: Final = name
        """The name in the configuration."""
        self._renderer = MessageRenderer(name, settings, fits, context)
        self.grouping: Final = Grouping(MAX_LINES, digest_above=settings.digest_above, group_key=session_key)
        """Up to ten events or one group session per message; more than `digest_above` events become one digest."""

    async def prepare(self) -> None:
        """Read the templates."""
        await self._renderer.prepare()

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        """Make one attempt to deliver `deliveries` as one message."""
        return await self._post(await self._lay_out(deliveries), deliveries)

    async def preview(self, deliveries: Sequence[Delivery]) -> Preview:
        """Return the message that would carry `deliveries`."""
        layout = await self._lay_out(deliveries)
        headers, body = self._request(layout)
        return Preview(headers, body, tuple(row.text for row in layout))

    async def count_fitting(self, deliveries: Sequence[Delivery]) -> int:
        """Return how many of `deliveries`, counted from the first, fit into one digest message."""
        return await self._renderer.count_fitting([delivery.event for delivery in deliveries])

    async def _lay_out(self, deliveries: Sequence[Delivery]) -> Layout:
        events = [delivery.event for delivery in deliveries]
        if deliveries[0].slot_ms is not None:
            return await self._renderer.lay_out_listing(events)
        return await self._renderer.lay_out(events)

    @abstractmethod
    def _request(self, layout: Layout) -> tuple[dict[str, str], bytes]:
        """Return the headers (without secrets) and the body of the request for a message."""

    @abstractmethod
    async def _post(self, layout: Layout, deliveries: Sequence[Delivery]) -> Outcome:
        """Make one attempt to send a message."""


class ChatWebhook(ChatDestination):
    """A chat channel behind an incoming webhook, which takes messages as JSON.

    The webhook's URL is secret: whoever knows the URL can post.
    """

    needs_body: ClassVar = False
    """Whether the answer's body is needed to recognise a success."""

    def __init__(
        self,
        name: str,
        settings: ChatWebhookSettings,
        session: aiohttp.ClientSession,
        clock: Clock,
        fits: Fits,
        context: Callable[[], MessageContext] = MessageContext,
    ) -> None:
        super().__init__(name, settings, fits, context)
        self._endpoint = Endpoint(
            settings.url,
            settings.timeout,
            session,
            clock,
            _HEADERS,
            proxy=settings.proxy,
            certificates=Certificates(settings.ca_file),
        )

    @abstractmethod
    def _body(self, layout: Layout) -> bytes:
        """Return the body of a request: the message as JSON."""

    @abstractmethod
    def _classify(self, answer: Answer) -> AttemptResult:
        """Return the result of an attempt, from the service's answer."""

    def _request(self, layout: Layout) -> tuple[dict[str, str], bytes]:
        return _HEADERS, self._body(layout)

    async def _post(self, layout: Layout, deliveries: Sequence[Delivery]) -> Outcome:
        del deliveries
        body = self._body(layout)
        return await self._endpoint.attempt(body, classify=self._classify, needs_body=self.needs_body)
