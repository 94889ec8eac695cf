"""The settings of HTTP endpoints that get signed webhooks."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, Literal
from urllib.parse import urlsplit

from notifier.config import likely_mistakes
from notifier.config.base_table import default
from notifier.config.destinations import ScheduledSettings, WebSettings
from notifier.config.durations import Duration
from notifier.config.errors import Problem, problem_if
from notifier.config.types import AnyUrl, CountUpTo1000, Headers, OptionalHeaderName, OptionalOrigin, ReadableFile
from notifier.config.urls import is_plain_beyond_loopback
from notifier.config.webhook_secrets import WebhookSecrets
from notifier.http.proxy import is_loopback
from notifier.redact import redact

DEFAULT_BATCH_WAIT_SECONDS: Final = 1.0
"""The default of `batch_wait`, as in the example file."""


class HttpFormat(StrEnum):
    """The formats of a request's body."""

    CLOUDEVENTS = "cloudevents"
    STANDARD = "standard"


class BatchForm(StrEnum):
    """The possible forms of a batch with the format `standard`."""

    EVENTS = "events"
    MESSAGE = "message"


class HttpSettings(ScheduledSettings, WebSettings):
    """An HTTP endpoint that gets signed webhooks."""

    identity = ("type", "url", "headers", "secret", "ca_file", "client_cert_file", "client_key_file")
    identity_if_set = ("proxy", "origin")

    type: Literal["http"]
    """The type of destination."""
    url: AnyUrl
    """The address that events are sent to. `notifier check` warns about http:// addresses on other machines."""
    secret: WebhookSecrets = default("")
    """The secret that signs requests: `whsec_...`, or `whsk_...` for a private Ed25519 key; or a list with the newest
    first. Empty: requests are not signed."""
    signature_header: OptionalHeaderName = ""
    """The name of one more header, such as `X-Hub-Signature-256`, for receivers that know no other signature. It
    contains the HMAC-SHA256 of the body in hexadecimal digits (`sha256=...`); the key is the text of `secret`."""
    origin: OptionalOrigin = ""
    """A host name that identifies this sender, such as `notifier.example.com`. If it is set, the notifier asks the
    receiver whether this name may send events: before the first event, and then once a day (an OPTIONS request, as in
    CloudEvents' validation of webhooks). Until the receiver agrees, events wait. Set it only for a receiver that
    requires this. Empty: the receiver is not asked."""
    format: HttpFormat = HttpFormat.CLOUDEVENTS
    """The format of the body: a CloudEvent, or the plain form of Standard Webhooks."""
    batch_size: CountUpTo1000 = 1
    """The maximum number of events in a request. With 1, a body is an event; otherwise, a batch, even of one event."""
    batch_form: BatchForm = BatchForm.EVENTS
    """The form of a batch with `format = "standard"`: `events` is an object with nothing but the array `events`;
    `message` has `type`, `timestamp` and `data`, as the specification requires."""
    batch_wait: Duration = default("1s")
    """How long a batch that is not full waits for further events."""
    headers: Headers = default({})
    """Additional headers of each request."""
    ca_file: ReadableFile = default("")
    """A file with the certificates (PEM) of a private certificate authority, which is trusted instead of the
    system's."""
    client_cert_file: ReadableFile = default("")
    """A file with the certificate (PEM) that is shown to the receiver (mutual TLS)."""
    client_key_file: ReadableFile = default("")
    """A file with the certificate's private key (PEM), if it is not in `client_cert_file`."""

    def address(self) -> str:
        """Return the address that events go to, without any secret."""
        return redact(self.url.get_secret_value())

    def receiver_identity(self) -> object:
        """Return the URL, which identifies the receiver."""
        return self.url.get_secret_value()

    def public_urls(self) -> Iterator[str]:
        """Yield the URL, which is not secret, except for a password in it."""
        yield self.url.get_secret_value()

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        yield from super().conflicts()
        if self.client_key_file and not self.client_cert_file:
            yield Problem("client_key_file", "needs client_cert_file, the certificate that belongs to the key")
        if urlsplit(self.url.get_secret_value()).username is not None and "authorization" in map(
            str.lower, self.headers
        ):
            yield Problem("headers.Authorization", "cannot be sent together with the user name in url; remove one")
        yield from self._signature_conflicts()
        if self.batch_form is not BatchForm.EVENTS and self.format is not HttpFormat.STANDARD:
            yield Problem("batch_form", 'is only for format = "standard"; a batch of CloudEvents is always an array')

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        url = self.url.get_secret_value()
        if is_plain_beyond_loopback(url):
            yield Problem("url", "is http://: people's names cross the network unencrypted; use https://")
        yield from problem_if("url", likely_mistakes.of_url(url))
        if self.batch_size == 1 and self.batch_form is not BatchForm.EVENTS:
            yield Problem("batch_form", "has no effect with batch_size = 1: a body is one event, not a batch")
        if self.batch_size == 1 and self.batch_wait != DEFAULT_BATCH_WAIT_SECONDS:
            yield Problem("batch_wait", "has no effect with batch_size = 1: each event is sent at once")
        for secret in self.secret:
            yield from problem_if("secret", likely_mistakes.of_signing_secret(secret.get_secret_value()))
        if not (self.secret or self._has_other_authentication() or is_loopback(urlsplit(url).hostname or "")):
            yield Problem(
                "secret", "is empty: the receiver cannot tell who sends (openssl rand -base64 32, after whsec_)"
            )
        if self.ca_file:
            yield from problem_if("ca_file", likely_mistakes.of_certificate_file(self.ca_file))

    def _signature_conflicts(self) -> Iterator[Problem]:
        if not self.signature_header:
            return
        if self.signature_header.lower() in map(str.lower, self.headers):
            yield Problem("signature_header", "is also one of `headers`; remove one of them")
        if not any(secret.get_secret_value().startswith("whsec_") for secret in self.secret):
            yield Problem("signature_header", "needs a `secret` that begins with whsec_")

    def _has_other_authentication(self) -> bool:
        """Return whether a header, a user in the URL or a client certificate may identify the sender of a request."""
        in_url = urlsplit(self.url.get_secret_value()).username is not None
        return bool(in_url or self.headers or self.client_cert_file)
