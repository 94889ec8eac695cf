"""Failures of the API, and of anything that answers in its place: each has a reason, none contains the token."""

import asyncio
import gzip
import logging
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from notifier.kpa.client import Client
from notifier.kpa.errors import API_IDENTIFIERS, ApiError, ApiErrorReason, Remedy
from notifier.kpa.rate_limiter import Priority, RateLimiter

if TYPE_CHECKING:
    from tests.unit.kpa.conftest import MakeClient, Peer, Upstream

IMPATIENT = {"timeout": "300ms"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

ASKING: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "page": lambda client: client.page(1, limit=100, priority=Priority.HEAD),
    "people": lambda client: anext(client.people()),
    "trainings": lambda client: anext(client.trainings()),
    "echo": lambda client: client.echo(),
}


async def failure_of(client: Client, method: str = "page") -> ApiError:
    with pytest.raises(ApiError) as caught:
        await ASKING[method](client)
    return caught.value


@pytest.mark.parametrize("method", ASKING)
@pytest.mark.parametrize("identifier", sorted(API_IDENTIFIERS))
async def test_each_documented_error_has_its_reason_and_hides_the_token(
    identifier: str, method: str, upstream: "Upstream", client_of: "MakeClient", token: str
) -> None:
    upstream.answers({"ok": False, "error": identifier, "description": f"The token `{token}` was not found."})
    # With a filter, because nothing found without one is an empty list and no failure.
    failure = await failure_of(client_of(upstream.url, training_id="7"), method)
    assert failure.reason == ApiErrorReason(identifier)
    assert "The token `[secret]` was not found." in failure.message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("error.token_invalid.json", ApiErrorReason.TOKEN_INVALID),
        ("error.rate_limit_exceeded.json", ApiErrorReason.RATE_LIMIT_EXCEEDED),
    ],
)
async def test_documented_error_examples_have_their_reason(
    name: str, reason: ApiErrorReason, upstream: "Upstream", client_of: "MakeClient", sample: Callable[[str], Any]
) -> None:
    upstream.answers(sample(name))
    assert (await failure_of(client_of(upstream.url))).reason is reason


@pytest.mark.parametrize(
    "document",
    [
        {"ok": False},
        {"ok": False, "error": "invalid_token"},
        {"ok": False, "error": None},
        {"ok": False, "error": ["token_invalid"], "description": {"text": "no"}},
        {"ok": False, "completedtrainings": []},
    ],
)
async def test_any_other_error_is_unknown_error_with_the_remedy_operator(
    document: object, upstream: "Upstream", client_of: "MakeClient"
) -> None:
    upstream.answers(document)
    failure = await failure_of(client_of(upstream.url))
    assert (failure.reason, failure.remedy) == (ApiErrorReason.UNKNOWN_ERROR, Remedy.OPERATOR)


async def test_rate_limit_exceeded_pauses_the_rate_limiter(
    upstream: "Upstream", client_of: "MakeClient", budget: RateLimiter
) -> None:
    upstream.answers({"ok": False, "error": "server_error"})
    await failure_of(client_of(upstream.url))
    assert budget.silent_for() == 0
    upstream.answers({"ok": False, "error": "rate_limit_exceeded"})
    await failure_of(client_of(upstream.url, rate_limit_pause="90s"))
    assert 80 < budget.silent_for() <= 90


@pytest.mark.parametrize("method", ASKING)
@pytest.mark.parametrize(
    "body",
    [b"", b"<!doctype html><title>Maintenance</title>", b'{"ok": true, "completedtrainings": [{"id": 1'],
    ids=["empty", "html", "cut off"],
)
async def test_garbage_is_not_json(body: bytes, method: str, upstream: "Upstream", client_of: "MakeClient") -> None:
    upstream.answers(body)
    failure = await failure_of(client_of(upstream.url), method)
    assert (failure.reason, failure.remedy) == (ApiErrorReason.NOT_JSON, Remedy.WAIT)


@pytest.mark.parametrize("method", ASKING)
@pytest.mark.parametrize("document", [None, [], "ok", {}, {"ok": "true"}, {"completedtrainings": []}])
async def test_json_of_another_shape_is_unexpected_shape(
    document: object, method: str, upstream: "Upstream", client_of: "MakeClient"
) -> None:
    upstream.answers(document)
    assert (await failure_of(client_of(upstream.url), method)).reason is ApiErrorReason.UNEXPECTED_SHAPE


async def test_answer_503_has_the_retry_after_of_its_header(upstream: "Upstream", client_of: "MakeClient") -> None:
    upstream.answers(b"busy", status=503, Retry_After="120")
    failure = await failure_of(client_of(upstream.url))
    assert (failure.reason, failure.retry_after) == (ApiErrorReason.HTTP_STATUS, 120)


