"""The destination type `kafka`: a topic of a Kafka cluster, or of Azure Event Hubs.

The key of a message is `SOURCE/RECORD`, so that a record's events stay in one partition, in order. The producer is
idempotent and waits for all replicas (`acks=all`). The library has its own threads. One more thread receives the
library's delivery reports, because the call that receives them blocks.
"""

import asyncio
import logging
import re
import ssl
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from notifier.clock import Clock
from notifier.config.brokers import KafkaSettings
from notifier.destinations.broker import CONTENT_TYPE, BrokerDestination, Message, OutcomeCallback
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.http.tls import Certificates, TlsContextCache
from notifier.http.transport_errors import connect_timeout
from notifier.own_thread import call_on_loop

_POLL_SECONDS: Final = 0.5
_CLOSING_SECONDS: Final = 2.0
_LARGEST_BYTES: Final = 20 * 2**20
"""The largest message that the library may send, in bytes; the cluster may set a lower limit."""

_silenced_log = logging.getLogger("librdkafka")
# Without a logger, the library would write to standard error. The outcomes of attempts already state its errors.
_silenced_log.disabled = True

_CONNECT_FAILURE: Final = re.compile(r"Connect to \S+ failed: (.+?)(?: \(after|$)")
_UNTRUSTED_TEXT: Final = "certificate verify failed"
_REASONS: Final[Mapping[int, AttemptResult]] = {
    KafkaError._AUTHENTICATION: AttemptResult.ACCESS_REFUSED,
    KafkaError.SASL_AUTHENTICATION_FAILED: AttemptResult.ACCESS_REFUSED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM: AttemptResult.ACCESS_REFUSED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: AttemptResult.ACCESS_REFUSED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: AttemptResult.ACCESS_REFUSED,
    KafkaError.UNKNOWN_TOPIC_OR_PART: AttemptResult.TARGET_MISSING,
    KafkaError.TOPIC_EXCEPTION: AttemptResult.TARGET_MISSING,
    KafkaError._UNKNOWN_TOPIC: AttemptResult.TARGET_MISSING,
    KafkaError._UNKNOWN_PARTITION: AttemptResult.TARGET_MISSING,
    KafkaError.MSG_SIZE_TOO_LARGE: AttemptResult.PAYLOAD_REFUSED,
    KafkaError.INVALID_MSG: AttemptResult.PAYLOAD_REFUSED,
    KafkaError.INVALID_MSG_SIZE: AttemptResult.PAYLOAD_REFUSED,
    KafkaError.INVALID_RECORD: AttemptResult.PAYLOAD_REFUSED,
    KafkaError._SSL: AttemptResult.CERTIFICATE_REJECTED,
    KafkaError._RESOLVE: AttemptResult.NAME_NOT_RESOLVED,
    KafkaError._TRANSPORT: AttemptResult.CONNECTION_LOST,
    KafkaError._ALL_BROKERS_DOWN: AttemptResult.CONNECTION_LOST,
    KafkaError._PURGE_QUEUE: AttemptResult.CONNECTION_LOST,
    KafkaError._PURGE_INFLIGHT: AttemptResult.CONNECTION_LOST,
    KafkaError._MSG_TIMED_OUT: AttemptResult.TIMEOUT,
    KafkaError._TIMED_OUT: AttemptResult.TIMEOUT,
    KafkaError.REQUEST_TIMED_OUT: AttemptResult.TIMEOUT,
    KafkaError._QUEUE_FULL: AttemptResult.THROTTLED,
    KafkaError.THROTTLING_QUOTA_EXCEEDED: AttemptResult.THROTTLED,
}
"""The result for each error code of the library; any other code is a server error."""

_CONNECTION_FAILURES: Final = frozenset(
    {
        AttemptResult.ACCESS_REFUSED,
        AttemptResult.CERTIFICATE_REJECTED,
        AttemptResult.CONNECTION_LOST,
        AttemptResult.CONNECT_FAILED,
        AttemptResult.NAME_NOT_RESOLVED,
    }
)
"""The results of failed connections. A failed connection explains why a message was not confirmed."""

