"""AMQP: errors, URLs, and peers that speak another protocol."""

import asyncio

import pytest
from aiormq import exceptions
from pamqp.commands import Basic

from notifier.clock import SystemClock
from notifier.config.brokers import AmqpSettings
from notifier.destinations.amqp import AmqpDestination, _url, outcome_of
from notifier.destinations.outcome import AttemptResult, FailureScope
from notifier.store.tables.outbox import Delivery
from tests.support.destinations import MakeEvent


@pytest.mark.parametrize(
    ("error", "reason", "scope"),
    [
        (exceptions.DeliveryError(None, Basic.Nack(1)), AttemptResult.THROTTLED, FailureScope.PACE),
        (exceptions.DeliveryError(None, Basic.Return()), AttemptResult.TARGET_MISSING, FailureScope.UNKNOWN),
        (exceptions.ChannelAccessRefused("no"), AttemptResult.ACCESS_REFUSED, FailureScope.ENDPOINT),
        (exceptions.ChannelNotFoundEntity("no"), AttemptResult.TARGET_MISSING, FailureScope.UNKNOWN),
        (exceptions.ChannelPreconditionFailed("no"), AttemptResult.PAYLOAD_REFUSED, FailureScope.EVENT),
        (exceptions.ChannelClosed(541, "no"), AttemptResult.SERVER_ERROR, FailureScope.UNKNOWN),
        (exceptions.ConnectionClosed(320, "no"), AttemptResult.CONNECTION_LOST, FailureScope.UNKNOWN),
        (ConnectionResetError(), AttemptResult.CONNECTION_LOST, FailureScope.UNKNOWN),
    ],
)
def test_amqp_error_has_reason_and_scope(error: Exception, reason: AttemptResult, scope: FailureScope) -> None:
    outcome = outcome_of(error)
    assert (outcome.reason, outcome.scope) == (reason, scope)
    assert outcome.detail


@pytest.mark.parametrize(
    ("written", "vhost", "port"),
    [
        ("amqps://rabbit.example.com", "/", 5671),
        ("amqps://rabbit.example.com/", "/", 5671),
        ("amqp://rabbit.example.com/training", "training", 5672),
        ("amqp://rabbit.example.com:99/a%2Fb", "a/b", 99),
    ],
)
def test_amqp_url_has_the_virtual_host_port_and_credentials(written: str, vhost: str, port: int) -> None:
    settings = AmqpSettings.model_validate({"type": "amqp", "url": written, "username": "u", "password": "p@:/#ü"})
    url = _url(settings)
    assert (url.path[1:], url.port, url.user, url.password) == (vhost, port, "u", "p@:/#ü")


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", AttemptResult.PROTOCOL_BROKEN, "does not speak AMQP 0-9-1"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", AttemptResult.PROTOCOL_BROKEN, "does not speak AMQP 0-9-1"),
        (b"AMQP\x00\x01\x00\x00", AttemptResult.PROTOCOL_BROKEN, "does not speak AMQP 0-9-1"),
        (bytes(100), AttemptResult.PROTOCOL_BROKEN, "does not speak AMQP 0-9-1"),
        (b"", AttemptResult.CONNECTION_LOST, "closed the connection before it had answered"),
    ],
)
async def test_amqp_send_reports_a_peer_that_does_not_answer_in_amqp(
    answer: bytes, reason: AttemptResult, words: str, make_event: MakeEvent
) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        url = f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = AmqpSettings.model_validate({"type": "amqp", "url": url, "timeout": "5s"})
        destination = AmqpDestination("there", settings, SystemClock())
        outcome = await destination.send([Delivery(make_event(), "there")])
        await destination.close()
    assert outcome.reason is reason
    assert words in outcome.detail
