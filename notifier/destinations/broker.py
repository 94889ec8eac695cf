"""The base class of the destinations that are message brokers: turns events into messages and publishes them in order.

A message is a CloudEvent in structured mode, according to the CloudEvents bindings for Kafka, AMQP and MQTT 5. Its body
is the JSON that the type `http` sends for one event. Its id is the event's id.
"""

import asyncio
import os
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import orjson
from msgspec import Struct
from msgspec.structs import replace

from notifier import __version__
from notifier.clock import Clock
from notifier.config.brokers import BrokerSettings
from notifier.config.secret_values import secret_values
from notifier.destinations.base import Grouping, Preview
from notifier.destinations.outcome import AttemptResult, FailureScope, Outcome
from notifier.destinations.webhook import envelope
from notifier.events import Event, EventType
from notifier.http.answer_text import safe_line, url_secrets
from notifier.http.tls import CertificateFileError
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.request_log import SentRequest, digest

CONTENT_TYPE: Final = "application/cloudevents+json"
APPLICATION: Final = f"completion-notifier/{__version__}"
ALERT_SOURCE: Final = "notifier"
"""The source name that alerts have in topics and keys."""

_MAX_CONFIRMED_IDS: Final = 10_000
_MAX_LOGGED_ANSWERS: Final = 40
"""The maximum number of answers that the log of requests keeps for one attempt."""

_RESULTS_WITHOUT_ANSWER: Final = frozenset(
    {
        AttemptResult.NAME_NOT_RESOLVED,
        AttemptResult.CONNECT_FAILED,
        AttemptResult.CERTIFICATE_REJECTED,
        AttemptResult.TIMEOUT,
        AttemptResult.CONNECTION_LOST,
        AttemptResult.PROTOCOL_BROKEN,
    }
)
"""The results of attempts that got no answer from the broker."""

_WIDEST_FIRST: Final = (
    FailureScope.PERMANENT,
    FailureScope.ENDPOINT,
    FailureScope.PACE,
    FailureScope.UNKNOWN,
    FailureScope.EVENT,
)


class Message(Struct, frozen=True):
    """One event as a message. `record` (`SOURCE/KEY`) identifies the completion record that the event is about."""

    id: str
    type: str
    source: str
    record: str
    body: bytes

    def fill_template(self, template: str) -> str:
        """Return `template` with its placeholders replaced by the event's source and type."""
        return template.replace("{source}", self.source).replace("{type}", self.type)


def message_of(event: Event) -> Message:
    """Return an event as a message."""
    source = ALERT_SOURCE if event.type == EventType.ALERT else event.source
    body = orjson.dumps(envelope.cloudevent(event))
    return Message(event.id, event.type, source, f"{source}/{event.subject}", body)


