"""The settings of destinations: one class for each type.

A new type is a class here that derives from `DestinationSettings` and has a `type` and an `address` of its own, or, if
people read what goes there, from `MessageSettings`; and its name in `Destination`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from notifier.config.addresses import is_plain_beyond_loopback
from notifier.config.apprise_url import AppriseUrl, shown_apprise_url
from notifier.config.durations import Duration
from notifier.config.problems import Problem
from notifier.config.tables import Table, default
from notifier.config.values import (
    AnyUrl,
    Count,
    CountUpTo1000,
    EncryptedUrl,
    Headers,
    Id,
    Rate,
    ReadableFile,
    ReadableFolder,
    SourceName,
    WebhookSecrets,
)
from notifier.redact import redact

CompletionEvent = Literal["completion.created", "completion.updated", "completion.removed"]
"""The types of events that a destination can ask for."""


class HttpFormat(StrEnum):
    """The formats of a request's body."""

    CLOUDEVENTS = "cloudevents"
    STANDARD = "standard"


class DestinationSettings(Table, ABC):
    """The keys of every destination."""

    events: tuple[CompletionEvent, ...] = ("completion.created", "completion.updated", "completion.removed")
    """The types of events that go there; none: only operational notices, if they go there."""
    sources: tuple[SourceName, ...] = ()
    """Only events of these sources; empty: of all."""
    training_ids: tuple[Id, ...] = ()
    """Only completions of these trainings; empty: of all."""
    user_ids: tuple[Id, ...] = ()
    """Only completions of these people; empty: of all."""
    concurrency: Count = 8
    """How many requests may be on their way at the same time."""
    rate: Rate = 0.0
    """Requests a second on average; 0: no limit."""
    timeout: Duration = default("15s")
    """The time one attempt may take, the answer's body included."""
    retry_first: Duration = default("5s")
    """How long after a failed attempt the next one comes at first; it grows exponentially, with full jitter."""
    retry_max: Duration = default("6h")
    """The longest time between two attempts."""
    give_up_after: Duration = default("3d")
    """How long after the first attempt a delivery is given up; time spent disabled does not count."""

    @abstractmethod
    def address(self) -> str:
        """Return where events go, without any secret."""

    def conflicts(self) -> Iterator[Problem]:
        """Yield what does not go together; keys start at this table."""
        if self.retry_max < self.retry_first:
            yield Problem("retry_max", "must be at least as long as retry_first")

    def warnings(self) -> Iterator[Problem]:
        """Yield what is allowed but probably not meant; keys start at this table."""
        yield from ()


class MessageSettings(DestinationSettings):
    """The keys of every destination whose messages people read."""

    type: str
    """The type of destination."""
    url: SecretStr
    """Where to; whoever knows it can post."""
    digest_above: Count = 50
    """More waiting events than this become one digest; fewer go as messages of up to ten lines."""
    templates: ReadableFolder = default("")
    """A folder of Jinja templates that say messages' lines instead of the shipped ones of the same names."""
    events: tuple[CompletionEvent, ...] = ("completion.created",)
    """The types of events that go there; none: only operational notices, if they go there."""
    concurrency: Count = 1
    """How many messages may be on their way at the same time."""
    rate: Rate = 1.0
    """Messages a second on average."""

    def address(self) -> str:
        """Return where events go, without any secret."""
        return redact(self.url.get_secret_value())


class SlackSettings(MessageSettings):
    """A Slack channel, through an incoming webhook."""

    type: Literal["slack"]
    """The type of destination."""
    url: EncryptedUrl
    """The incoming webhook's URL; whoever knows it can post to the channel."""
    rate: Rate = 1.0
    """Messages a second on average; Slack allows about one."""


class TeamsSettings(MessageSettings):
    """A Microsoft Teams channel or chat, through a Workflows webhook."""

    type: Literal["teams"]
    """The type of destination."""
    url: EncryptedUrl
    """The URL of the workflow "When a Teams webhook request is received"; whoever knows it can post."""
    rate: Rate = 1.0
    """Messages a second on average; Teams allows no more than four in any second."""


class AppriseSettings(MessageSettings):
    """One of the services that the library apprise knows."""

    type: Literal["apprise"]
    """The type of destination."""
    url: AppriseUrl
    """The service's URL as apprise writes it; any part of it may be a secret."""
    concurrency: Count = 1
    """How many messages may be on their way at the same time; each takes a process of its own."""

    def address(self) -> str:
        """Return where events go, without any secret."""
        return shown_apprise_url(self.url)


class HttpSettings(DestinationSettings):
    """An HTTP endpoint that gets signed webhooks."""

    type: Literal["http"]
    """The type of destination."""
    url: AnyUrl
    """Where to; http:// is allowed, and warned about beyond this machine."""
    secret: WebhookSecrets = default("")
    """What requests are signed with: `whsec_...`, or a list with the newest first; empty: no signature."""
    format: HttpFormat = HttpFormat.CLOUDEVENTS
    """The body's format."""
    batch_size: CountUpTo1000 = 1
    """The most events in one request."""
    batch_wait: Duration = default("1s")
    """How long a batch waits to become full."""
    headers: Headers = default({})
    """Additional headers."""
    ca_file: ReadableFile = default("")
    """Certificates (PEM) of a private certificate authority."""
    client_cert_file: ReadableFile = default("")
    """The certificate (PEM) to show the receiver: mutual TLS."""
    client_key_file: ReadableFile = default("")
    """The certificate's private key (PEM), when it is not in the same file."""

    def address(self) -> str:
        """Return where events go, without any secret."""
        return redact(self.url.get_secret_value())

    def conflicts(self) -> Iterator[Problem]:
        """Yield what does not go together; keys start at this table."""
        yield from super().conflicts()
        if self.client_key_file and not self.client_cert_file:
            yield Problem("client_key_file", "needs client_cert_file, the certificate that belongs to the key")
        if urlsplit(self.url.get_secret_value()).username is not None and "authorization" in map(
            str.lower, self.headers
        ):
            yield Problem("headers.Authorization", "cannot be sent together with the user name in url; remove one")

    def warnings(self) -> Iterator[Problem]:
        """Yield what is allowed but probably not meant; keys start at this table."""
        yield from super().warnings()
        if is_plain_beyond_loopback(self.url.get_secret_value()):
            yield Problem("url", "is http://: people's names cross the network unencrypted; use https://")


Destination = Annotated[SlackSettings | TeamsSettings | AppriseSettings | HttpSettings, Field(discriminator="type")]
"""The settings of one destination, told apart by their `type`."""
