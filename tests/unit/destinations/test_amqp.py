"""Errors of AMQP."""

import pytest
from aiormq import exceptions
from pamqp.commands import Basic

from notifier.config.brokers import AmqpSettings
from notifier.destinations.amqp import _url, outcome_of
from notifier.destinations.outcome import AttemptResult, FailureScope


@pytest.mark.parametrize(
    ("error", "reason", "scope"),
    [
        (exceptions.DeliveryError(None, Basic.Nack(1)), AttemptResult.THROTTLED, FailureScope.PACE),
        (exceptions.DeliveryError(None, Basic.Return()), AttemptResult.TARGET_MISSING, FailureScope.ENDPOINT),
        (exceptions.ChannelAccessRefused("no"), AttemptResult.ACCESS_REFUSED, FailureScope.ENDPOINT),
        (exceptions.ChannelNotFoundEntity("no"), AttemptResult.TARGET_MISSING, FailureScope.ENDPOINT),
        (exceptions.ChannelPreconditionFailed("no"), AttemptResult.PAYLOAD_REFUSED, FailureScope.EVENT),
        (exceptions.ChannelClosed(541, "no"), AttemptResult.SERVER_ERROR, FailureScope.UNKNOWN),
        (exceptions.ConnectionClosed(320, "no"), AttemptResult.CONNECTION_LOST, FailureScope.UNKNOWN),
        (ConnectionResetError(), AttemptResult.CONNECTION_LOST, FailureScope.UNKNOWN),
    ],
)
def test_an_error_has_its_reason(error: Exception, reason: AttemptResult, scope: FailureScope) -> None:
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
def test_a_url_names_its_virtual_host(written: str, vhost: str, port: int) -> None:
    settings = AmqpSettings.model_validate({"type": "amqp", "url": written, "username": "u", "password": "p@:/#ü"})
    url = _url(settings)
    assert (url.path[1:], url.port, url.user, url.password) == (vhost, port, "u", "p@:/#ü")
