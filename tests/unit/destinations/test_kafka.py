"""Errors and the configuration of the Kafka library."""

from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from notifier.config.brokers import KafkaSettings
from notifier.destinations.kafka import outcome_of, producer_configuration
from notifier.destinations.outcome import AttemptResult, FailureScope


@pytest.mark.parametrize(
    ("code", "words", "reason", "scope"),
    [
        (KafkaError.SASL_AUTHENTICATION_FAILED, "no", AttemptResult.ACCESS_REFUSED, FailureScope.ENDPOINT),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "no", AttemptResult.ACCESS_REFUSED, FailureScope.ENDPOINT),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "no", AttemptResult.TARGET_MISSING, FailureScope.UNKNOWN),
        (KafkaError.MSG_SIZE_TOO_LARGE, "no", AttemptResult.PAYLOAD_REFUSED, FailureScope.EVENT),
        (KafkaError._MSG_TIMED_OUT, "no", AttemptResult.TIMEOUT, FailureScope.UNKNOWN),
        (KafkaError.THROTTLING_QUOTA_EXCEEDED, "no", AttemptResult.THROTTLED, FailureScope.PACE),
        (KafkaError.NOT_ENOUGH_REPLICAS, "no", AttemptResult.SERVER_ERROR, FailureScope.UNKNOWN),
        (
            KafkaError._TRANSPORT,
            "a:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
            AttemptResult.CONNECT_FAILED,
            FailureScope.ENDPOINT,
        ),
        (
            KafkaError._TRANSPORT,
            "ssl://a:1/1: error:0A000086:SSL routines::certificate verify failed (after 1ms in state SSL_HANDSHAKE)",
            AttemptResult.CERTIFICATE_REJECTED,
            FailureScope.ENDPOINT,
        ),
    ],
)
def test_kafka_error_has_reason_and_scope(code: int, words: str, reason: AttemptResult, scope: FailureScope) -> None:
    outcome = outcome_of(code, words)
    assert (outcome.reason, outcome.scope) == (reason, scope)
    assert outcome.detail


@pytest.mark.parametrize(
    ("keys", "protocol"),
    [
        ({}, "SSL"),
        ({"tls": False}, "PLAINTEXT"),
        ({"username": "u", "password": "p"}, "SASL_SSL"),
        ({"username": "u", "password": "p", "tls": False}, "SASL_PLAINTEXT"),
    ],
)
def test_producer_configuration_takes_the_protocol_from_tls_and_login(keys: dict[str, object], protocol: str) -> None:
    written = {"type": "kafka", "servers": "a:1", "topic": "t", **keys}
    made = producer_configuration(KafkaSettings.model_validate(written))
    assert made["security.protocol"] == protocol
    assert (made["acks"], made["enable.idempotence"]) == ("all", True)
    assert ("ssl.ca.location" in made) == ("SSL" in protocol)
    assert ("sasl.password" in made) == ("SASL" in protocol)


def test_producer_configuration_contains_the_certificate_files(tmp_path: Path) -> None:
    files = {key: tmp_path / key for key in ("ca_file", "client_cert_file")}
    for file in files.values():
        file.write_text("x")
    written = {"type": "kafka", "servers": "a:1", "topic": "t", **{key: str(file) for key, file in files.items()}}
    made = producer_configuration(KafkaSettings.model_validate(written))
    assert made["ssl.ca.location"] == str(files["ca_file"])
    assert made["ssl.certificate.location"] == made["ssl.key.location"] == str(files["client_cert_file"])
