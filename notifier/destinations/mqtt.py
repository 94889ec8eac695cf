"""The destination type `mqtt`: a topic of an MQTT 5 broker, with QoS 1.

A PUBACK with a reason code below 0x80 means that the broker has the message. (aiomqtt is not used, because it ignores
reason codes.) Each connection has a thread that runs the library and reports to the event loop.
"""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from notifier.clock import Clock
from notifier.config.brokers import MqttSettings
from notifier.destinations.broker import (
    CONTENT_TYPE,
    AttemptError,
    BrokerDestination,
    Message,
    OutcomeCallback,
    connection_error,
)
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.http.tls import Certificates, TlsContextCache
from notifier.http.transport_errors import connect_timeout
from notifier.own_thread import call_on_loop

_log = logging.getLogger(__name__)

_QOS: Final = 1
_PORTS: Final = {"mqtts": 8883, "mqtt": 1883}
_KEEP_ALIVE_SECONDS: Final = 30
_CLOSING_SECONDS: Final = 1.0
_MAX_IN_FLIGHT: Final = 100
"""The maximum number of messages that may wait for a PUBACK at the same time. A broker can set a lower limit."""
_LOOP_SECONDS: Final = 1.0
_FIRST_FAILURE_CODE: Final = 0x80
_NO_SUBSCRIBERS: Final = 0x10
_TOO_LARGE: Final = 0x95
_HEADER_BYTES: Final = 1024
"""Bytes reserved for the topic, the properties and the fixed header of a packet: more than these need."""

_REASONS: Final[Mapping[int, AttemptResult]] = {
    0x81: AttemptResult.PROTOCOL_BROKEN,  # Malformed Packet
    0x82: AttemptResult.PROTOCOL_BROKEN,  # Protocol Error
    0x84: AttemptResult.PROTOCOL_BROKEN,  # Unsupported Protocol Version
    0x85: AttemptResult.ACCESS_REFUSED,  # Client Identifier not valid
    0x86: AttemptResult.ACCESS_REFUSED,  # Bad User Name or Password
    0x87: AttemptResult.ACCESS_REFUSED,  # Not authorized
    0x88: AttemptResult.THROTTLED,  # Server unavailable
    0x89: AttemptResult.THROTTLED,  # Server busy
    0x8A: AttemptResult.ACCESS_REFUSED,  # Banned
    0x8C: AttemptResult.ACCESS_REFUSED,  # Bad authentication method
    0x90: AttemptResult.TARGET_MISSING,  # Topic Name invalid
    0x95: AttemptResult.PAYLOAD_REFUSED,  # Packet too large
    0x97: AttemptResult.THROTTLED,  # Quota exceeded
    0x99: AttemptResult.PAYLOAD_REFUSED,  # Payload format invalid
    0x9B: AttemptResult.PROTOCOL_BROKEN,  # QoS not supported
    0x9F: AttemptResult.THROTTLED,  # Connection rate exceeded
}
"""The result for each failure code of MQTT 5 (section 2.4); any other failure code is a server error."""


def outcome_of(code: int, words: str) -> Outcome:
    """Return the outcome for a CONNACK or PUBACK, from the packet's reason code and text."""
    reason = AttemptResult.DELIVERED if code < _FIRST_FAILURE_CODE else _REASONS.get(code, AttemptResult.SERVER_ERROR)
    return Outcome(reason, detail=f"the broker answers 0x{code:02x}: {words}")


