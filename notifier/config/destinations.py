"""The settings of destinations, one class for each type.

To add a type, derive a class from `DestinationSettings`, or from `MessageSettings` if people read what is sent there;
give it its own `type` and `address`; and add it to `Destination` in `destination_types.py`. The brokers are in
`brokers.py`. Keys of a schedule come with `ScheduledSettings`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import StrEnum
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from notifier.config import likely_mistakes
from notifier.config.apprise_url import AppriseUrl, shown_apprise_url
from notifier.config.base_table import BaseTable, default
from notifier.config.durations import Duration
from notifier.config.errors import Problem
from notifier.config.message_values import Language, LinkPattern, Mentions
from notifier.config.schedules import IMMEDIATELY, WEEKDAYS, QuietHoursText, ScheduleText, Weekday, ZoneName
from notifier.config.types import (
    AnyUrl,
    Count,
    CountUpTo1000,
    EncryptedUrl,
    Headers,
    Id,
    OptionalHeaderName,
    OptionalOrigin,
    Pattern,
    ProxyUrl,
    Rate,
    ReadableFile,
    ReadableFolder,
    SourceName,
)
from notifier.config.urls import is_plain_beyond_loopback
from notifier.config.webhook_secrets import WebhookSecrets
from notifier.facts import PersonField
from notifier.http.proxy import is_loopback
from notifier.patterns import is_person_id
from notifier.redact import redact

CompletionEvent = Literal[
    "completion.created",
    "completion.updated",
    "completion.removed",
    "completion.expiring",
    "completion.expired",
    "completion.renewed",
]
"""The types of events that a destination can receive."""


class HttpFormat(StrEnum):
    """The formats of a request's body."""

    CLOUDEVENTS = "cloudevents"
    STANDARD = "standard"


class BatchForm(StrEnum):
    """The forms of a batch of the format `standard`."""

    EVENTS = "events"
    MESSAGE = "message"


class DestinationSettings(BaseTable, ABC):
    """The keys of every destination."""

    identity: ClassVar[tuple[str, ...]] = ("type", "url")
    """The keys for the address and the credentials; if one of them changes, the destination is another endpoint."""
    identity_if_set: ClassVar[tuple[str, ...]] = ()
    """Newer keys of the same kind. They count only if they are set, so that stored identities stay the same."""
    address_key: ClassVar[str] = "url"
    """The key that holds the address."""

    events: tuple[CompletionEvent, ...] = ("completion.created", "completion.updated", "completion.removed")
    """The types of events that are sent. Empty: only alerts, if `[alerts] destination` names this destination."""
    sources: tuple[SourceName, ...] = ()
    """Send only events of these sources. Empty: of all."""
    training_ids: tuple[Id, ...] = ()
    """Send only completions of these trainings. Empty: of all."""
    user_ids: tuple[Id, ...] = ()
    """Send only completions of these people. Empty: of all."""
    trainings: tuple[Pattern, ...] = ()
    """Send only completions of trainings with these titles, such as `["Crane*", "!Crane Refresher"]`. Empty: of all."""
    people: tuple[Pattern, ...] = ()
    """Send only completions of people with these employee numbers or ids. Empty: of all."""
    job_titles: tuple[Pattern, ...] = ()
    """Send only completions of people with these job titles. Needs `job_title` in `person_fields`. Empty: of all."""
    field_offices: tuple[Pattern, ...] = ()
    """Send only completions of people in field offices with these ids. Needs `field_office_ids` in `person_fields`.
    Empty: of all."""
    lines_of_business: tuple[Pattern, ...] = ()
    """Send only completions of people in lines of business with these ids. Needs `line_of_business_ids` in
    `person_fields`. Empty: of all."""
    concurrency: Count = 8
    """How many requests may be in progress at the same time. With 1, deliveries start in order."""
    rate: Rate = 0.0
    """The most requests a second on average; as many as one second allows may be sent at once. 0: no limit."""
    timeout: Duration = default("15s")
    """How long one attempt may take, including the answer's body."""
    retry_first: Duration = default("5s")
    """The longest wait after the first failed attempt. It doubles with each further failure; the actual wait is random,
    up to this limit."""
    retry_max: Duration = default("6h")
    """The longest wait between two attempts."""
    give_up_after: Duration = default("3d")
    """How long after its first attempt a delivery is given up. Only time in which the notifier could try it counts."""

    @abstractmethod
    def address(self) -> str:
        """Return the address that events go to, without any secret."""

    @abstractmethod
    def target(self) -> object:
        """Return what tells this address from others: two destinations with equal ones send to the same place."""

    def public_urls(self) -> Iterator[str]:
        """Yield the URLs that are no secrets, except for a password in them."""
        yield from ()

    def further_secrets(self) -> Iterator[str]:
        """Yield the secrets that are only parts of the secret values, and that a peer may repeat on their own."""
        yield from ()

    def filters(self) -> tuple[tuple[str, ...], ...]:
        """Return everything that decides which events are sent."""
        return (
            self.events,
            self.sources,
            self.training_ids,
            self.user_ids,
            self.trainings,
            self.people,
            self.job_titles,
            self.field_offices,
            self.lines_of_business,
        )

    def facts_needed(self) -> Iterator[tuple[str, PersonField | None]]:
        """Yield the keys of filters that need names, each with the fact about a person that it needs, if any."""
        if self.trainings:
            yield "trainings", None
        if self.people and not all(map(is_person_id, self.people)):
            yield "people", PersonField.EMPLOYEE_NUMBER
        if self.job_titles:
            yield "job_titles", PersonField.JOB_TITLE
        if self.field_offices:
            yield "field_offices", PersonField.FIELD_OFFICE_IDS
        if self.lines_of_business:
            yield "lines_of_business", PersonField.LINE_OF_BUSINESS_IDS

    def conflicts(self) -> Iterator[Problem]:
        """Yield the problems of keys that contradict each other; key paths start at this table."""
        if self.retry_max < self.retry_first:
            yield Problem("retry_max", "must be at least as long as retry_first")

    def warnings(self) -> Iterator[Problem]:
        """Yield the values that are valid but probably mistakes; key paths start at this table."""
        for key, identifiers in (("training_ids", self.training_ids), ("user_ids", self.user_ids)):
            for place, identifier in enumerate(identifiers):
                yield from _warned(f"{key}[{place}]", likely_mistakes.of_id(identifier))
        for key in ("trainings", "people", "job_titles", "field_offices", "lines_of_business"):
            yield from _warned(key, likely_mistakes.of_patterns(getattr(self, key)))