def concurrent_groups(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Yield messages in groups with at most one message per record.

    The messages of a group may be published together. Groups are published one after the other, so that a record's
    events stay in order even if some are refused.
    """
    left = list(messages)
    while left:
        first = {message.record: message for message in reversed(left)}
        chosen = {message.id for message in first.values()}
        yield [message for message in left if message.id in chosen]
        left = [message for message in left if message.id not in chosen]


def combined_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """Combine the outcomes of an attempt's messages into one: the failure with the widest scope, or success."""
    failures = [outcome for outcome in outcomes if outcome.reason is not AttemptResult.DELIVERED]
    if failures:
        return min(failures, key=lambda outcome: _WIDEST_FIRST.index(outcome.scope))
    if len(outcomes) < 2:  # noqa: PLR2004 - one message
        return outcomes[0] if outcomes else Outcome(AttemptResult.DELIVERED)
    return replace(outcomes[0], detail=f"{outcomes[0].detail}; and {len(outcomes) - 1} more")


OutcomeCallback = Callable[[Message, Outcome], None]
"""A function that is called with each message and its outcome. The outcome's `detail` is the broker's answer."""


class AttemptError(Exception):
    """The attempt cannot continue, for instance because there is no connection; `outcome` is the attempt's outcome."""

    def __init__(self, reason: AttemptResult, detail: str) -> None:
        super().__init__(detail)
        self.outcome = Outcome(reason, detail=detail)


class BrokerDestination(ABC):
    """A message broker to which events are published. Each subclass implements the protocol of one type of broker."""

    def __init__(self, name: str, settings: BrokerSettings, clock: Clock) -> None:
        self.name: Final = name
        """The name in the configuration."""
        self._clock = clock
        self._address = settings.address()
        self._timeout = settings.timeout
        self.grouping: Final = Grouping(settings.batch_size, settings.batch_wait if settings.batch_size > 1 else 0.0)
        """One event per attempt, or batches if `batch_size` is above 1."""
        urls = (part for url in settings.public_urls() for part in url_secrets(url))
        self._secrets = (*secret_values(settings), *settings.further_secrets(), *urls)
        self._confirmed_ids: dict[str, None] = {}

    @abstractmethod
    async def _publish(self, messages: Sequence[Message], on_outcome: OutcomeCallback) -> None:
        """Publish messages in any order; each is about a different record.

        Call `on_outcome` with each message and its outcome. After a message that the broker does not accept, the rest
        need not be published. Raises AttemptError if there is no connection. The call is cancelled at the attempt's
        time limit; after that, nothing may be published.
        """

    @abstractmethod
    def _headers(self, message: Message) -> Mapping[str, str]:
        """Return what is sent beside a message's body (topic, key and headers), as text for the log of requests."""

    async def _timeout_outcome(self) -> Outcome:
        """Return the outcome of an attempt that has reached its time limit; subclasses may add the cause."""
        return Outcome(AttemptResult.TIMEOUT, detail=f"no confirmation within {self._timeout:g} seconds")

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        """Publish the events of `deliveries`. The attempt succeeds if the broker confirms every event.

        If the broker confirms only some of the events, the next attempt publishes only the other events.
        """
        for it in deliveries:
            if it.again and not it.attempts:
                # A confirmation from before the event was requested again does not count.
                self._confirmed_ids.pop(it.event.id, None)
        needed = [it.event for it in deliveries if it.event.id not in self._confirmed_ids]
        answers: dict[str, Outcome] = {}
        try:
            async with asyncio.timeout(self._timeout):
                outcome = await self._publish_in_order([message_of(event) for event in needed], answers)
        except TimeoutError:
            outcome = await self._timeout_outcome()
        except CertificateFileError as error:
            outcome = Outcome(AttemptResult.CERTIFICATE_REJECTED, detail=str(error))
        except AttemptError as error:
            outcome = error.outcome
        if outcome.reason is AttemptResult.DELIVERED:
            for it in deliveries:
                self._confirmed_ids.pop(it.event.id, None)
        logged = partial(self._log_entry, deliveries, answers)
        return replace(outcome, detail=self._redact(outcome.detail), request=logged)

    async def _publish_in_order(self, messages: Sequence[Message], answers: dict[str, Outcome]) -> Outcome:
        def note(message: Message, outcome: Outcome) -> None:
            answers[message.id] = outcome
            if outcome.reason is AttemptResult.DELIVERED:
                self._remember_confirmed(message)

        for group in concurrent_groups(messages):
            await self._publish(group, note)
            known = [answers[message.id] for message in group if message.id in answers]
            if any(outcome.reason is not AttemptResult.DELIVERED for outcome in known):
                break
            if len(known) < len(group):
                raise RuntimeError("messages were left out although no message has failed")
        return combined_outcome([*answers.values()])

    def _remember_confirmed(self, message: Message) -> None:
        self._confirmed_ids[message.id] = None
        if len(self._confirmed_ids) > _MAX_CONFIRMED_IDS:
            del self._confirmed_ids[next(iter(self._confirmed_ids))]

    async def preview(self, deliveries: Sequence[Delivery]) -> Preview:
        """Return a delivery's message. For several deliveries, return the first message's headers and all bodies."""
        return self._preview(deliveries)

    def _preview(self, deliveries: Sequence[Delivery]) -> Preview:
        messages = [message_of(it.event) for it in deliveries]
        headers = {"address": self._address, **self._headers(messages[0])}
        if len(messages) == 1:
            return Preview(headers, messages[0].body)
        bodies = orjson.dumps([orjson.Fragment(message.body) for message in messages])
        return Preview({**headers, "messages": str(len(messages))}, bodies)

    def _log_entry(self, deliveries: Sequence[Delivery], answers: Mapping[str, Outcome]) -> SentRequest:
        """Return an attempt for the log of requests: the messages as in a preview, and the broker's answer to each."""
        sent = self._preview(deliveries)
        known = {id_: one for id_, one in answers.items() if one.reason not in _RESULTS_WITHOUT_ANSWER}
        answer_fields = [
            (id_, self._redact(one.detail) or str(one.reason)) for id_, one in list(known.items())[:_MAX_LOGGED_ANSWERS]
        ]
        if len(known) > _MAX_LOGGED_ANSWERS:
            answer_fields.append(("further messages", f"{len(known) - _MAX_LOGGED_ANSWERS:,}"))
        headers = tuple(sent.headers.items())
        return SentRequest(headers, len(sent.body), digest(sent.body), tuple(answer_fields) if known else None, "")

    def _redact(self, text: str) -> str:
        """Return `text` as one short line without the secrets of this destination."""
        return safe_line(text, self._secrets) if text else ""


def connection_error(error: OSError) -> AttemptError:
    """Return the AttemptError for a connection that failed with this error of the system or of OpenSSL."""
    match error:
        case ssl.SSLCertVerificationError():
            words = getattr(error, "verify_message", "") or "the certificate was not accepted"
            return AttemptError(AttemptResult.CERTIFICATE_REJECTED, f"TLS failed: {words}")
        case ssl.SSLError() if any(word in str(error) for word in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")):
            advice = "check the scheme and the port of the address"
            return AttemptError(AttemptResult.PROTOCOL_BROKEN, f"the peer does not speak TLS at this port: {advice}")
        case ssl.SSLError():
            return AttemptError(AttemptResult.CERTIFICATE_REJECTED, f"TLS failed: {_openssl_reason(error)}")
        case socket.gaierror():
            return AttemptError(AttemptResult.NAME_NOT_RESOLVED, "the host's name could not be resolved")
        case ConnectionResetError() | BrokenPipeError():
            return AttemptError(
                AttemptResult.CONNECTION_LOST, "the broker closed the connection before it had answered"
            )
        case TimeoutError():
            return AttemptError(AttemptResult.CONNECT_FAILED, "no connection in time")
        case _:
            words = os.strerror(error.errno) if error.errno and error.errno > 0 else "the broker cannot be reached"
            return AttemptError(AttemptResult.CONNECT_FAILED, f"no connection: {words}")


def _openssl_reason(error: ssl.SSLError) -> str:
    return getattr(error, "reason", None) or "the handshake failed"
