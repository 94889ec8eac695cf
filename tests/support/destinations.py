"""A scripted receiver for tests of destinations, its certificates, and events to deliver."""

import base64
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from notifier.events import Event, EventType
from notifier.http.exchange import new_session
from notifier.store.tables.outbox import Delivery

NOW_MS = 1_795_280_400_123
"""2026-11-21T17:00:00.123Z"""

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Received:
    """A request that the receiver got."""

    path: str
    headers: CIMultiDictProxy[str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """A local server that records every request; `script` makes the answer (None: status 200, body `ok`)."""

    url: str
    received: list[Received] = field(default_factory=list)
    script: Script | None = None

    def answers(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Give the same answer to every request. `_` in a header's name stands for `-`."""
        named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})

        async def script(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body, headers=named)

        self.script = script

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.received.append(Received(request.path_qs, request.headers, await request.read()))
        if self.script is None:
            return web.Response(body=b"ok")
        return await self.script(request)


async def _serve(context: ssl.SSLContext | None) -> tuple[Receiver, web.AppRunner]:
    receiver = Receiver("")
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    port = runner.addresses[0][1]
    receiver.url = f"{'http' if context is None else 'https'}://127.0.0.1:{port}"
    return receiver, runner


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    scripted, runner = await _serve(None)
    yield scripted
    await runner.cleanup()


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The files of a self-signed certificate, which can also serve as a certificate authority."""

    certificate: Path
    key: Path

    @property
    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context


def _self_signed(folder: Path, name: str) -> CertificateFiles:
    made = CertificateFiles(folder / "self-signed.pem", folder / "self-signed.key")
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made.certificate), "-keyout", str(made.key)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return made


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """A self-signed certificate for 127.0.0.1 with the name `test`."""
    return _self_signed(tmp_path_factory.mktemp("certificates"), "test")


@pytest.fixture(scope="session")
def renewed_certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """A second self-signed certificate for 127.0.0.1, with the name `renewed`."""
    return _self_signed(tmp_path_factory.mktemp("renewed-certificates"), "renewed")


@pytest.fixture
async def tls_receiver(certificates: CertificateFiles) -> AsyncIterator[Receiver]:
    """A receiver that uses TLS with the certificate of `certificates`."""
    scripted, runner = await _serve(certificates.server_context)
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def strict_receiver(
    certificates: CertificateFiles, renewed_certificates: CertificateFiles
) -> AsyncIterator[Receiver]:
    """A receiver like `tls_receiver` that requires a client certificate: the self-signed one or the renewed one."""
    context = certificates.server_context
    context.load_verify_locations(certificates.certificate)
    context.load_verify_locations(renewed_certificates.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    scripted, runner = await _serve(context)
    yield scripted
    await runner.cleanup()


@pytest.fixture(params=["by inner parts of aiohttp", "by its client"])
def way_to_post(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test twice: destinations post through inner parts of aiohttp, and through its public client."""
    monkeypatch.setattr("notifier.http.poster.internals_match", lambda: "inner" in request.param)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as opened:
        yield opened


MakeEvent = Callable[..., Event]


def _event(sequence: int, kind: str, subject: str, data: Any) -> Event:
    identifier = base64.b32encode(sequence.to_bytes(16, "big")).decode().lower()[:26]
    # The standard library also accepts text that other JSON libraries refuse, such as lone surrogates.
    written = json.dumps(data, separators=(",", ":")).encode()
    return Event(sequence, f"evt_{identifier}", kind, "acme", subject, NOW_MS, written)


@pytest.fixture(scope="session")
def make_event() -> MakeEvent:
    """Return a function that creates an event about a completion; keyword arguments replace the completion's fields."""

    def make(
        sequence: int = 42, kind: str = EventType.CREATED, previous: dict[str, Any] | None = None, **fields: Any
    ) -> Event:
        completion = {
            "key": str(1196 + sequence),
            "training_id": "1046",
            "training_title": "Ladder Safety",
            "user_id": "5e580f0cb780600088bd2c11",
            "user_name": "David Ball",
            "instructor_id": None,
            "instructor_name": None,
            "group_training_id": None,
            "completed_on": "2020-02-27",
            "expires_on": None,
            "recorded_at": "2020-02-27T19:07:21.803Z",
            "notes": "",
            "has_attachments": False,
        } | fields
        data = {"completion": completion, "previous": previous, "record": {"id": 1196 + sequence}}
        return _event(sequence, kind, completion["key"], data)

    return make


@pytest.fixture(scope="session")
def make_alert() -> MakeEvent:
    """Return a function that creates an alert; keyword arguments replace fields of its data."""

    def make(sequence: int = 7, **fields: Any) -> Event:
        data = {
            "condition": "source_failing",
            "state": "firing",
            "subject": "acme",
            "summary": "No successful poll for 15 minutes.",
            "since": "2026-11-21T16:45:00.000Z",
        } | fields
        return _event(sequence, EventType.ALERT, data["subject"], data)

    return make


@pytest.fixture(scope="session")
def deliveries() -> Callable[..., list[Delivery]]:
    """Return a function that creates deliveries of events."""

    def put(*events: Event) -> list[Delivery]:
        return [Delivery(event, "there") for event in events]

    return put