def _warned(key: str, sentence: str | None) -> Iterator[Problem]:
    if sentence is not None:
        yield Problem(key, sentence)


class WebSettings(DestinationSettings):
    """The keys of every destination that is reached by HTTP."""

    identity_if_set: ClassVar[tuple[str, ...]] = ("proxy",)

    proxy: ProxyUrl = default("")
    """The URL of an HTTP proxy that requests go through; it may contain a user name and a password. Empty: that of
    `HTTPS_PROXY` or `HTTP_PROXY`, if it is set. `none`: no proxy."""

    def warnings(self) -> Iterator[Problem]:
        """Yield the values that are valid but probably mistakes; key paths start at this table."""
        yield from super().warnings()
        yield from _warned("proxy", likely_mistakes.of_proxy(self.proxy.get_secret_value()))


USUAL_BATCH_WAIT_SECONDS: Final = 1.0
"""The default of `batch_wait`, which the example file contains."""

NEEDS_A_SCHEDULE: Final = "has no effect without schedule, quiet_hours or quiet_days"


class ScheduledSettings(DestinationSettings):
    """The keys of destinations that can wait for a time of the day or the week."""

    type: str
    """The type of destination."""
    url: SecretStr
    """The address that events are sent to."""

    schedule: ScheduleText = IMMEDIATELY
    """When events are sent: `immediately`, `daily 08:00`, `weekly mon 08:00`, or the five fields of cron (minute, hour,
    day, month, weekday). What has come since the last time is sent together."""
    timezone: ZoneName = ""
    """The IANA name of the time zone for `schedule`, `quiet_hours` and `quiet_days`. Empty: the machine's."""
    quiet_hours: QuietHoursText = ""
    """The hours of each day in which nothing is sent, such as `20:00-06:00`. What comes meanwhile is sent together
    afterwards."""
    quiet_days: tuple[Weekday, ...] = ()
    """The days on which nothing is sent, such as `["sat", "sun"]`."""
    urgent: tuple[CompletionEvent, ...] = ()
    """The types of events that are sent at once, whatever `schedule`, `quiet_hours` and `quiet_days` say."""

    @property
    def waits_for_slots(self) -> bool:
        """Whether there is a schedule, or a time in which nothing is sent."""
        return self.schedule != IMMEDIATELY or bool(self.quiet_hours or self.quiet_days)

    def conflicts(self) -> Iterator[Problem]:
        """Yield the problems of keys that contradict each other; key paths start at this table."""
        yield from super().conflicts()
        if len(set(self.quiet_days)) == len(WEEKDAYS):
            yield Problem("quiet_days", "names every day, so nothing would ever be sent: leave one out")

    def warnings(self) -> Iterator[Problem]:
        """Yield the values that are valid but probably mistakes; key paths start at this table."""
        yield from super().warnings()
        if not self.waits_for_slots:
            for key in ("timezone", "urgent"):
                if getattr(self, key):
                    yield Problem(key, NEEDS_A_SCHEDULE)
        elif unsent := [kind for kind in self.urgent if kind not in self.events]:
            yield Problem("urgent", f"names {', '.join(unsent)}, which `events` leaves out, so it is never sent")


