"""The destination type `http`: a POST of CloudEvents or Standard Webhooks JSON, signed when there is a secret."""

import asyncio
import ssl
from collections.abc import Iterator, Sequence

import aiohttp
from pydantic import SecretStr

from notifier import __version__
from notifier.clock import Clock
from notifier.config.destinations import HttpSettings
from notifier.deliver import envelope
from notifier.deliver.answers import header_secrets
from notifier.deliver.destination import Grouping
from notifier.deliver.endpoint import Endpoint
from notifier.deliver.envelope import Envelope
from notifier.deliver.outcome import Outcome, Reason
from notifier.deliver.signature import Signer
from notifier.deliver.tls import CertificateFileError, Certificates
from notifier.ledger.outbox import Delivery


class HttpDestination:
    """An HTTP endpoint that takes events."""

    def __init__(self, name: str, settings: HttpSettings, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._format = settings.format
        self._batched = settings.batch_size > 1
        self._grouping = Grouping(size=settings.batch_size, wait=settings.batch_wait if self._batched else 0.0)
        self._signer = Signer(settings.secret)
        # Names in lower case, so that ours replace equal ones of the settings however those are written.
        self._headers = {key.lower(): value.get_secret_value() for key, value in settings.headers.items()} | {
            "user-agent": f"completion-notifier/{__version__}",
            "accept-encoding": "identity",
        }
        self._endpoint = Endpoint(settings.url, settings.timeout, session, clock, _hidden(settings))
        self._certificates = Certificates(settings.ca_file, settings.client_cert_file, settings.client_key_file)
        self._ssl_context: ssl.SSLContext | bool | None = True if self._certificates == Certificates() else None

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    @property
    def grouping(self) -> Grouping:
        """Events go alone, or in batches when `batch_size` is above 1."""
        return self._grouping

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        """POST `deliveries` (one, unless this destination takes batches) and say what it came to."""
        try:
            ssl_context = await self._trust()
        except CertificateFileError as error:
            return Outcome(Reason.CERTIFICATE_REJECTED, detail=self._endpoint.shown(str(error)))
        content = self._enclose(deliveries)
        headers = {
            **self._headers,
            "content-type": content.content_type,
            **self._signer.headers(content.message_id, self._clock.now_ms(), content.body),
        }
        return await self._endpoint.attempt(content.body, headers, ssl_context=ssl_context)

    def _enclose(self, deliveries: Sequence[Delivery]) -> Envelope:
        if self._batched:
            return envelope.batch([delivery.event for delivery in deliveries], self._format)
        (delivery,) = deliveries
        return envelope.single(delivery.event, self._format)

    async def _trust(self) -> ssl.SSLContext | bool:
        """Read the certificates before the first request, and again before each as long as they are unusable.

        Raises CertificateFileError when they are.
        """
        if self._ssl_context is None:
            self._ssl_context = await asyncio.to_thread(self._certificates.context)
        return self._ssl_context


def _hidden(settings: HttpSettings) -> Iterator[SecretStr]:
    """Yield what a receiver may know and repeat, in the forms in which it may."""
    for secret in settings.secret:
        yield SecretStr(secret.get_secret_value().removeprefix("whsec_"))
    for value in settings.headers.values():
        yield from map(SecretStr, header_secrets(value.get_secret_value()))