async def test_redirect_is_never_followed(upstream: "Upstream", client_of: "MakeClient") -> None:
    upstream.answers(b"", status=307, Location=f"{upstream.url}/elsewhere")
    failure = await failure_of(client_of(upstream.url))
    assert failure.reason is ApiErrorReason.HTTP_STATUS
    assert "redirect" in failure.message
    assert len(upstream.asked) == 1


async def test_untrusted_certificate_is_rejected_before_the_token_is_sent(
    upstream_with_foreign_certificate: "Upstream", client_of: "MakeClient"
) -> None:
    upstream_with_foreign_certificate.answers({"ok": True, "completedtrainings": []})
    failure = await failure_of(client_of(upstream_with_foreign_certificate.url))
    assert (failure.reason, failure.remedy) == (ApiErrorReason.CERTIFICATE_REJECTED, Remedy.OPERATOR)
    assert upstream_with_foreign_certificate.asked == []


async def test_gzip_bomb_is_answer_too_large_with_low_memory(upstream: "Upstream", client_of: "MakeClient") -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024), compresslevel=1)
    upstream.answers(bomb, Content_Encoding="gzip")
    tracemalloc.start()
    failure = await failure_of(client_of(upstream.url))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert failure.reason is ApiErrorReason.ANSWER_TOO_LARGE
    assert peak < 48 * 1024 * 1024


async def test_endless_body_is_answer_too_large(upstream: "Upstream", client_of: "MakeClient") -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(1024 * 1024))

    upstream.script = script
    assert (await failure_of(client_of(upstream.url))).reason is ApiErrorReason.ANSWER_TOO_LARGE


async def test_body_that_arrives_too_slowly_is_a_timeout(upstream: "Upstream", client_of: "MakeClient") -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    upstream.script = script
    assert (await failure_of(client_of(upstream.url, **IMPATIENT))).reason is ApiErrorReason.TIMEOUT


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def close_at_once(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Close the connection without an answer."""


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def stop_in_the_middle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b'Content-Length: 500\r\n\r\n{"ok": true, "completedtrainings": []}')
    await writer.drain()


async def stop_between_chunks(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b'Transfer-Encoding: chunked\r\n\r\n26\r\n{"ok": true, "completedtrainings": []}\r\n')
    await writer.drain()


async def speak_no_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n")
    await writer.drain()


async def lie_about_the_encoding(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + b'{"ok": true}')
    await writer.drain()


@pytest.mark.parametrize(
    ("peer", "reasons"),
    [
        (hang, {ApiErrorReason.TIMEOUT}),
        (close_at_once, {ApiErrorReason.CONNECTION_LOST}),
        (reset, {ApiErrorReason.CONNECTION_LOST}),
        (stop_in_the_middle, {ApiErrorReason.CONNECTION_LOST}),
        (stop_between_chunks, {ApiErrorReason.CONNECTION_LOST}),
        (speak_no_http, {ApiErrorReason.PROTOCOL_BROKEN}),
        (lie_about_the_encoding, {ApiErrorReason.PROTOCOL_BROKEN, ApiErrorReason.CONNECTION_LOST}),
    ],
)
async def test_broken_exchange_has_its_reason_and_the_remedy_wait(
    peer: "Peer",
    reasons: set[ApiErrorReason],
    peer_url: "Callable[[Peer], Awaitable[str]]",
    client_of: "MakeClient",
) -> None:
    failure = await failure_of(client_of(await peer_url(peer), **IMPATIENT))
    assert failure.reason in reasons
    assert failure.remedy is Remedy.WAIT


async def test_closed_port_is_connect_failed(client_of: "MakeClient", unused_tcp_port: int) -> None:
    failure = await failure_of(client_of(f"http://127.0.0.1:{unused_tcp_port}/v1"))
    assert failure.reason is ApiErrorReason.CONNECT_FAILED


async def test_token_is_in_no_path_no_log_and_no_failure(
    upstream: "Upstream", client_of: "MakeClient", token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = client_of(upstream.url)
    words = f"The token {token} is wrong: https://api.example.com/?{token} {token * 20}"
    failures = []
    for document in ({"ok": False, "error": token}, {"ok": False, "error": "token_invalid", "description": words}):
        upstream.answers(document)
        failures.append(await failure_of(client))
    upstream.answers(words.encode(), Content_Type=f"text/{token}")
    failures.append(await failure_of(client))
    upstream.answers(b"", status=302, Location=f"https://{token}.example.com/{token}")
    failures.append(await failure_of(client))
    for failure in failures:
        assert "[secret]" in failure.message
        assert token not in f"{failure!r} {failure} {failure.message}"
    assert all(token not in asked.path for asked in upstream.asked)
    assert token not in caplog.text
    assert token not in repr(vars(client))


async def test_token_in_a_bad_record_is_hidden(upstream: "Upstream", client_of: "MakeClient", token: str) -> None:
    upstream.answers({"ok": True, "completedtrainings": [{"id": 1, "training_id": [token], "created": token}]})
    page = await client_of(upstream.url).page(1, limit=100, priority=Priority.HEAD)
    assert token not in str(page.bad)