class DigestBy(StrEnum):
    """How a digest of several events is grouped."""

    TRAINING = "training"
    PERSON = "person"


class MessageSettings(ScheduledSettings, WebSettings):
    """The keys of every destination whose messages people read."""

    type: str
    """The type of destination."""
    url: SecretStr
    """The address that messages are sent to. Anyone who knows it can post."""
    digest_above: Count = 50
    """If more events than this wait, they are sent as one digest. Fewer are sent as messages of up to ten lines. If the
    destination accepts so few messages that these would take more than a minute, they are sent as one digest, too."""
    digest_by: DigestBy = DigestBy.TRAINING
    """How the digest of a schedule or of quiet hours is grouped: by training, or by person."""
    language: Language = Language.EN
    """The language of the shipped templates and of the dates: `en` or `es`."""
    link: LinkPattern = ""
    """The address of a record, with fields in braces: `{key}`, `{training_id}`, `{user_id}`, `{source}`. Messages about
    single completions link to it."""
    templates: ReadableFolder = default("")
    """A folder with your own Jinja templates for the lines of messages. Each replaces the shipped template of the same
    name."""
    events: tuple[CompletionEvent, ...] = ("completion.created",)
    """The types of events that are sent. Empty: only alerts, if `[alerts] destination` names this destination."""
    concurrency: Count = 1
    """How many messages may be in progress at the same time."""
    rate: Rate = 1.0
    """The most messages a second on average."""

    def address(self) -> str:
        """Return the address that events go to, without any secret."""
        return redact(self.url.get_secret_value())

    def target(self) -> object:
        """Return what tells this address from others."""
        return self.url.get_secret_value()

    def conflicts(self) -> Iterator[Problem]:
        """Yield the problems of keys that contradict each other; key paths start at this table."""
        yield from super().conflicts()
        if self.concurrency > 1 and self.waits_for_slots:
            yield Problem("concurrency", "must be 1 with a schedule or quiet times, since one digest is sent")

    def warnings(self) -> Iterator[Problem]:
        """Yield the values that are valid but probably mistakes; key paths start at this table."""
        yield from super().warnings()
        yield from _warned("url", likely_mistakes.of_url(self.url.get_secret_value()))
        if self.digest_by is not DigestBy.TRAINING and not self.waits_for_slots:
            yield Problem("digest_by", NEEDS_A_SCHEDULE)


class ChatWebhookSettings(MessageSettings):
    """The keys of every channel with a webhook."""

    identity_if_set = ("proxy", "ca_file")

    ca_file: ReadableFile = default("")
    """A file with the certificates (PEM) of a private certificate authority, which is trusted instead of the
    system's."""

    def warnings(self) -> Iterator[Problem]:
        """Yield the values that are valid but probably mistakes; key paths start at this table."""
        yield from super().warnings()
        if self.ca_file:
            yield from _warned("ca_file", likely_mistakes.of_certificate_file(self.ca_file))


class SlackSettings(ChatWebhookSettings):
    """A Slack channel, through an incoming webhook."""

    type: Literal["slack"]
    """The type of destination."""
    url: EncryptedUrl
    """The URL of the incoming webhook. Anyone who knows it can post to the channel."""
    mention: Mentions = default({})
    """Who is mentioned, by the title of the training: `{ "Crane*" = "<!subteam^ID>" }`. `*` stands for any text."""
    rate: Rate = 1.0
    """The most messages a second on average. Slack allows about one."""

    def warnings(self) -> Iterator[Problem]:
        """Yield the values that are valid but probably mistakes; key paths start at this table."""
        yield from super().warnings()
        yield from _warned("url", likely_mistakes.of_slack_url(self.url.get_secret_value()))


