"""The destination type `amqp`: an exchange or a queue of RabbitMQ, with publisher confirms.

Messages are persistent and `mandatory`: if the broker cannot route one to a queue, the attempt fails. After a message
that causes an error, the broker closes the channel. So each attempt has its own channel, and a message that may be too
large is sent alone.
"""

import asyncio
import logging
import ssl
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq import exceptions
from msgspec import Struct
from pamqp.commands import Basic
from yarl import URL

from notifier.clock import Clock
from notifier.config.brokers import AmqpSettings
from notifier.destinations.broker import (
    APPLICATION,
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
from notifier.own_thread import run_in_thread

_PORTS: Final = {"amqps": 5671, "amqp": 5672}
_HEARTBEAT_SECONDS: Final = 30
_CLOSING_SECONDS: Final = 1.0
_NOT_AMQP: Final = "the peer closed the connection, or does not speak AMQP 0-9-1 at this port"

for _library in ("aio_pika", "aiormq"):
    # These libraries log each failure, but the outcomes of attempts already state it.
    logging.getLogger(_library).disabled = True
for _library in ("aio_pika.channel", "aio_pika.connection", "aio_pika.exchange", "aiormq.channel", "aiormq.connection"):
    logging.getLogger(_library).disabled = True


class _Unconfirmed(Struct, frozen=True):
    """A message that an earlier attempt has sent, and that the broker may still confirm."""

    id: str
    confirmation: asyncio.Task[Outcome]


class AmqpDestination(BrokerDestination):
    """An exchange or a queue of an AMQP broker."""

    def __init__(self, name: str, settings: AmqpSettings, clock: Clock) -> None:
        super().__init__(name, settings, clock)
        self._settings = settings
        files = Certificates(settings.ca_file, settings.client_cert_file, settings.client_key_file)
        self._tls_contexts = TlsContextCache(files, clock)
        self._connection_lock = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._context: ssl.SSLContext | bool | None = None
        self._idle_channels: list[AbstractChannel] = []
        self._background_tasks: set[asyncio.Task[None]] = set()
        self._active_publications = 0
        self._unconfirmed: dict[str, _Unconfirmed] = {}
        self._largest_accepted_bytes = 0

    def _headers(self, message: Message) -> Mapping[str, str]:
        return {
            "exchange": self._settings.exchange,
            "routing_key": message.fill_template(self._settings.routing_key),
            "content_type": CONTENT_TYPE,
            "message_id": message.id,
            "type": message.type,
            "app_id": APPLICATION,
        }

    async def _timeout_outcome(self) -> Outcome:
        if await self._is_blocked():
            words = "broker blocked: it takes no messages until it has enough memory and disk space again"
            return Outcome(AttemptResult.THROTTLED, detail=words)
        return await super()._timeout_outcome()

    async def _is_blocked(self) -> bool:
        """Return whether the broker has said that it takes no messages at the moment."""
        connection = self._connection
        if connection is None or connection.transport is None or _is_closed(connection):
            return False
        try:
            async with asyncio.timeout(0):
                await connection.transport.connection.ready()
        except TimeoutError:
            return True
        return False

    async def _publish(self, messages: Sequence[Message], on_outcome: OutcomeCallback) -> None:
        self._active_publications += 1
        try:
            unsent = await self._await_confirmations(messages, on_outcome)
            unsent.sort(key=lambda message: len(message.body), reverse=True)
            # If a message is refused for its size, it is unknown which other messages of the channel are stored.
            while unsent and len(unsent[0].body) > self._largest_accepted_bytes:
                outcome = await self._publish_large(unsent.pop(0), on_outcome)
                if outcome.reason not in {AttemptResult.DELIVERED, AttemptResult.PAYLOAD_REFUSED}:
                    return
            if unsent:
                await self._publish_all(unsent, on_outcome)
        finally:
            self._active_publications -= 1

    async def _await_confirmations(self, messages: Sequence[Message], on_outcome: OutcomeCallback) -> list[Message]:
        """Return those of `messages` that must be published; for the others, call `on_outcome`.

        An earlier attempt may have sent a message about the same record, and the broker may still confirm it. Then this
        method waits for the confirmation. If the earlier message has the same id, its confirmation is the outcome, and
        the message is not published again.
        """
        unsent = []
        for message in messages:
            sent = self._unconfirmed.get(message.record)
            outcome = None if sent is None else await asyncio.shield(sent.confirmation)
            if sent is None or outcome is None or sent.id != message.id:
                unsent.append(message)
            else:
                on_outcome(message, outcome)
        return unsent

    async def _publish_large(self, message: Message, on_outcome: OutcomeCallback) -> Outcome:
        """Publish one message that is larger than any message accepted on this connection so far."""
        outcomes = await self._publish_all([message], on_outcome)
        if outcomes[0].reason is AttemptResult.DELIVERED:
            self._largest_accepted_bytes = max(self._largest_accepted_bytes, len(message.body))
        return outcomes[0]

    async def _publish_all(self, messages: Sequence[Message], on_outcome: OutcomeCallback) -> Sequence[Outcome]:
        channel = await self._open_channel()
        confirmations = [asyncio.create_task(self._publish_one(channel, message)) for message in messages]

        async def report(message: Message, confirmation: asyncio.Task[Outcome]) -> Outcome:
            outcome = await asyncio.shield(confirmation)
            on_outcome(message, outcome)
            return outcome

        try:
            outcomes = await asyncio.gather(*map(report, messages, confirmations))
        except asyncio.CancelledError:
            if await self._is_blocked():
                self._confirm_in_background(channel, messages, confirmations)
            else:
                for confirmation in confirmations:
                    confirmation.cancel()
                self._close_in_background(channel)
            raise
        if not channel.is_closed:
            self._idle_channels.append(channel)
        return outcomes

    async def _publish_one(self, channel: AbstractChannel, message: Message) -> Outcome:
        exchange = await channel.get_exchange(self._settings.exchange, ensure=False)
        content = aio_pika.Message(
            message.body,
            content_type=CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=message.id,
            type=message.type,
            app_id=APPLICATION,
        )
        try:
            confirmed = await exchange.publish(
                content, message.fill_template(self._settings.routing_key), mandatory=True
            )
        except (exceptions.AMQPError, exceptions.ChannelInvalidStateError, OSError) as error:
            return outcome_of(error)
        return Outcome(AttemptResult.DELIVERED, detail=_confirmation_text(confirmed))

    def _confirm_in_background(
        self, channel: AbstractChannel, messages: Sequence[Message], confirmations: Sequence[asyncio.Task[Outcome]]
    ) -> None:
        """Wait in the background for the confirmations of messages that were sent while the broker was blocked.

        The broker will store these messages when it is no longer blocked. To publish them again would duplicate them.
        """

        async def wait() -> None:
            await asyncio.wait(confirmations)
            for message, confirmation in zip(messages, confirmations, strict=True):
                if confirmation.result().reason is AttemptResult.DELIVERED:
                    self._remember_confirmed(message)
                self._unconfirmed.pop(message.record, None)
            if not channel.is_closed:
                self._idle_channels.append(channel)

        for message, confirmation in zip(messages, confirmations, strict=True):
            self._unconfirmed[message.record] = _Unconfirmed(message.id, confirmation)
        self._run_in_background(wait())

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)

    async def _open_channel(self) -> AbstractChannel:
        """Return a channel that no other attempt uses, opened if necessary. Raises AttemptError."""
        connection = await self._open_connection()
        try:
            # While the broker blocks publishers, this waits.
            if connection.transport is not None:
                await connection.transport.connection.ready()
            while self._idle_channels:
                if not (channel := self._idle_channels.pop()).is_closed:
                    return channel
            made = connection.channel(publisher_confirms=True, on_return_raises=True)
            await made.initialize()
        except (exceptions.AMQPError, exceptions.ChannelInvalidStateError, OSError, RuntimeError) as error:
            outcome = outcome_of(error)
            raise AttemptError(outcome.reason, outcome.detail) from error
        return made

    async def _open_connection(self) -> AbstractConnection:
        """Return the open connection, or a new one if there is none, it is broken, or the certificates have changed."""
        async with self._connection_lock:
            context = await self._tls_contexts.context() if self._settings.is_encrypted else None
            current = self._connection
            has_changed = context is not self._context and self._active_publications <= 1
            if current is not None and (_is_closed(current) or has_changed):
                await self.close()
            if self._connection is None:
                self._connection, self._context = await self._connect(context), context
                self._largest_accepted_bytes = 0
            return self._connection

    async def _connect(self, context: ssl.SSLContext | bool | None) -> AbstractConnection:
        limit = connect_timeout(self._timeout)
        try:
            async with asyncio.timeout(limit):
                # The default context is made for each connection, with the system's current certificate authorities.
                made = await run_in_thread(ssl.create_default_context, "amqp-tls") if context is True else context
                tls = made if isinstance(made, ssl.SSLContext) else None
                return await aio_pika.connect(_url(self._settings), ssl_context=tls)
        except TimeoutError as error:
            raise AttemptError(AttemptResult.CONNECT_FAILED, f"no connection within {limit:g} seconds") from error
        except exceptions.ProbableAuthenticationError as error:
            raise AttemptError(AttemptResult.ACCESS_REFUSED, f"the broker refuses the login: {error}") from error
        except exceptions.AuthenticationError as error:
            words = "the broker does not offer the authentication mechanism PLAIN"
            raise AttemptError(AttemptResult.ACCESS_REFUSED, words) from error
        except exceptions.ConnectionClosed as error:
            raise AttemptError(
                _login_failure_reason(error), f"the broker refuses the connection: {_error_text(error)}"
            ) from error
        except (exceptions.IncompatibleProtocolError, exceptions.ProtocolSyntaxError) as error:
            raise AttemptError(AttemptResult.PROTOCOL_BROKEN, _NOT_AMQP) from error
        except OSError as error:
            raise _connection_error_of_cause(error) from error

    def _close_in_background(self, channel: AbstractChannel) -> None:
        """Close the channel of a cancelled attempt in the background, so that nothing waits for the broker's answer."""

        async def close() -> None:
            with suppress(exceptions.AMQPError, exceptions.ChannelInvalidStateError, OSError, RuntimeError):
                await channel.close()

        self._run_in_background(close())

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        self._idle_channels.clear()
        if connection is not None:
            # The connection may already be broken, which does not matter here.
            with suppress(exceptions.AMQPError, OSError, RuntimeError):
                async with asyncio.timeout(_CLOSING_SECONDS):
                    await connection.close()
        for task in self._background_tasks:
            task.cancel()
        for sent in self._unconfirmed.values():
            sent.confirmation.cancel()
        self._unconfirmed.clear()