class MqttDestination(BrokerDestination):
    """A topic of an MQTT broker."""

    def __init__(self, name: str, settings: MqttSettings, clock: Clock) -> None:
        super().__init__(name, settings, clock)
        self._settings = settings
        files = Certificates(settings.ca_file, settings.client_cert_file, settings.client_key_file)
        self._tls_contexts = TlsContextCache(files, clock)
        self._connection_lock = asyncio.Lock()
        self._connection: _Connection | None = None
        self._context: ssl.SSLContext | bool | None = None
        self._has_logged_no_subscribers = False

    def _headers(self, message: Message) -> Mapping[str, str]:
        return {
            "topic": message.fill_template(self._settings.topic),
            "content-type": CONTENT_TYPE,
            "id": message.id,
        }

    async def _publish(self, messages: Sequence[Message], on_outcome: OutcomeCallback) -> None:
        connection = await self._open_connection()

        async def publish(message: Message) -> None:
            on_outcome(
                message, await connection.publish(message.fill_template(self._settings.topic), message.body, message.id)
            )

        try:
            await asyncio.gather(*map(publish, messages))
        except asyncio.CancelledError:
            # Otherwise the library would send the remaining messages later, after newer events.
            connection.abort()
            raise
        if connection.has_no_subscribers and not self._has_logged_no_subscribers:
            self._has_logged_no_subscribers = True
            _log.info("no client has subscribed to the topic", extra={"destination": self.name})

    async def _open_connection(self) -> "_Connection":
        """Return the open connection, or a new one if there is none, it is broken, or the certificates have changed."""
        async with self._connection_lock:
            context = await self._tls_contexts.context() if self._settings.is_encrypted else None
            current = self._connection
            if current is not None and (current.is_broken or (context is not self._context and not current.is_busy)):
                await self.close()
            if self._connection is None:
                made = _Connection(self._settings)
                # The default context is made for each connection, with the system's current certificate authorities.
                tls = ssl.create_default_context if context is True else None
                try:
                    await made.open(context if isinstance(context, ssl.SSLContext) else tls)
                except BaseException:
                    made.abort()
                    raise
                self._connection, self._context = made, context
            return self._connection

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class _TlsSocket(ssl.SSLSocket):
    """A socket that closes itself if the handshake fails, because the library does not close it."""

    def do_handshake(self, block: bool = False) -> None:
        """Perform the TLS handshake. If the handshake fails, close the socket."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class _Connection:
    """A connection to a broker, and the thread that serves it. An object is used for one connection only."""

    def __init__(self, settings: MqttSettings) -> None:
        self.has_no_subscribers = False
        """Whether the broker has answered that no client subscribes to the topic of a message."""
        self._loop = asyncio.get_running_loop()
        self._login_outcome: asyncio.Future[Outcome] = self._loop.create_future()
        self._ended: asyncio.Future[Outcome] = self._loop.create_future()
        self._unconfirmed: dict[int, asyncio.Future[Outcome]] = {}
        self._max_packet_bytes: int | None = None
        self._in_flight_slots = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._is_aborted = False
        url = urlsplit(settings.url.get_secret_value())
        self._host, self._port = url.hostname or "", url.port or _PORTS[url.scheme]
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        username = unquote(url.username or "") or settings.username
        password = unquote(url.password or "") or settings.password.get_secret_value()
        if username:
            client.username_pw_set(username, password or None)
        client.connect_timeout = connect_timeout(settings.timeout)
        client.max_inflight_messages_set(_MAX_IN_FLIGHT)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        # With this callback, only the connection's thread writes to the socket; the library wakes the thread up.
        client.on_socket_register_write = _do_nothing
        self._client = client

    @property
    def is_broken(self) -> bool:
        """Whether the connection has ended."""
        return self._ended.done()

    @property
    def is_busy(self) -> bool:
        """Whether the connection has unconfirmed messages."""
        return bool(self._unconfirmed)

    async def open(self, context: ssl.SSLContext | Callable[[], ssl.SSLContext] | None) -> None:
        """Connect and log in. Raises AttemptError.

        `context` is the TLS context, a function that makes it, or None for a connection without TLS.
        """
        threading.Thread(target=self._run, args=(context,), name="mqtt", daemon=True).start()
        await asyncio.wait((self._login_outcome, self._ended), return_when=asyncio.FIRST_COMPLETED)
        outcome = self._login_outcome.result() if self._login_outcome.done() else self._ended.result()
        if outcome.reason is not AttemptResult.DELIVERED:
            raise AttemptError(outcome.reason, outcome.detail)

    async def publish(self, topic: str, body: bytes, event_id: str) -> Outcome:
        """Publish one message, and return the outcome from its PUBACK."""
        async with self._in_flight_slots:
            if self._ended.done():
                return self._ended.result()
            if self._max_packet_bytes is not None and len(body) + _HEADER_BYTES > self._max_packet_bytes:
                return outcome_of(_TOO_LARGE, f"it takes packets of at most {self._max_packet_bytes:,} bytes")
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = CONTENT_TYPE
            properties.UserProperty = ("id", event_id)
            # A PUBACK, or the end of the connection, is handled in a later turn of the event loop, after these lines.
            sent = self._client.publish(topic, body, _QOS, properties=properties)
            answer: asyncio.Future[Outcome] = self._loop.create_future()
            self._unconfirmed[sent.mid] = answer
            try:
                return await answer
            finally:
                del self._unconfirmed[sent.mid]

    def abort(self) -> None:
        """End the connection at once. Unconfirmed messages fail."""
        self._is_aborted = True
        self._handle_end(Outcome(AttemptResult.CONNECTION_LOST, detail="the connection was given up"))
        self._shut_socket()

    async def close(self) -> None:
        """Send DISCONNECT to the broker, and end the connection."""
        if not self._ended.done():
            self._client.disconnect()
            await asyncio.wait((self._ended,), timeout=_CLOSING_SECONDS)
        self.abort()

    def _shut_socket(self) -> None:
        """Shut the socket down, so that the thread ends."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            # The socket may already be closed.
            with suppress(OSError, ValueError):
                sock.shutdown(socket.SHUT_RDWR)

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _run(self, context: ssl.SSLContext | Callable[[], ssl.SSLContext] | None) -> None:
        """Connect, and serve the connection until it ends."""
        try:
            if context is not None:
                made = context if isinstance(context, ssl.SSLContext) else context()
                made.sslsocket_class = _TlsSocket
                self._client.tls_set_context(made)
            self._client.connect(self._host, self._port, _KEEP_ALIVE_SECONDS)
            if self._is_aborted:
                self._shut_socket()
            while self._client.loop(_LOOP_SECONDS) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                pass
            ended = Outcome(AttemptResult.CONNECTION_LOST, detail="the connection to the broker broke")
        except OSError as error:
            ended = connection_error(error).outcome
        except Exception as error:  # noqa: BLE001 - the library's parser raises many types for a broken packet
            words = f"the peer sent something that is not MQTT 5 ({type(error).__name__})"
            ended = Outcome(AttemptResult.PROTOCOL_BROKEN, detail=words)
        call_on_loop(self._loop, self._handle_end, ended)

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, properties: Any) -> None:
        words = getattr(properties, "ReasonString", str(code))
        max_bytes = getattr(properties, "MaximumPacketSize", None)
        most = getattr(properties, "ReceiveMaximum", _MAX_IN_FLIGHT)
        call_on_loop(self._loop, self._handle_connack, outcome_of(code.value, words), max_bytes, most)

    def _on_publish(self, _client: Any, _data: Any, number: int, code: Any, properties: Any) -> None:
        words = getattr(properties, "ReasonString", str(code))
        call_on_loop(self._loop, self._handle_puback, number, code.value, words)

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, code: Any, properties: Any) -> None:
        words = getattr(properties, "ReasonString", str(code))
        reason = _REASONS.get(code.value) if flags.is_disconnect_packet_from_server else None
        ended = Outcome(reason or AttemptResult.CONNECTION_LOST, detail=f"the connection to the broker broke: {words}")
        call_on_loop(self._loop, self._handle_end, ended)

    # -- in the event loop --------------------------------------------------------------------------------------------

    def _handle_connack(self, outcome: Outcome, max_bytes: int | None, most: int) -> None:
        self._max_packet_bytes = max_bytes
        # The library does not apply the broker's limit itself.
        self._in_flight_slots = asyncio.Semaphore(min(most, _MAX_IN_FLIGHT))
        if not self._login_outcome.done():
            self._login_outcome.set_result(outcome)

    def _handle_puback(self, number: int, code: int, words: str) -> None:
        self.has_no_subscribers = self.has_no_subscribers or code == _NO_SUBSCRIBERS
        answer = self._unconfirmed.get(number)
        if answer is not None and not answer.done():
            answer.set_result(outcome_of(code, words))

    def _handle_end(self, outcome: Outcome) -> None:
        if not self._ended.done():
            self._ended.set_result(outcome)
        for answer in self._unconfirmed.values():
            if not answer.done():
                answer.set_result(self._ended.result())


def _do_nothing(*_: object) -> None:
    """Do nothing; it only matters that this callback is set."""