class TeamsSettings(ChatWebhookSettings):
    """A Microsoft Teams channel or chat, through a Workflows webhook."""

    type: Literal["teams"]
    """The type of destination."""
    url: EncryptedUrl
    """The URL of the workflow "When a Teams webhook request is received". Anyone who knows it can post."""
    rate: Rate = 1.0
    """The most messages a second on average. Teams allows at most four in any second."""

    def warnings(self) -> Iterator[Problem]:
        """Yield the values that are valid but probably mistakes; key paths start at this table."""
        yield from super().warnings()
        yield from _warned("url", likely_mistakes.of_teams_url(self.url.get_secret_value()))


class AppriseSettings(MessageSettings):
    """One of the services that the library apprise knows."""

    type: Literal["apprise"]
    """The type of destination."""
    url: AppriseUrl
    """The service's URL in apprise's notation. Any part of it may be a secret."""

    def address(self) -> str:
        """Return the address that events go to, without any secret."""
        return shown_apprise_url(self.url)


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
    """The name of one more header, with the HMAC-SHA256 of the body in hexadecimal digits (`sha256=...`), for receivers
    that know no other signature, such as `X-Hub-Signature-256`. Its key is the text of `secret`."""
    origin: OptionalOrigin = ""
    """The name of this sender in CloudEvents' validation of webhooks: nothing is sent before the receiver has allowed
    it. Empty: the receiver is not asked."""
    format: HttpFormat = HttpFormat.CLOUDEVENTS
    """The format of the body: a CloudEvent, or the plain form of Standard Webhooks."""
    batch_size: CountUpTo1000 = 1
    """The most events in one request. With 1, a body is one event; otherwise it is a batch, even of a single event."""
    batch_form: BatchForm = BatchForm.EVENTS
    """The form of a batch of the format `standard`: the array `events` alone, or a `message` with `type`, `timestamp`
    and `data`, as the specification wants it."""
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

    def target(self) -> object:
        """Return what tells this address from others."""
        return self.url.get_secret_value()

    def public_urls(self) -> Iterator[str]:
        """Yield the URL, which is no secret unless it has a password."""
        yield self.url.get_secret_value()

    def conflicts(self) -> Iterator[Problem]:
        """Yield the problems of keys that contradict each other; key paths start at this table."""
        yield from super().conflicts()
        if self.client_key_file and not self.client_cert_file:
            yield Problem("client_key_file", "needs client_cert_file, the certificate that belongs to the key")
        if urlsplit(self.url.get_secret_value()).username is not None and "authorization" in map(
            str.lower, self.headers
        ):
            yield Problem("headers.Authorization", "cannot be sent together with the user name in url; remove one")
        yield from self._conflicts_of_signature()
        if self.batch_form is not BatchForm.EVENTS and self.format is not HttpFormat.STANDARD:
            yield Problem("batch_form", 'is only for format = "standard"; a batch of CloudEvents is always an array')

    def warnings(self) -> Iterator[Problem]:
        """Yield the values that are valid but probably mistakes; key paths start at this table."""
        yield from super().warnings()
        url = self.url.get_secret_value()
        if is_plain_beyond_loopback(url):
            yield Problem("url", "is http://: people's names cross the network unencrypted; use https://")
        yield from _warned("url", likely_mistakes.of_url(url))
        if self.batch_size == 1 and self.batch_form is not BatchForm.EVENTS:
            yield Problem("batch_form", "has no effect with batch_size = 1: a body is one event, not a batch")
        if self.batch_size == 1 and self.batch_wait != USUAL_BATCH_WAIT_SECONDS:
            yield Problem("batch_wait", "has no effect with batch_size = 1: each event is sent at once")
        for secret in self.secret:
            yield from _warned("secret", likely_mistakes.of_signing_secret(secret.get_secret_value()))
        if not (self.secret or self._is_authorized() or is_loopback(urlsplit(url).hostname or "")):
            yield Problem(
                "secret", "is empty: the receiver cannot tell who sends (openssl rand -base64 32, after whsec_)"
            )
        if self.ca_file:
            yield from _warned("ca_file", likely_mistakes.of_certificate_file(self.ca_file))

    def _conflicts_of_signature(self) -> Iterator[Problem]:
        if not self.signature_header:
            return
        if self.signature_header.lower() in map(str.lower, self.headers):
            yield Problem("signature_header", "is also one of `headers`; remove one of them")
        if not any(secret.get_secret_value().startswith("whsec_") for secret in self.secret):
            yield Problem("signature_header", "needs a `secret` that begins with whsec_")

    def _is_authorized(self) -> bool:
        """Return whether requests prove their sender in another way than by a signature."""
        in_url = urlsplit(self.url.get_secret_value()).username is not None
        return bool(in_url or self.headers or self.client_cert_file)