def _confirmation_text(frame: object) -> str:
    """Describe a confirmation for people."""
    return f"basic.ack, delivery tag {frame.delivery_tag}" if isinstance(frame, Basic.Ack) else "confirmed"


def outcome_of(error: Exception) -> Outcome:
    """Return the outcome of a message whose publication raised this error."""
    match error:
        case exceptions.DeliveryError(frame=Basic.Return()) | exceptions.PublishError():
            return Outcome(AttemptResult.TARGET_MISSING, detail="the broker returns the message: no queue would get it")
        case exceptions.DeliveryError():
            return Outcome(AttemptResult.THROTTLED, detail="the broker rejects the message (basic.nack)")
        case exceptions.ChannelAccessRefused() | exceptions.ConnectionNotAllowed():
            return Outcome(AttemptResult.ACCESS_REFUSED, detail=f"the broker refuses access: {_error_text(error)}")
        case exceptions.ChannelNotFoundEntity():
            return Outcome(
                AttemptResult.TARGET_MISSING,
                detail=f"the broker does not find the queue or exchange: {_error_text(error)}",
            )
        case exceptions.ChannelPreconditionFailed():
            return Outcome(
                AttemptResult.PAYLOAD_REFUSED, detail=f"the broker refuses the message: {_error_text(error)}"
            )
        case exceptions.ChannelClosed():
            return Outcome(AttemptResult.SERVER_ERROR, detail=f"the broker closed the channel: {_error_text(error)}")
        case _:
            return Outcome(AttemptResult.CONNECTION_LOST, detail="the connection to the broker broke")


