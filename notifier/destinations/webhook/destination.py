"""The destination type `http`: a POST of CloudEvents or Standard Webhooks JSON, signed if there is a secret."""

from collections.abc import Iterator, Sequence
from typing import Final

import aiohttp
from pydantic import SecretStr

from notifier import __version__
from notifier.clock import Clock
from notifier.config.webhooks import HttpSettings
from notifier.destinations.base import Grouping, Preview
from notifier.destinations.endpoint import Endpoint
from notifier.destinations.outcome import Outcome
from notifier.destinations.webhook import envelope
from notifier.destinations.webhook.envelope import Envelope
from notifier.destinations.webhook.permission import PermissionGate
from notifier.destinations.webhook.signature import PRIVATE_PREFIX, SYMMETRIC_PREFIX, Signer
from notifier.http.answer_text import header_secrets
from notifier.http.tls import Certificates
from notifier.store.tables.outbox import Delivery


class HttpDestination:
    """An HTTP endpoint to which events are sent."""

    def __init__(self, name: str, settings: HttpSettings, session: aiohttp.ClientSession, clock: Clock) -> None:
        self.name: Final = name
        """The name in the configuration."""
        self._clock = clock
        self._format = settings.format
        self._batched = settings.batch_size > 1
        self.grouping: Final = Grouping(settings.batch_size, settings.batch_wait if self._batched else 0.0)
        """One event per request, or batches if `batch_size` is above 1."""
        self._batch_form = settings.batch_form
        self._signer = Signer(settings.secret, settings.signature_header)
        # Names are in lower case, so that the notifier's headers replace configured ones in any spelling.
        self._headers = {key.lower(): value.get_secret_value() for key, value in settings.headers.items()} | {
            "user-agent": f"completion-notifier/{__version__}",
            "accept-encoding": "identity",
            # A receiver that has given its permission expects the origin in every request.
            **({"origin": settings.origin} if settings.origin else {}),
        }
        self._secret_headers = frozenset(map(str.lower, settings.headers))
        self._endpoint = Endpoint(
            settings.url,
            settings.timeout,
            session,
            clock,
            self._headers,
            _repeatable_secrets(settings),
            secret_headers=self._secret_headers,
            proxy=settings.proxy,
            certificates=Certificates(settings.ca_file, settings.client_cert_file, settings.client_key_file),
        )
        self._permission = (
            PermissionGate(self._endpoint, settings.origin, settings.rate, clock) if settings.origin else None
        )

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        """Send `deliveries` in one POST. Unless batches are configured, there is exactly one delivery."""
        if self._permission is not None and (refused := await self._permission.acquire()) is not None:
            return refused
        content = self._make_envelope(deliveries)
        return await self._endpoint.attempt(content.body, self._request_headers(content))

    async def preview(self, deliveries: Sequence[Delivery]) -> Preview:
        """Return the request that would carry `deliveries`, with the values of configured headers hidden."""
        content = self._make_envelope(deliveries)
        return Preview(
            self._headers | self._request_headers(content) | dict.fromkeys(self._secret_headers, "..."), content.body
        )

    def _request_headers(self, content: Envelope) -> dict[str, str]:
        """Return the headers that differ between requests: content type, id, timestamp and signatures."""
        return {
            "content-type": content.content_type,
            **self._signer.headers(content.message_id, self._clock.now_ms(), content.body),
        }

    def _make_envelope(self, deliveries: Sequence[Delivery]) -> Envelope:
        if self._batched:
            return envelope.batch([delivery.event for delivery in deliveries], self._format, self._batch_form)
        (delivery,) = deliveries
        return envelope.single(delivery.event, self._format)


def _repeatable_secrets(settings: HttpSettings) -> Iterator[SecretStr]:
    """Yield the secrets to remove from answers, because a receiver may repeat what it was sent.

    These are the signing secrets without their prefixes, and the secrets in configured headers.
    """
    for secret in settings.secret:
        yield SecretStr(secret.get_secret_value().removeprefix(SYMMETRIC_PREFIX).removeprefix(PRIVATE_PREFIX))
    for value in settings.headers.values():
        yield from map(SecretStr, header_secrets(value.get_secret_value()))
