"""Certificate files that change on disk are used without a restart of the daemon."""

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from notifier.config.webhooks import HttpSettings
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.destinations.webhook.destination import HttpDestination
from notifier.http.tls import CHECK_EVERY_SECONDS, CertificateFileError, Certificates, TlsContextCache
from notifier.store.tables.outbox import Delivery

if TYPE_CHECKING:
    from tests.support.clocks import FakeClock
    from tests.support.destinations import CertificateFiles, MakeEvent, Receiver

pytestmark = pytest.mark.usefixtures("way_to_post")


@dataclass(frozen=True, slots=True)
class Files:
    """The configured paths of the certificate files."""

    authority: Path
    client: Path
    key: Path

    def trust(self, pair: "CertificateFiles") -> None:
        shutil.copy(pair.certificate, self.authority)

    def show(self, pair: "CertificateFiles") -> None:
        shutil.copy(pair.certificate, self.client)
        shutil.copy(pair.key, self.key)


@pytest.fixture
def files(tmp_path: Path, certificates: "CertificateFiles") -> Files:
    made = Files(tmp_path / "authority.pem", tmp_path / "client.pem", tmp_path / "client.key")
    made.trust(certificates)
    made.show(certificates)
    return made


@pytest.fixture
def sent(make_event: "MakeEvent", deliveries: Callable[..., list[Delivery]]) -> list[Delivery]:
    return deliveries(make_event())


Connect = Callable[["Receiver"], HttpDestination]


@pytest.fixture
def connect(session: aiohttp.ClientSession, clock: "FakeClock", files: Files) -> Connect:
    def connected(receiver: "Receiver") -> HttpDestination:
        settings = HttpSettings.model_validate(
            {
                "type": "http",
                "url": receiver.url,
                "ca_file": files.authority,
                "client_cert_file": files.client,
                "client_key_file": files.key,
            }
        )
        return HttpDestination("there", settings, session, clock)

    return connected


async def test_an_authority_that_is_replaced_is_trusted_without_a_restart(
    connect: Connect,
    tls_receiver: "Receiver",
    sent: list[Delivery],
    clock: "FakeClock",
    files: Files,
    certificates: "CertificateFiles",
    renewed_certificates: "CertificateFiles",
) -> None:
    files.trust(renewed_certificates)
    destination = connect(tls_receiver)
    assert (await destination.send(sent)).reason is AttemptResult.CERTIFICATE_REJECTED
    files.trust(certificates)
    clock.advance(CHECK_EVERY_SECONDS)
    assert (await destination.send(sent)).reason is AttemptResult.DELIVERED


async def test_an_authority_that_is_taken_away_is_trusted_no_longer_though_a_connection_is_open(
    connect: Connect,
    tls_receiver: "Receiver",
    sent: list[Delivery],
    clock: "FakeClock",
    files: Files,
    renewed_certificates: "CertificateFiles",
) -> None:
    destination = connect(tls_receiver)
    assert (await destination.send(sent)).reason is AttemptResult.DELIVERED
    files.trust(renewed_certificates)
    clock.advance(CHECK_EVERY_SECONDS)
    assert await destination.send(sent) == Outcome(
        AttemptResult.CERTIFICATE_REJECTED, detail="TLS failed: self-signed certificate"
    )


async def test_a_renewed_client_certificate_is_the_one_that_is_shown(
    connect: Connect,
    strict_receiver: "Receiver",
    sent: list[Delivery],
    clock: "FakeClock",
    files: Files,
    renewed_certificates: "CertificateFiles",
) -> None:
    names: list[str] = []

    async def note_the_name(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        names.append(request.transport.get_extra_info("peercert")["subject"][0][0][1])
        return web.Response()

    strict_receiver.script = note_the_name
    destination = connect(strict_receiver)
    await destination.send(sent)
    files.show(renewed_certificates)
    clock.advance(CHECK_EVERY_SECONDS)
    await destination.send(sent)
    assert names == ["test", "renewed"]


async def test_a_renewal_that_has_come_half_way_is_endpoint_trouble_until_it_is_whole(
    connect: Connect,
    strict_receiver: "Receiver",
    sent: list[Delivery],
    clock: "FakeClock",
    files: Files,
    renewed_certificates: "CertificateFiles",
) -> None:
    destination = connect(strict_receiver)
    await destination.send(sent)
    shutil.copy(renewed_certificates.certificate, files.client)
    clock.advance(CHECK_EVERY_SECONDS)
    for _ in range(2):
        outcome = await destination.send(sent)
        assert outcome.reason is AttemptResult.CERTIFICATE_REJECTED
        assert outcome.detail.startswith(
            f"client_cert_file {files.client} with client_key_file {files.key}: it contains no usable"
        )
    shutil.copy(renewed_certificates.key, files.key)
    assert (await destination.send(sent)).reason is AttemptResult.DELIVERED


async def test_files_that_stay_as_they_are_are_read_once_however_many_ask(clock: "FakeClock", files: Files) -> None:
    trust = TlsContextCache(Certificates(files.authority), clock)
    contexts = set(await asyncio.gather(*(trust.context() for _ in range(8))))
    clock.advance(CHECK_EVERY_SECONDS)
    contexts.add(await trust.context())
    assert len(contexts) == 1


async def test_a_file_that_goes_missing_is_missed(clock: "FakeClock", files: Files) -> None:
    trust = TlsContextCache(Certificates(files.authority), clock)
    await trust.context()
    files.authority.unlink()
    clock.advance(CHECK_EVERY_SECONDS)
    with pytest.raises(CertificateFileError, match="No such file"):
        await trust.context()


async def test_a_file_that_becomes_a_pipe_is_not_opened(clock: "FakeClock", files: Files) -> None:
    trust = TlsContextCache(Certificates(files.authority), clock)
    await trust.context()
    files.authority.unlink()
    os.mkfifo(files.authority)
    clock.advance(CHECK_EVERY_SECONDS)
    with pytest.raises(CertificateFileError, match=r"ca_file .*: it is a named pipe, not a regular file"):
        await trust.context()


async def test_without_certificates_of_its_own_the_system_s_are_trusted(clock: "FakeClock") -> None:
    assert await TlsContextCache(Certificates(), clock).context() is True
