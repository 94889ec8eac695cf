"""The behaviour that all methods share: requests, answers, tokens, errors."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from notifier.sandbox import (
    TOKENS,
    Account,
    Dialect,
    ErrorIdentifier,
    RateLimit,
    Token,
    documented_account,
    make_app,
    serve,
)

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from tests.unit.sandbox.conftest import Caller, Start

TOKEN_KINDS = (
    Token("sandbox"),
    Token("sleeping", active=False),
    Token("unpaid", account_active=False),
    Token("completions-only", methods=frozenset({"completedtrainings.v2.list"})),
)
METHODS = (
    "completedtrainings.list",
    "completedtrainings.v2.list",
    "users.list",
    "trainings.list",
    "trainings.v2.list",
    "api.echo",
)


@web.middleware
async def break_users_list(request: web.Request, handler: "Handler") -> web.StreamResponse:
    if (request.method, request.path) == ("POST", "/v1/users.list"):
        raise RuntimeError("the disk has gone")
    return await handler(request)


@web.middleware
async def lose_the_answer(request: web.Request, handler: "Handler") -> web.StreamResponse:
    await handler(request)
    return web.Response(status=502, text="<h1>Bad gateway</h1>", content_type="text/html")


@pytest.fixture
async def strict(start: "Start") -> "Caller":
    """Start an API that can be made to answer with every documented error."""
    return await start(
        documented_account(dialect=Dialect(missing_is_error=True)),
        tokens=TOKEN_KINDS,
        rate_limit=None,
        middlewares=[break_users_list],
    )


ERRORS = [
    ("POST", "users.lists", b'{"token": "sandbox"}', "api_method_not_found"),
    ("POST", "", b'{"token": "sandbox"}', "api_method_not_found"),
    ("POST", "users.list/", b'{"token": "sandbox"}', "api_method_not_found"),
    ("GET", "../users.list", None, "api_method_not_found"),
    ("PUT", "users.list", b'{"token": "sandbox"}', "request_method_invalid"),
    ("DELETE", "api.echo", None, "request_method_invalid"),
    ("POST", "api.echo", b"", "request_data_invalid"),
    ("POST", "api.echo", b'{"token": "sandbox"', "request_data_invalid"),
    ("POST", "api.echo", b'["sandbox"]', "request_data_invalid"),
    ("POST", "api.echo", b'{"token": "\xff"}', "request_data_invalid"),
    ("POST", "api.echo", b'{"token": "sandbox", "response": "' + b"x" * 70_000 + b'"}', "request_data_invalid"),
    ("POST", "api.echo?%7B%22token%22%3A%22sandbox%22%7D", b"", "request_data_invalid"),
    ("GET", "api.echo", None, "request_data_invalid"),
    ("GET", "api.echo?token=sandbox", None, "request_data_invalid"),
    ("POST", "trainings.list", b"{}", "token_missing"),
    ("POST", "trainings.list", b'{"token": null}', "token_missing"),
    ("POST", "trainings.list", b'{"token": ""}', "token_missing"),
    ("POST", "trainings.list", b'{"token": "guessed"}', "token_invalid"),
    ("POST", "trainings.list", b'{"token": ["sandbox"]}', "token_invalid"),
    ("POST", "trainings.list", b'{"token": "sleeping"}', "token_inactive"),
    ("POST", "trainings.list", b'{"token": "completions-only"}', "token_permission"),
    ("POST", "trainings.list", b'{"token": "unpaid"}', "account_inactive"),
    ("POST", "trainings.list", b'{"token": "sandbox", "page": 1}', "parameter_unexpected"),
    ("POST", "api.echo", b'{"token": "sandbox"}', "parameter_missing"),
    ("POST", "api.echo", b'{"token": "sandbox", "response": "hello"}', "parameter_invalid"),
    ("POST", "trainings.list", b'{"token": "sandbox", "pretty": "yes"}', "parameter_invalid"),
    ("POST", "users.list", b'{"token": "sandbox"}', "server_error"),
    ("POST", "completedtrainings.v2.list", b'{"token": "sandbox", "training_id": 7}', "content_not_found"),
]


@pytest.mark.parametrize(("verb", "path", "body", "identifier"), ERRORS)
async def test_every_error_is_answered_with_its_identifier(
    strict: "Caller", verb: str, path: str, body: bytes | None, identifier: str
) -> None:
    answer = await strict.send(verb, path, body)
    assert answer.keys() == {"ok", "error", "description"}
    assert (answer["ok"], answer["error"]) == (False, identifier)
    assert answer["description"]
    assert strict.traffic.errors == {identifier: 1}


def test_tested_errors_are_all_documented_ones_except_the_rate_limit() -> None:
    assert {*(identifier for *_, identifier in ERRORS), "rate_limit_exceeded"} == set(ErrorIdentifier)


async def test_unknown_token_is_answered_as_documented(
    strict: "Caller", sample: Callable[[str], dict[str, Any]]
) -> None:
    assert await strict.post("users.list", token="YOUR_TOKEN") != sample("error.token_invalid.json")
    assert await strict.post("api.echo", token="YOUR_TOKEN") == sample("error.token_invalid.json")


async def test_head_request_is_rejected_as_an_invalid_method(strict: "Caller") -> None:
    response, body = await strict.exchange("HEAD", "api.echo")
    assert (response.status, body) == (200, b"")
    assert strict.traffic.errors == {"request_method_invalid": 1}


@pytest.mark.parametrize("method", METHODS)
async def test_get_and_post_return_the_same_answer(start: "Start", method: str) -> None:
    api = await start(documented_account())
    parameters = {"response": {"ok": True, "sum": "1 + 1 = 2 & ä"}} if method == "api.echo" else {}
    answer = await api.post(method, **parameters)
    assert answer["ok"] is True
    assert await api.get(method, **parameters) == answer


async def test_pretty_indents_answers_and_errors(start: "Start") -> None:
    api = await start(documented_account())
    for method in ("trainings.list", "api.echo"):
        _, plain = await api.exchange("POST", method, b'{"token": "sandbox"}')
        _, pretty = await api.exchange("POST", method, b'{"token": "sandbox", "pretty": true}')
        assert b"\n" not in plain
        assert pretty.startswith(b'{\n  "')
        assert orjson.loads(plain) == orjson.loads(pretty)


async def test_date_header_follows_the_clock_of_the_account(start: "Start") -> None:
    moment = [784_111_777_000]
    api = await start(Account(now_ms=lambda: moment[0]))
    response, _ = await api.exchange("POST", "users.list", b'{"token": "sandbox"}')
    assert response.headers["Date"] == "Sun, 06 Nov 1994 08:49:37 GMT"
    moment[0] += 60_000
    response, _ = await api.exchange("POST", "users.list", b"nonsense")
    assert response.headers["Date"] == "Sun, 06 Nov 1994 08:50:37 GMT"


async def test_token_can_be_deactivated_while_the_api_runs() -> None:
    app = make_app(documented_account())
    async with serve(app) as base_url, aiohttp.ClientSession() as session:
        app[TOKENS]["sandbox"] = Token("sandbox", active=False)
        async with session.post(f"{base_url}/users.list", json={"token": "sandbox"}) as response:
            assert (await response.json())["error"] == "token_inactive"


async def test_token_limited_to_methods_is_rejected_by_others(strict: "Caller") -> None:
    assert (await strict.post("completedtrainings.v2.list", token="completions-only"))["ok"]
    assert (await strict.post("api.echo", token="completions-only"))["error"] == "token_permission"


async def test_answer_of_a_middleware_is_sent_unchanged_and_counted(start: "Start") -> None:
    api = await start(documented_account(), middlewares=[lose_the_answer])
    response, body = await api.exchange("POST", "users.list", b'{"token": "sandbox"}')
    assert (response.status, response.content_type, body) == (502, "text/html", b"<h1>Bad gateway</h1>")
    assert api.traffic.requests == {"users.list": 1}


async def test_traffic_counts_requests_by_method(start: "Start") -> None:
    api = await start(documented_account())
    for method in ("users.list", "users.list", "trainings.list", "users.lists"):
        await api.post(method)
    assert api.traffic.requests == {"users.list": 2, "trainings.list": 1, "users.lists": 1}


async def test_serve_on_a_port_in_use_raises_os_error() -> None:
    account = documented_account()
    async with serve(make_app(account)) as base_url:
        port = int(base_url.removeprefix("http://127.0.0.1:").removesuffix("/v1"))
        with pytest.raises(OSError, match="in use"):
            async with serve(make_app(account), port=port):
                pass


async def test_requests_are_not_logged(start: "Start", caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    api = await start(documented_account(), rate_limit=RateLimit(requests=1))
    for _ in range(3):
        await api.post("users.list")
    assert [record for record in caplog.records if record.name != "asyncio"] == []