_ERRORS_WITHOUT_CAUSE: Final = frozenset(
    {KafkaError._MSG_TIMED_OUT, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._TIMED_OUT}
)
_PERMANENT_ERRORS: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})
"""The codes of connection errors that do not go away with time."""


def outcome_of(code: int, words: str) -> Outcome:
    """Return the outcome for an error of the library, from the error's code and text."""
    if (refused := _CONNECT_FAILURE.search(words)) is not None:
        return Outcome(AttemptResult.CONNECT_FAILED, detail=f"no connection: {refused[1]}")
    # Sometimes the library reports a certificate that is not trusted with the code of a lost connection.
    reason = AttemptResult.CERTIFICATE_REJECTED if _UNTRUSTED_TEXT in words else _REASONS.get(code)
    return Outcome(reason or AttemptResult.SERVER_ERROR, detail=words)


class KafkaDestination(BrokerDestination):
    """A topic of a Kafka cluster."""

    def __init__(self, name: str, settings: KafkaSettings, clock: Clock) -> None:
        super().__init__(name, settings, clock)
        self._settings = settings
        files = Certificates(settings.ca_file, settings.client_cert_file, settings.client_key_file)
        self._tls_contexts = TlsContextCache(files, clock)
        self._context: ssl.SSLContext | bool | None = None
        self._producer: _ProducerThread | None = None

    def _headers(self, message: Message) -> Mapping[str, str]:
        return {
            "topic": self._settings.topic,
            "key": message.record,
            "content-type": CONTENT_TYPE,
            "ce_id": message.id,
        }

    async def _publish(self, messages: Sequence[Message], on_outcome: OutcomeCallback) -> None:
        producer = await self._open_producer()

        async def publish(message: Message) -> None:
            on_outcome(message, await producer.produce(self._settings.topic, message))

        try:
            await asyncio.gather(*map(publish, messages))
        except asyncio.CancelledError:
            producer.purge()
            raise

    async def _open_producer(self) -> "_ProducerThread":
        """Return the producer, or a new one if there is none, it cannot be used, or the certificates have changed."""
        # The library reads the certificate files itself. They are also read here, to name an unusable file.
        context = await self._tls_contexts.context() if self._settings.tls else None
        current = self._producer
        if current is not None and (current.has_failed or (context is not self._context and not current.is_busy)):
            await self.close()
        if self._producer is None:
            self._producer, self._context = _ProducerThread(producer_configuration(self._settings)), context
        return self._producer

    async def close(self) -> None:
        """End the producer and its connections."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()


def producer_configuration(settings: KafkaSettings) -> dict[str, Any]:
    """Return the library's configuration for these settings."""
    limit_ms = round(connect_timeout(settings.timeout) * 1000)
    made: dict[str, Any] = {
        "bootstrap.servers": settings.servers,
        "client.id": "completion-notifier",
        "security.protocol": ("SASL_" if settings.username else "") + ("SSL" if settings.tls else "PLAINTEXT"),
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 0,
        "compression.type": "none",
        "message.timeout.ms": limit_ms,
        "message.max.bytes": _LARGEST_BYTES,
        "topic.metadata.propagation.max.ms": max(limit_ms // 3, 1),
        "allow.auto.create.topics": False,
        "socket.connection.setup.timeout.ms": max(limit_ms, 1000),
        "reconnect.backoff.max.ms": 1000,
        "log.connection.close": False,
    }
    if settings.username:
        made["sasl.mechanism"] = settings.sasl_mechanism
        made["sasl.username"] = settings.username
        made["sasl.password"] = settings.password.get_secret_value()
    if settings.tls:
        made["ssl.ca.location"] = str(settings.ca_file or ssl.get_default_verify_paths().cafile or "probe")
    if settings.client_cert_file:
        made["ssl.certificate.location"] = str(settings.client_cert_file)
        made["ssl.key.location"] = str(settings.client_key_file or settings.client_cert_file)
    return made


class _ProducerThread:
    """A producer of the library, and the thread that receives its delivery reports."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.has_failed = False
        """Whether the producer can no longer be used."""
        self._loop = asyncio.get_running_loop()
        self._unconfirmed = 0
        self._is_used = False
        self._connection_failure: Outcome | None = None
        self._is_closing = threading.Event()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._producer: Producer | None = Producer({**settings, "error_cb": self._on_error}, logger=_silenced_log)
        threading.Thread(target=self._poll_reports, name="kafka", daemon=True).start()

    @property
    def is_busy(self) -> bool:
        """Whether the producer has unconfirmed messages."""
        return self._unconfirmed > 0

    async def produce(self, topic: str, message: Message) -> Outcome:
        """Send one message, and return the outcome from its delivery report."""
        report: asyncio.Future[Outcome] = self._loop.create_future()
        if self._producer is None:
            return Outcome(AttemptResult.CONNECTION_LOST, detail="the connection was given up")
        if self.has_failed and self._connection_failure is not None:
            return self._connection_failure
        if self._is_used and not self._unconfirmed:
            self._connection_failure = None
        self._is_used = True

        def on_delivery(error: KafkaError | None, message: Any) -> None:
            call_on_loop(
                self._loop,
                self._handle_report,
                report,
                error,
                f"partition {message.partition()}, offset {message.offset()}",
            )

        self._unconfirmed += 1
        try:
            headers: list[tuple[str, str | bytes | None]] = [
                ("content-type", CONTENT_TYPE.encode()),
                ("ce_id", message.id.encode()),
            ]
            self._producer.produce(topic, message.body, message.record, headers=headers, on_delivery=on_delivery)
            return await report
        except KafkaException as error:
            (inner,) = error.args[:1]
            return outcome_of(inner.code(), inner.str())
        except BufferError:
            return outcome_of(KafkaError._QUEUE_FULL, "too many messages wait to be sent")
        finally:
            self._unconfirmed -= 1

    def purge(self) -> None:
        """Drop all unconfirmed messages."""
        if self._producer is not None:
            self._producer.purge(in_queue=True, in_flight=True, blocking=False)

    async def close(self) -> None:
        """Drop all unconfirmed messages, and end the connections."""
        self._is_closing.set()
        self.purge()
        await asyncio.wait((self._ended,), timeout=_CLOSING_SECONDS)

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _poll_reports(self) -> None:
        producer = self._producer
        if producer is None:
            return
        while not self._is_closing.is_set():
            producer.poll(_POLL_SECONDS)
        producer.flush(_POLL_SECONDS)
        # Giving up the last reference closes the connections, which takes a moment.
        self._producer = None
        del producer
        call_on_loop(self._loop, self._mark_ended)

    def _on_error(self, error: KafkaError) -> None:
        call_on_loop(self._loop, self._handle_error, error.code(), error.str(), error.fatal())

    # -- in the event loop --------------------------------------------------------------------------------------------

    def _mark_ended(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _handle_error(self, code: int, words: str, is_fatal: bool) -> None:
        """Store a connection error, and give up the producer if the error is final.

        If a message fails later without a cause of its own, the stored error becomes the message's outcome. An error is
        final if `is_fatal` is true, or if this producer would get the same error at each retry. After a final error,
        all unconfirmed messages are dropped, and the next attempt opens a new producer.
        """
        is_final = is_fatal or code in _PERMANENT_ERRORS or code == KafkaError._ALL_BROKERS_DOWN
        self.has_failed = self.has_failed or is_final
        outcome = outcome_of(code, words)
        if outcome.reason in _CONNECTION_FAILURES and (
            code != KafkaError._ALL_BROKERS_DOWN or self._connection_failure is None
        ):
            self._connection_failure = outcome
        if is_final:
            self.purge()

    def _handle_report(self, report: asyncio.Future[Outcome], error: KafkaError | None, place: str) -> None:
        if report.done():
            return
        if error is None:
            self._connection_failure = None
            report.set_result(Outcome(AttemptResult.DELIVERED, detail=place))
        elif self._connection_failure is not None and error.code() in _ERRORS_WITHOUT_CAUSE:
            report.set_result(self._connection_failure)
        else:
            report.set_result(outcome_of(error.code(), error.str()))