def _connection_error_of_cause(error: OSError) -> AttemptError:
    """Return the AttemptError for a failed connection, from the cause of the library's error."""
    match error.__cause__:
        case OSError() as cause:
            return connection_error(cause)
        case asyncio.IncompleteReadError(partial=b""):
            return connection_error(ConnectionResetError())
        case asyncio.IncompleteReadError():
            # The library takes the data of another protocol for an incomplete AMQP frame.
            return AttemptError(AttemptResult.PROTOCOL_BROKEN, _NOT_AMQP)
        case _:
            return connection_error(error)


def _login_failure_reason(error: exceptions.ConnectionClosed) -> AttemptResult:
    """Return the result for a connection that was closed during the login; error 530 means an unknown virtual host."""
    return AttemptResult.ACCESS_REFUSED if "530" in str(error.args[:1]) else AttemptResult.SERVER_ERROR


def _error_text(error: Exception) -> str:
    return " ".join(map(str, error.args))


def _is_closed(connection: AbstractConnection) -> bool:
    return connection.is_closed or connection.transport is None or connection.transport.connection.is_closed


def _url(settings: AmqpSettings) -> URL:
    url = urlsplit(settings.url.get_secret_value())
    return URL.build(
        scheme=url.scheme,
        user=unquote(url.username or "") or settings.username or None,
        password=unquote(url.password or "") or settings.password.get_secret_value() or None,
        host=url.hostname or "",
        port=url.port or _PORTS[url.scheme],
        path="/" + (unquote(url.path.removeprefix("/")) or "/"),
        query={"heartbeat": str(_HEARTBEAT_SECONDS)},
    )
