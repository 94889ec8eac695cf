"""Requests to the API through a proxy, and to an API whose authority only the configuration names."""

import shutil
from pathlib import Path

import aiohttp
import pytest

from notifier.config import SourceSettings
from notifier.http.transport_errors import TransportError, TransportReason
from notifier.kpa.exchange import HttpExchange
from tests.support.destinations import CertificateFiles, Receiver, certificates, tls_receiver
from tests.support.proxies import ForwardProxy, forward_proxy

__all__ = ["certificates", "forward_proxy", "tls_receiver"]


async def test_http_exchange_trusts_ca_file_also_through_a_proxy(
    session: aiohttp.ClientSession,
    tls_receiver: Receiver,
    certificates: CertificateFiles,
    forward_proxy: ForwardProxy,
) -> None:
    keys = {"token": "t0ken", "base_url": tls_receiver.url}
    with pytest.raises(TransportError) as raised:
        await HttpExchange(session, SourceSettings.model_validate(keys))("echo", {}, limit_bytes=10)
    assert raised.value.reason is TransportReason.CERTIFICATE_REJECTED
    keys |= {"ca_file": str(certificates.certificate), "proxy": forward_proxy.url}
    exchange = HttpExchange(session, SourceSettings.model_validate(keys))
    assert (await exchange("echo", {}, limit_bytes=10)).body == b"ok"
    async with exchange.stream("users.list", {}, limit_bytes=10) as answer:
        assert await answer.read() == b"ok"
    assert [request.path for request in tls_receiver.received] == ["/echo", "/users.list"]
    assert [head.split(" ")[0] for head in forward_proxy.heads] == ["CONNECT"]


async def test_http_exchange_reports_a_missing_ca_file(
    session: aiohttp.ClientSession, certificates: CertificateFiles, tmp_path: Path
) -> None:
    authority = Path(shutil.copy(certificates.certificate, tmp_path / "authority.pem"))
    exchange = HttpExchange(session, SourceSettings.model_validate({"token": "t0ken", "ca_file": str(authority)}))
    authority.unlink()
    with pytest.raises(TransportError, match=r"^ca_file .*authority.pem: No such file") as raised:
        await exchange("echo", {}, limit_bytes=10)
    assert raised.value.reason is TransportReason.CERTIFICATE_REJECTED
