"""The conformance suite for message brokers, whatever their protocols. A new type needs a new entry in KINDS."""

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace
from pydantic import TypeAdapter

from notifier.clock import SystemClock
from notifier.config.destination_types import Destination as AnySettings
from notifier.config.webhooks import HttpFormat
from notifier.delivery.dispatcher import Dispatcher
from notifier.destinations.base import Destination, SupportsPreview, close
from notifier.destinations.outcome import AttemptResult, FailureScope
from notifier.destinations.registry import build
from notifier.destinations.webhook import envelope
from notifier.events import Event
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.request_log import digest
from tests.support.brokers.common import PASSWORD, WRONG_PASSWORD, Broker, tcp_proxy_to
from tests.support.brokers.mock_kafka import MockKafka, mock_kafka
from tests.support.brokers.mosquitto import mosquitto
from tests.support.brokers.moto_server import BUS, FIFO_QUEUE, QUEUE, TOPIC, Moto, moto_server
from tests.support.brokers.rabbitmq import Rabbit, rabbitmq
from tests.support.command_line import Home
from tests.support.destinations import CertificateFiles, MakeEvent
from tests.support.ports import free_port
from tests.support.waiting import until
from tests.support.workers import SHORT_WAITS, Rig

SETTINGS: TypeAdapter[AnySettings] = TypeAdapter(AnySettings)


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of broker: how it runs, the topic or queue of the default destination, and a pattern of confirmations.

    `missing` are settings with a target that does not exist; `forbidden` has a target to which the user may not write.
    `impatient` is the time limit in seconds of attempts that must time out. `connections` is the most connections that
    twenty simultaneous attempts may use.
    """

    running: Callable[[Path, CertificateFiles], AbstractContextManager[Any]]
    where: str
    confirmation: str
    missing: Sequence[Mapping[str, Any]] = ()
    forbidden: Mapping[str, Any] = field(default_factory=dict)
    largest_bytes: int = 300_000
    impatient: float = 0.7
    connections: int = 2


SHARED: Mapping[str, Callable[[Moto], Moto]] = {"aws-topic": Moto.topic, "aws-bus": Moto.bus}
"""The kinds that use the server of the kind `aws`."""

KINDS = {
    "aws": Kind(
        moto_server,
        QUEUE,
        r"message id [0-9a-f-]{36}",
        missing=[{"arn": f"{QUEUE}-nowhere"}],
        largest_bytes=1_200_000,
        connections=20,
    ),
    "aws-topic": Kind(
        moto_server,
        TOPIC,
        r"message id [0-9a-f-]{36}",
        missing=[{"arn": f"{TOPIC}-nowhere"}],
        largest_bytes=1_200_000,
        connections=20,
    ),
    "aws-bus": Kind(moto_server, BUS, r"message id [0-9a-f-]{36}", largest_bytes=1_200_000, connections=20),
    "kafka": Kind(
        mock_kafka,
        "training",
        r"^partition \d+, offset \d+$",
        missing=[{"topic": "nowhere"}],
        largest_bytes=25_000_000,
        impatient=3.0,
    ),
    "amqp": Kind(
        rabbitmq,
        "completion.created.acme",
        r"^basic\.ack, delivery tag \d+$",
        missing=[{"exchange": "nowhere"}, {"exchange": "", "routing_key": "nowhere"}, {"routing_key": "unbound"}],
        forbidden={"exchange": "amq.rabbitmq.trace"},
    ),
    "mqtt": Kind(
        mosquitto,
        "training/acme/completion.created",
        r"^the broker answers 0x00: Success$",
        forbidden={"topic": "elsewhere/{type}"},
    ),
}


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory, certificates: CertificateFiles) -> Iterator[Callable[[str], Any]]:
    """Return a function that returns a running broker, and starts it at its first use."""
    running: dict[str, tuple[AbstractContextManager[Any], Any]] = {}

    def of(name: str) -> Any:
        if name in SHARED:
            return SHARED[name](of("aws"))
        if name not in running:
            context = KINDS[name].running(tmp_path_factory.mktemp(name), certificates)
            running[name] = (context, context.__enter__())
        return running[name][1]

    yield of
    for context, _ in running.values():
        context.__exit__(None, None, None)


@pytest.fixture(params=KINDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kind(name: str) -> Kind:
    return KINDS[name]


@pytest.fixture
def broker(name: str, brokers: Callable[[str], Any]) -> Broker:
    running: Broker = brokers(name)
    return running


@pytest.fixture
def port(broker: Any) -> int:
    """The port of the broker, for `tcp_proxy_to`."""
    return int(broker.port)


@pytest.fixture
def rabbit(brokers: Callable[[str], Any]) -> Rabbit:
    running: Rabbit = brokers("amqp")
    return running


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path / "notifier.db") as standing:
        yield standing


Make = Callable[..., Destination]


@pytest.fixture
async def make(session: aiohttp.ClientSession) -> AsyncIterator[Make]:
    """Return a function that creates a destination from settings. Each destination is closed after the test."""
    made: list[Destination] = []

    def make(keys: Mapping[str, Any], **more: Any) -> Destination:
        settings = SETTINGS.validate_python({"timeout": "10s", **keys, **more})
        made.append(build("there", settings, session, SystemClock()))
        return made[-1]

    yield make
    for destination in made:
        await close(destination)


def deliveries_of(*events: Event) -> list[Delivery]:
    return [Delivery(event, "there") for event in events]


async def test_send_stores_an_event_under_its_id(kind: Kind, broker: Broker, make: Make, make_event: MakeEvent) -> None:
    event = make_event(notes="a & b = <\u00fc>")
    outcome = await make(broker.keys()).send(deliveries_of(event))
    assert outcome.reason is AttemptResult.DELIVERED
    assert re.search(kind.confirmation, outcome.detail)
    (message,) = await broker.stored(1)
    assert message.id == event.id
    assert message.where == kind.where
    # An event bus may format the JSON differently.
    assert json.loads(message.body) == json.loads(envelope.single(event, HttpFormat.CLOUDEVENTS).body)
    assert message.content_type in {"application/cloudevents+json", ""}


def ids(events: list[Event]) -> list[str]:
    return [event.id for event in events]


async def test_batch_becomes_one_message_per_event_in_the_order_of_each_record(
    broker: Broker, make: Make, make_event: MakeEvent
) -> None:
    events = [make_event(number, key=f"record-{number % 3}") for number in range(100, 112)]
    outcome = await make(broker.keys(batch_size=100)).send(deliveries_of(*events))
    assert outcome.reason is AttemptResult.DELIVERED
    messages = await broker.stored(12)
    assert sorted(message.id for message in messages) == sorted(ids(events))
    for record in range(3):
        subject = f"record-{record}"
        of_record = [message.id for message in messages if json.loads(message.body)["subject"] == subject]
        assert of_record == ids([event for event in events if event.subject == subject])


async def test_request_log_has_headers_body_digest_and_answer_of_an_attempt(
    kind: Kind, broker: Broker, make: Make, make_event: MakeEvent
) -> None:
    destination = make(broker.keys(batch_size=10))
    events = [make_event(150), make_event(151, key="bad", notes="x" * kind.largest_bytes)]
    outcome = await destination.send(deliveries_of(*events))
    assert outcome.request is not None
    assert isinstance(destination, SupportsPreview)
    logged, previewed = outcome.request(), await destination.preview(deliveries_of(*events))
    assert logged.headers == tuple(previewed.headers.items())
    assert kind.where in dict(logged.headers).values()
    assert (logged.body_bytes, logged.body_digest) == (len(previewed.body), digest(previewed.body))
    assert logged.answer_headers is not None
    answers = dict(logged.answer_headers)
    assert re.search(kind.confirmation, answers[events[0].id])
    assert answers[events[1].id] == outcome.detail
    assert PASSWORD not in f"{logged}"
    await broker.stored(1)
    unreachable = await make(broker.keys(port=free_port()), timeout="2s").send(deliveries_of(events[0]))
    assert unreachable.request is not None
    assert unreachable.request().answer_headers is None


async def test_simultaneous_attempts_share_connections(
    kind: Kind, broker: Broker, make: Make, make_event: MakeEvent, port: int
) -> None:
    events = [make_event(number) for number in range(200, 220)]
    async with tcp_proxy_to(port) as proxy:
        destination = make(broker.keys(port=proxy.port))
        outcomes = await asyncio.gather(*(destination.send(deliveries_of(event)) for event in events))
        assert {outcome.reason for outcome in outcomes} == {AttemptResult.DELIVERED}
        assert proxy.connections <= kind.connections
    assert {message.id for message in await broker.stored(20)} == set(ids(events))


async def test_refused_login_is_named_without_the_password(broker: Broker, make: Make, make_event: MakeEvent) -> None:
    outcome = await make(broker.keys(password=WRONG_PASSWORD)).send(deliveries_of(make_event()))
    assert (outcome.reason, outcome.scope) == (AttemptResult.ACCESS_REFUSED, FailureScope.ENDPOINT)
    assert outcome.detail
    assert WRONG_PASSWORD not in outcome.detail


async def test_missing_right_is_access_refused(kind: Kind, broker: Broker, make: Make, make_event: MakeEvent) -> None:
    if not kind.forbidden:
        return
    destination = make(broker.keys(**kind.forbidden))
    outcome = await destination.send(deliveries_of(make_event()))
    assert (outcome.reason, outcome.scope) == (AttemptResult.ACCESS_REFUSED, FailureScope.ENDPOINT)


async def test_missing_target_is_target_missing(kind: Kind, broker: Broker, make: Make, make_event: MakeEvent) -> None:
    for keys in kind.missing:
        outcome = await make(broker.keys(**keys)).send(deliveries_of(make_event()))
        assert (outcome.reason, outcome.scope) == (AttemptResult.TARGET_MISSING, FailureScope.UNKNOWN), keys
        assert outcome.detail


async def test_too_large_message_is_refused_and_the_next_one_is_stored(
    kind: Kind, broker: Broker, make: Make, make_event: MakeEvent
) -> None:
    destination, event = make(broker.keys()), make_event(300)
    outcome = await destination.send(deliveries_of(make_event(301, notes="x" * kind.largest_bytes)))
    assert (outcome.reason, outcome.scope) == (AttemptResult.PAYLOAD_REFUSED, FailureScope.EVENT), outcome.detail
    assert (await destination.send(deliveries_of(event))).reason is AttemptResult.DELIVERED
    (message,) = await broker.stored(1)
    assert message.id == event.id


async def test_events_already_stored_from_a_refused_batch_are_not_published_again(
    kind: Kind, broker: Broker, make: Make, make_event: MakeEvent
) -> None:
    good = [make_event(number) for number in range(310, 313)]
    after_bad = make_event(314, key="bad")
    events = [*good[:2], make_event(313, key="bad", notes="x" * kind.largest_bytes), after_bad, good[2]]
    destination = make(broker.keys(batch_size=10))
    outcome = await destination.send(deliveries_of(*events))
    assert (outcome.reason, outcome.scope) == (AttemptResult.PAYLOAD_REFUSED, FailureScope.EVENT), outcome.detail
    # The policy halves the batch as often as necessary; the later event of the refused record is sent last.
    for event in [*good, after_bad]:
        assert (await destination.send(deliveries_of(event))).reason is AttemptResult.DELIVERED
    messages = await broker.stored(4)
    assert sorted(message.id for message in messages) == sorted(ids([*good, after_bad]))
    assert messages[-1].id == after_bad.id


async def test_delivery_that_is_requested_again_is_published_again(
    broker: Broker, make: Make, make_event: MakeEvent
) -> None:
    event, destination = make_event(320), make(broker.keys())
    for again in (False, True):
        (delivery,) = deliveries_of(event)
        outcome = await destination.send([replace(delivery, again=again)])
        assert outcome.reason is AttemptResult.DELIVERED
    assert [message.id for message in await broker.stored(2)] == [event.id, event.id]


async def test_silent_broker_times_out_and_is_used_again_once_it_answers(
    kind: Kind, broker: Broker, make: Make, make_event: MakeEvent, port: int
) -> None:
    async with tcp_proxy_to(port) as proxy:
        destination = make(broker.keys(port=proxy.port), timeout=f"{kind.impatient * 1000:.0f}ms")
        assert (await destination.send(deliveries_of(make_event(400)))).reason is AttemptResult.DELIVERED
        proxy.holds_answers = True
        begun = time.monotonic()
        outcome = await destination.send(deliveries_of(make_event(401)))
        assert (outcome.reason, outcome.scope) == (AttemptResult.TIMEOUT, FailureScope.UNKNOWN)
        assert time.monotonic() - begun < kind.impatient + 2
        proxy.holds_answers = False
        assert (await destination.send(deliveries_of(make_event(402)))).reason is AttemptResult.DELIVERED
    received: list[str] = []
    while not received or received[-1] != make_event(402).id:
        received += [message.id for message in await broker.stored(1)]
    assert [one for one in received if one != make_event(401).id] == [make_event(400).id, make_event(402).id]


async def test_connection_cut_before_the_confirmation_is_connection_lost_then_usable(
    broker: Broker, make: Make, make_event: MakeEvent, port: int
) -> None:
    async with tcp_proxy_to(port) as proxy:
        destination = make(broker.keys(port=proxy.port))
        assert (await destination.send(deliveries_of(make_event(410)))).reason is AttemptResult.DELIVERED
        proxy.holds_answers = True
        before = proxy.to_broker
        attempt = asyncio.create_task(destination.send(deliveries_of(make_event(411))))
        await until(
            lambda: proxy.to_broker > before + len(envelope.single(make_event(411), HttpFormat.CLOUDEVENTS).body)
        )
        proxy.cut()
        outcome = await attempt
        assert outcome.reason is AttemptResult.CONNECTION_LOST
        assert outcome.scope is FailureScope.UNKNOWN
        proxy.holds_answers = False
        assert (await destination.send(deliveries_of(make_event(411)))).reason is AttemptResult.DELIVERED
    received = [message.id for message in await broker.stored(2)]
    while received[-1] != make_event(411).id:
        received += [message.id for message in await broker.stored(1)]


async def test_idle_connection_that_breaks_is_opened_again(
    broker: Broker, make: Make, make_event: MakeEvent, port: int
) -> None:
    async with tcp_proxy_to(port) as proxy:
        destination = make(broker.keys(port=proxy.port))
        assert (await destination.send(deliveries_of(make_event(420)))).reason is AttemptResult.DELIVERED
        proxy.cut()
        await asyncio.sleep(0.05)
        assert (await destination.send(deliveries_of(make_event(421)))).reason is AttemptResult.DELIVERED
    wanted = ids([make_event(420), make_event(421)])
    received: list[str] = []
    while not received or received[-1] != wanted[-1]:
        received += [message.id for message in await broker.stored(1)]
    # Messages that an earlier test has sent twice may arrive late.
    assert [one for one in received if one in wanted] == wanted


async def test_refused_connection_is_named_each_time(broker: Broker, make: Make, make_event: MakeEvent) -> None:
    destination = make(broker.keys(port=free_port()), timeout="2s")
    for _ in range(2):
        outcome = await destination.send(deliveries_of(make_event()))
        assert (outcome.reason, outcome.detail) == (AttemptResult.CONNECT_FAILED, "no connection: Connection refused")


@pytest.mark.parametrize(
    "words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100, b"\x20\xff\xff\xff\x7f" + bytes(2000)]
)
async def test_peer_with_another_protocol_is_reported_as_a_failure(
    broker: Broker, make: Make, make_event: MakeEvent, words: bytes
) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        destination = make(broker.keys(port=server.sockets[0].getsockname()[1]), timeout="1s")
        outcome = await destination.send(deliveries_of(make_event()))
    assert outcome.reason in {
        *(AttemptResult.CONNECTION_LOST, AttemptResult.PROTOCOL_BROKEN, AttemptResult.TIMEOUT),
        *(AttemptResult.ANSWER_UNEXPECTED, AttemptResult.REFUSED),
    }
    assert outcome.detail


async def test_unresolvable_host_is_name_not_resolved(broker: Broker, make: Make, make_event: MakeEvent) -> None:
    keys = {key: value.replace("127.0.0.1", "nowhere.invalid") for key, value in broker.keys().items() if value}
    outcome = await make(keys, timeout="2s").send(deliveries_of(make_event()))
    assert outcome.reason is AttemptResult.NAME_NOT_RESOLVED
    assert "resolve" in outcome.detail


async def test_tls_accepts_only_a_trusted_certificate(
    broker: Broker,
    make: Make,
    make_event: MakeEvent,
    certificates: CertificateFiles,
    renewed_certificates: CertificateFiles,
) -> None:
    keys = broker.keys(tls=True)
    for wrong in ({}, {"ca_file": str(renewed_certificates.certificate)}):
        outcome = await make(keys, timeout="3s", **wrong).send(deliveries_of(make_event(430)))
        assert (outcome.reason, outcome.scope) == (AttemptResult.CERTIFICATE_REJECTED, FailureScope.ENDPOINT)
        assert "certificate" in outcome.detail
    trusting = make(keys, ca_file=str(certificates.certificate))
    assert (await trusting.send(deliveries_of(make_event(431)))).reason is AttemptResult.DELIVERED
    assert [message.id for message in await broker.stored(1)] == [make_event(431).id]


@pytest.mark.parametrize("tls", [False, True])
async def test_kafka_login_works_with_and_without_tls(
    brokers: Callable[[str], Any], make: Make, make_event: MakeEvent, certificates: CertificateFiles, *, tls: bool
) -> None:
    kafka: MockKafka = brokers("kafka")
    ca_file = str(certificates.certificate) if tls else ""
    destination = make(kafka.keys(tls=tls, password=PASSWORD, ca_file=ca_file))
    assert (await destination.send(deliveries_of(make_event(435)))).reason is AttemptResult.DELIVERED
    assert [message.id for message in await kafka.stored(1)] == [make_event(435).id]
    refused = make(kafka.keys(tls=tls, password=WRONG_PASSWORD, ca_file=ca_file))
    assert (await refused.send(deliveries_of(make_event(436)))).reason is AttemptResult.ACCESS_REFUSED


async def test_unusable_ca_file_is_certificate_rejected_and_named(
    broker: Broker, make: Make, make_event: MakeEvent, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    outcome = await make(broker.keys(tls=True), ca_file=str(file)).send(deliveries_of(make_event()))
    assert outcome.reason is AttemptResult.CERTIFICATE_REJECTED
    assert str(file) in outcome.detail


async def test_closed_destination_leaves_no_thread_and_can_be_used_again(
    broker: Broker, make: Make, make_event: MakeEvent
) -> None:
    before = threading.active_count()
    destination = make(broker.keys())
    for number in (440, 441):
        assert (await destination.send(deliveries_of(make_event(number)))).reason is AttemptResult.DELIVERED
        await close(destination)
        await until(lambda: threading.active_count() <= before)
    await broker.stored(2)


async def test_preview_shows_the_message_without_a_connection_or_secrets(
    kind: Kind, broker: Broker, make: Make, make_event: MakeEvent
) -> None:
    destination = make(broker.keys(batch_size=2, port=free_port()))
    assert isinstance(destination, SupportsPreview)
    one = await destination.preview(deliveries_of(make_event()))
    assert one.body == envelope.single(make_event(), HttpFormat.CLOUDEVENTS).body
    assert kind.where in one.headers.values()
    two = await destination.preview(deliveries_of(make_event(1), make_event(2)))
    assert [event["id"] for event in json.loads(two.body)] == ids([make_event(1), make_event(2)])
    assert PASSWORD not in f"{one} {two}"


async def test_dispatcher_delivers_to_the_broker_and_reload_and_stop_close_connections(
    kind: Kind, broker: Broker, make_event: MakeEvent, rig: Rig, port: int
) -> None:
    del make_event
    async with tcp_proxy_to(port) as proxy:
        settings = SETTINGS.validate_python({**broker.keys(port=proxy.port), **SHORT_WAITS})
        dispatcher = Dispatcher({"hr": settings}, rig.store, rig.clock)
        await dispatcher.start(rig.session)
        for number, keys in enumerate((["1", "2"], ["3"])):
            await rig.enter(*keys)
            dispatcher.wake()
            await rig.settled()
            if number == 0:
                tuned = SETTINGS.validate_python({**broker.keys(port=proxy.port), **SHORT_WAITS, "concurrency": 1})
                await dispatcher.apply_settings({"hr": tuned}, rig.session, changed=["hr"], grace=1.0)
        await dispatcher.stop(1.0)
        await until(lambda: all(writer.is_closing() for writer in proxy.writers))
        assert proxy.connections >= 2
    messages = await broker.stored(3)
    assert [json.loads(message.body)["subject"] for message in messages] == ["1", "2", "3"]
    assert await rig.states() == {"delivered": 3}
    logged = await rig.ask("SELECT sequences, answer_headers FROM request_log ORDER BY id")
    assert "".join(sequences for sequences, _ in logged) == "123"
    assert all(re.search(kind.confirmation.strip("^$"), json.loads(told)[0][1]) for _, told in logged)
    assert all(kind.where == message.where for message in messages)


async def test_test_command_sends_a_sample_event_and_reports_a_refusal(broker: Broker, home: Home) -> None:
    def configure(**more: Any) -> None:
        keys = "\n".join(f"{key} = {json.dumps(value)}" for key, value in broker.keys(**more).items())
        home.configure(more=f"[destinations.bus]\n{keys}\n")

    configure()
    called = await home.call("test", "bus")
    assert (called.code, called.err) == (0, "")
    assert "delivered" in called.out
    (message,) = await broker.stored(1)
    assert b"Sample Training (a test by Completion Notifier)" in message.body
    configure(password=WRONG_PASSWORD)
    called = await home.call("test", "bus")
    assert called.code == 1
    assert "bus did not accept the event (access_refused): check the user name, the password" in called.err
    assert WRONG_PASSWORD not in called.out + called.err


async def test_fifo_queue_keeps_the_order_of_each_record(
    brokers: Callable[[str], Any], make: Make, make_event: MakeEvent
) -> None:
    moto: Moto = brokers("aws")
    events = [make_event(number, key=f"record-{number % 2}") for number in range(500, 525)]
    outcome = await make(moto.keys(arn=FIFO_QUEUE, batch_size=100)).send(deliveries_of(*events))
    assert outcome.reason is AttemptResult.DELIVERED
    found = await asyncio.to_thread(moto.in_queue, "training.fifo", 25)
    for record in range(2):
        in_group = [message.id for message in found if message.order == f"acme/record-{record}"]
        assert in_group == ids([event for event in events if event.subject == f"record-{record}"])


async def test_blocked_rabbitmq_is_throttled_and_stores_each_event_once_when_unblocked(
    rabbit: Rabbit, make: Make, make_event: MakeEvent, rig: Rig
) -> None:
    before, first, second, other = (make_event(number, key=f"key-{number % 2}") for number in (600, 601, 603, 604))
    destination = make(rabbit.keys(), timeout="500ms")
    assert (await destination.send(deliveries_of(before))).reason is AttemptResult.DELIVERED
    settings = SETTINGS.validate_python({**rabbit.keys(), **SHORT_WAITS, "timeout": "500ms"})
    dispatcher = Dispatcher({"hr": settings}, rig.store, rig.clock)
    await dispatcher.start(rig.session)
    await asyncio.to_thread(rabbit.control, "set_vm_memory_high_watermark", "0")
    try:
        for event in (first, second, other, first):
            outcome = await destination.send(deliveries_of(event))
            assert (outcome.reason, outcome.scope) == (AttemptResult.THROTTLED, FailureScope.PACE), outcome.detail
            assert "broker blocked" in outcome.detail
        await rig.enter("1", "2")
        dispatcher.wake()
        async with asyncio.timeout(20):
            while "broker blocked" not in str(await rig.ask("SELECT error_message FROM destinations")):
                await asyncio.sleep(0.05)
    finally:
        await asyncio.to_thread(rabbit.control, "set_vm_memory_high_watermark", "absolute", "1GB")
    for event in (second, first, other):
        assert (await destination.send(deliveries_of(event))).reason is AttemptResult.DELIVERED
    await rig.settled()
    await dispatcher.stop(1.0)
    stored = [json.loads(message.body) for message in await rabbit.stored(6)]
    assert sorted(event["subject"] for event in stored) == sorted(["1", "2", "key-0", "key-0", "key-1", "key-1"])
    known = ids([before, first, second, other])
    assert [event["id"] for event in stored if event["id"] in known] == known
