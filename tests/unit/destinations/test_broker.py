"""What the message brokers share."""

import socket
import ssl
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.clock import SystemClock
from notifier.config.brokers import AmqpSettings
from notifier.destinations.broker import (
    BrokerDestination,
    Message,
    OutcomeCallback,
    combined_outcome,
    concurrent_groups,
    connection_error,
    message_of,
)
from notifier.destinations.outcome import AttemptResult, FailureScope, Outcome
from notifier.events import Event
from notifier.store.tables.outbox import Delivery
from tests.support.destinations import MakeEvent

messages = st.lists(st.sampled_from("abc"), max_size=12).map(
    lambda records: [Message(f"evt_{number}", "", "acme", record, b"") for number, record in enumerate(records)]
)


@given(messages)
def test_concurrent_groups_has_each_record_once_per_group_and_in_order(given: list[Message]) -> None:
    found = list(concurrent_groups(given))
    assert sorted(it.id for group in found for it in group) == sorted(it.id for it in given)
    assert all(len({it.record for it in group}) == len(group) > 0 for group in found)
    for record in "abc":
        assert [it for group in found for it in group if it.record == record] == [
            it for it in given if it.record == record
        ]


outcomes = st.lists(st.sampled_from(list(AttemptResult)).map(Outcome), min_size=1, max_size=5)


@given(outcomes)
def test_combined_outcome_is_delivered_only_if_every_message_is(given: Sequence[Outcome]) -> None:
    all_stored = all(one.reason is AttemptResult.DELIVERED for one in given)
    assert (combined_outcome(given).reason is AttemptResult.DELIVERED) == all_stored
    assert all_stored or combined_outcome(given) in given


def test_combined_outcome_has_the_detail_of_the_first_message() -> None:
    confirmed = [Outcome(AttemptResult.DELIVERED, detail=f"offset {number}") for number in range(3)]
    assert combined_outcome(confirmed[:1]).detail == "offset 0"
    assert combined_outcome(confirmed).detail == "offset 0; and 2 more"
    assert combined_outcome([]) == Outcome(AttemptResult.DELIVERED)


def test_combined_outcome_prefers_an_endpoint_failure_to_an_event_failure() -> None:
    of_event, of_endpoint = Outcome(AttemptResult.PAYLOAD_REFUSED), Outcome(AttemptResult.ACCESS_REFUSED)
    assert combined_outcome([Outcome(AttemptResult.DELIVERED), of_event, of_endpoint]) is of_endpoint


def test_message_of_an_alert_has_notifier_as_its_source(make_alert: MakeEvent, make_event: MakeEvent) -> None:
    assert message_of(make_alert()).fill_template("a/{source}/{type}") == "a/notifier/notifier.alert"
    assert message_of(make_event()).fill_template("a/{source}/{type}") == "a/acme/completion.created"
    assert message_of(make_event()).record == "acme/1238"


class FailingBroker(BrokerDestination):
    """A broker that confirms only some messages: `answers` maps the key of a record to the outcome."""

    def __init__(self, answers: dict[int, Outcome]) -> None:
        settings = AmqpSettings.model_validate(
            {"type": "amqp", "url": "amqp://127.0.0.1:1", "timeout": "2s", "batch_size": 10}
        )
        super().__init__("broker", settings, SystemClock())
        self._answers = answers
        self.published: list[str] = []

    async def _publish(self, messages: Sequence[Message], on_outcome: OutcomeCallback) -> None:
        self.published += [message.record for message in messages]
        for message in messages:
            if (outcome := self._answers.get(int(message.record.partition("/")[2]))) is not None:
                on_outcome(message, outcome)

    def _headers(self, message: Message) -> dict[str, str]:
        return {"record": message.record}

    async def close(self) -> None:
        pass


def deliveries_of(*keys: int) -> list[Delivery]:
    return [
        Delivery(Event(at, f"evt_{at}", "completion.created", "acme", str(key), 0, b"{}"), "broker")
        for at, key in enumerate(keys)
    ]


@pytest.mark.parametrize("failing", [1, 2])
async def test_broker_send_stops_after_a_failed_group_and_reports_the_failure(failing: int) -> None:
    broker = FailingBroker({failing: Outcome(AttemptResult.TARGET_MISSING)})
    outcome = await broker.send(deliveries_of(1, 2, 1))
    assert outcome.reason is AttemptResult.TARGET_MISSING
    assert broker.published == ["acme/1", "acme/2"]


async def test_broker_send_of_a_replay_publishes_only_unconfirmed_messages_again() -> None:
    delivered, refused = Outcome(AttemptResult.DELIVERED), Outcome(AttemptResult.PAYLOAD_REFUSED)
    broker = FailingBroker({1: delivered, 2: refused, 3: delivered})
    replayed = [replace(it, again=True) for it in deliveries_of(1, 2, 3)]
    assert (await broker.send(replayed)).reason is AttemptResult.PAYLOAD_REFUSED
    second = [replace(it, attempts=1) for it in replayed]
    assert (await broker.send(second[:1])).reason is AttemptResult.DELIVERED
    assert (await broker.send(second[1:])).reason is AttemptResult.PAYLOAD_REFUSED
    assert broker.published == ["acme/1", "acme/2", "acme/3", "acme/2"]
    # The delivery of the third event is dropped, and then replayed once more.
    assert (await broker.send(replayed[2:])).reason is AttemptResult.DELIVERED
    assert broker.published[4:] == ["acme/3"]


async def test_broker_send_raises_if_a_message_has_no_outcome() -> None:
    with pytest.raises(RuntimeError, match="left out"):
        await FailingBroker({1: Outcome(AttemptResult.DELIVERED)}).send(deliveries_of(1, 2))


@pytest.mark.parametrize(
    ("error", "reason", "scope"),
    [
        (ConnectionRefusedError(111, "x"), AttemptResult.CONNECT_FAILED, FailureScope.ENDPOINT),
        (TimeoutError("x"), AttemptResult.CONNECT_FAILED, FailureScope.ENDPOINT),
        (socket.gaierror(-2, "x"), AttemptResult.NAME_NOT_RESOLVED, FailureScope.ENDPOINT),
        (ConnectionResetError(104, "x"), AttemptResult.CONNECTION_LOST, FailureScope.UNKNOWN),
        (ssl.SSLCertVerificationError(), AttemptResult.CERTIFICATE_REJECTED, FailureScope.ENDPOINT),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), AttemptResult.PROTOCOL_BROKEN, FailureScope.UNKNOWN),
        (ssl.SSLError(1, "handshake"), AttemptResult.CERTIFICATE_REJECTED, FailureScope.ENDPOINT),
        (OSError(), AttemptResult.CONNECT_FAILED, FailureScope.ENDPOINT),
    ],
)
def test_connection_error_has_its_reason_and_scope(error: OSError, reason: AttemptResult, scope: FailureScope) -> None:
    outcome = connection_error(error).outcome
    assert (outcome.reason, outcome.scope) == (reason, scope)
    assert outcome.detail
