import asyncio
import base64
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from notifier import __version__
from notifier.clock import Clock, SystemClock
from notifier.config.webhooks import HttpSettings
from notifier.destinations.base import Grouping
from notifier.destinations.outcome import AttemptResult
from notifier.destinations.webhook.destination import HttpDestination
from notifier.events import batch_id
from notifier.store.tables.outbox import Delivery

if TYPE_CHECKING:
    from tests.support.clocks import FakeClock
    from tests.support.destinations import CertificateFiles, MakeEvent, Receiver

pytestmark = pytest.mark.usefixtures("way_to_post")
SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes or more").decode()
Make = Callable[..., HttpDestination]
Deliveries = Callable[..., list[Delivery]]


@pytest.fixture
def make(session: aiohttp.ClientSession, clock: "FakeClock") -> Make:
    def made(url: str, clock: Clock = clock, **keys: Any) -> HttpDestination:
        settings = HttpSettings.model_validate({"type": "http", "url": url, "timeout": "5s", **keys})
        return HttpDestination("there", settings, session, clock)

    return made


@pytest.fixture
def sent(make_event: "MakeEvent", deliveries: Deliveries) -> list[Delivery]:
    return deliveries(make_event())


async def test_webhook_request_has_the_documented_headers(
    make: Make, receiver: "Receiver", sent: list[Delivery]
) -> None:
    await make(receiver.url, secret=SECRET, headers={"X-Key": "value"}).send(sent)
    headers = receiver.received[0].headers
    assert headers["webhook-id"] == sent[0].event.id
    assert headers["webhook-timestamp"] == "1795280400"
    assert headers["webhook-signature"].startswith("v1,")
    assert headers["user-agent"] == f"completion-notifier/{__version__}"
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["x-key"] == "value"


async def test_a_request_without_a_secret_is_not_signed(make: Make, receiver: "Receiver", sent: list[Delivery]) -> None:
    await make(receiver.url).send(sent)
    assert "webhook-signature" not in receiver.received[0].headers


async def test_webhook_request_passes_verification(make: Make, receiver: "Receiver", sent: list[Delivery]) -> None:
    await make(receiver.url, SystemClock(), secret=SECRET).send(sent)
    received = receiver.received[0]
    parsed = Webhook(SECRET).verify(received.body, dict(received.headers))
    assert parsed["data"]["completion"]["user_name"] == "David Ball"


async def test_webhook_retry_has_the_same_id_and_body_and_a_new_timestamp(
    make: Make, receiver: "Receiver", sent: list[Delivery], clock: "FakeClock"
) -> None:
    destination = make(receiver.url, secret=SECRET)
    await destination.send(sent)
    clock.advance(5)
    await destination.send(sent)
    first, again = receiver.received
    assert first.body == again.body
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert (first.headers["webhook-timestamp"], again.headers["webhook-timestamp"]) == ("1795280400", "1795280405")
    assert first.headers["webhook-signature"] != again.headers["webhook-signature"]


