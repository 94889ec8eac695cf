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

    def install_client_certificate(self, pair: "CertificateFiles") -> None:
        shutil.copy(pair.certificate, self.client)
        shutil.copy(pair.key, self.key)


@pytest.fixture
def files(tmp_path: Path, certificates: "CertificateFiles") -> Files:
    made = Files(tmp_path / "authority.pem", tmp_path / "client.pem", tmp_path / "client.key")
    made.trust(certificates)
    made.install_client_certificate(certificates)
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


async def test_replaced_ca_file_is_trusted_without_a_restart(
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


async def test_removed_authority_is_not_trusted_even_on_an_open_connection(
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


async def test_renewed_client_certificate_is_presented_without_a_restart(
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
    files.install_client_certificate(renewed_certificates)
    clock.advance(CHECK_EVERY_SECONDS)
    await destination.send(sent)
    assert names == ["test", "renewed"]


async def test_renewed_client_certificate_is_rejected_until_its_key_is_there(
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


async def test_tls_context_cache_keeps_one_context_for_unchanged_files(clock: "FakeClock", files: Files) -> None:
    trust = TlsContextCache(Certificates(files.authority), clock)
    contexts = set(await asyncio.gather(*(trust.context() for _ in range(8))))
    clock.advance(CHECK_EVERY_SECONDS)
    contexts.add(await trust.context())
    assert len(contexts) == 1


async def test_tls_context_cache_raises_if_a_file_is_missing(clock: "FakeClock", files: Files) -> None:
    trust = TlsContextCache(Certificates(files.authority), clock)
    await trust.context()
    files.authority.unlink()
    clock.advance(CHECK_EVERY_SECONDS)
    with pytest.raises(CertificateFileError, match="No such file"):
        await trust.context()


async def test_tls_context_cache_raises_if_a_file_becomes_a_pipe(clock: "FakeClock", files: Files) -> None:
    trust = TlsContextCache(Certificates(files.authority), clock)
    await trust.context()
    files.authority.unlink()
    os.mkfifo(files.authority)
    clock.advance(CHECK_EVERY_SECONDS)
    with pytest.raises(CertificateFileError, match=r"ca_file .*: it is a named pipe, not a regular file"):
        await trust.context()


async def test_tls_context_cache_without_files_uses_the_system_s_authorities(clock: "FakeClock") -> None:
    assert await TlsContextCache(Certificates(), clock).context() is True