async def test_webhook_batch_has_its_own_id(
    make: Make, receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    events = [make_event(sequence) for sequence in range(1, 4)]
    await make(receiver.url, batch_size=100, secret=SECRET).send(deliveries(*events))
    received = receiver.received[0]
    assert received.headers["content-type"] == "application/cloudevents-batch+json"
    assert received.headers["webhook-id"] == batch_id(tuple(event.id for event in events))
    assert [event["id"] for event in orjson.loads(received.body)] == [event.id for event in events]


async def test_webhook_batch_of_megabytes_arrives_complete(
    make: Make, receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    events = [make_event(sequence, notes="n" * 4000) for sequence in range(1, 1001)]
    outcome = await make(receiver.url, batch_size=1000).send(deliveries(*events))
    assert outcome.reason is AttemptResult.DELIVERED
    assert len(orjson.loads(receiver.received[0].body)) == 1000


def test_grouping_waits_only_if_batches_are_configured(make: Make) -> None:
    assert make("http://127.0.0.1").grouping == Grouping(size=1, wait_seconds=0.0)
    assert make("http://127.0.0.1", batch_size=5, batch_wait="2s").grouping == Grouping(size=5, wait_seconds=2.0)


async def test_webhook_send_accepts_an_endless_answer_with_status_200(
    make: Make, receiver: "Receiver", sent: list[Delivery]
) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"yes and " * 1000)

    receiver.script = endless
    assert (await make(receiver.url).send(sent)).reason is AttemptResult.DELIVERED


async def test_webhook_send_of_200_requests_at_once_delivers_all(
    make: Make, receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    destination = make(receiver.url)
    outcomes = await asyncio.gather(*(destination.send(deliveries(make_event(number))) for number in range(200)))
    assert {outcome.reason for outcome in outcomes} == {AttemptResult.DELIVERED}
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 200


async def test_webhook_send_trusts_the_authority_in_ca_file(
    make: Make, tls_receiver: "Receiver", sent: list[Delivery], certificates: "CertificateFiles"
) -> None:
    outcome = await make(tls_receiver.url, ca_file=str(certificates.certificate)).send(sent)
    assert outcome.reason is AttemptResult.DELIVERED


async def test_webhook_send_presents_the_client_certificate(
    make: Make, strict_receiver: "Receiver", sent: list[Delivery], certificates: "CertificateFiles"
) -> None:
    files = {
        "ca_file": certificates.certificate,
        "client_cert_file": certificates.certificate,
        "client_key_file": certificates.key,
    }
    assert (await make(strict_receiver.url, **files).send(sent)).reason is AttemptResult.DELIVERED


@asynccontextmanager
async def server_that_requires_a_client_certificate(certificates: "CertificateFiles") -> AsyncIterator[str]:
    """Run OpenSSL's test server, which answers a client without a certificate with a TLS alert; yield its URL."""
    command = "openssl s_server -accept 127.0.0.1:0 -Verify 1 -verify_return_error -www"
    files = {"-cert": certificates.certificate, "-key": certificates.key, "-CAfile": certificates.certificate}
    options = [str(part) for option in files.items() for part in option]
    server = await asyncio.create_subprocess_exec(*command.split(), *options, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    try:
        await server.stdout.readuntil(b"ACCEPT ")
        yield f"https://{(await server.stdout.readline()).decode().strip()}"
    finally:
        server.terminate()
        await server.communicate()


async def test_webhook_send_reports_a_missing_client_certificate(
    make: Make, sent: list[Delivery], certificates: "CertificateFiles"
) -> None:
    async with server_that_requires_a_client_certificate(certificates) as url:
        outcome = await make(url, ca_file=certificates.certificate).send(sent)
    assert (outcome.reason, outcome.detail) == (
        AttemptResult.CERTIFICATE_REJECTED,
        "TLS failed: TLSV13_ALERT_CERTIFICATE_REQUIRED",
    )


@pytest.fixture
def files(tmp_path: Path, certificates: "CertificateFiles") -> Path:
    """A folder with certificate and key files that do not belong together."""
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "certificate").write_bytes(certificates.certificate.read_bytes())
    commands = {
        "other": "openssl genpkey -algorithm ed25519 -out",
        "encrypted": f"openssl pkey -in {certificates.key} -aes256 -passout pass:secret -out",
    }
    for name, command in commands.items():
        subprocess.run([*command.split(), tmp_path / name], check=True, capture_output=True)
    return tmp_path


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"ca_file": "text"}, "ca_file FOLDER/text: it contains no usable certificate"),
        ({"ca_file": "gone"}, "ca_file FOLDER/gone: No such file or directory"),
        ({"client_cert_file": "text"}, "client_cert_file FOLDER/text: it contains no usable certificate with its"),
        (
            {"client_cert_file": "certificate"},
            "client_cert_file FOLDER/certificate: it contains no usable certificate with its",
        ),
        (
            {"client_cert_file": "certificate", "client_key_file": "gone"},
            "client_cert_file FOLDER/certificate with client_key_file FOLDER/gone: No such file or directory",
        ),
        (
            {"client_cert_file": "certificate", "client_key_file": "other"},
            "client_cert_file FOLDER/certificate with client_key_file FOLDER/other: it contains no usable certificate",
        ),
        (
            {"client_cert_file": "certificate", "client_key_file": "encrypted"},
            "client_cert_file FOLDER/certificate with client_key_file FOLDER/encrypted: it contains no usable ",
        ),
    ],
)
async def test_webhook_send_reports_an_unusable_certificate_file_every_time(
    make: Make, sent: list[Delivery], files: Path, broken: dict[str, str], words: str
) -> None:
    (files / "gone").touch()
    destination = make("https://127.0.0.1:9", **{key: files / name for key, name in broken.items()})
    (files / "gone").unlink()
    for _ in range(2):
        outcome = await destination.send(sent)
        assert outcome.reason is AttemptResult.CERTIFICATE_REJECTED
        assert outcome.detail.startswith(words.replace("FOLDER", str(files)))


async def test_webhook_send_uses_a_repaired_certificate_file_without_a_restart(
    make: Make, tls_receiver: "Receiver", sent: list[Delivery], files: Path
) -> None:
    authority = files / "text"
    destination = make(tls_receiver.url, ca_file=authority)
    assert (await destination.send(sent)).reason is AttemptResult.CERTIFICATE_REJECTED
    authority.write_bytes((files / "certificate").read_bytes())
    assert (await destination.send(sent)).reason is AttemptResult.DELIVERED
