"""The simulated API on the wire: JSON-RPC over HTTP, always answered with status 200."""

import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from notifier.sandbox.access import RateLimit, RequestPool, Token, authorize, identify
from notifier.sandbox.account import Account
from notifier.sandbox.errors import ApiError, ErrorIdentifier
from notifier.sandbox.methods import Method, documented_methods

DEFAULT_TOKEN = "sandbox"  # noqa: S105 - protects nothing
_LARGEST_REQUEST = 65_536
_PATIENCE_AT_THE_END = 1.0
"""Seconds for answers under way when the server stops: a test that lets one hang shall not hang itself."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Traffic:
    """What has been asked: requests by the method's name (the URL's last part), errors by their identifier."""

    requests: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


ACCOUNT = web.AppKey("ACCOUNT", Account)
TRAFFIC = web.AppKey("TRAFFIC", Traffic)
TOKENS: web.AppKey[dict[str, Token]] = web.AppKey("TOKENS", dict)
"""The customer's tokens by value; entries may be changed while the server runs."""


def make_app(
    account: Account,
    *,
    tokens: Iterable[Token] = (Token(DEFAULT_TOKEN),),
    rate_limit: RateLimit | None = RateLimit(),  # noqa: B008 - a frozen value
    clock: Callable[[], float] = time.monotonic,
    middlewares: Iterable[Middleware] = (),
) -> web.Application:
    """Make an application that serves `account` under `/v1/<method>`.

    `rate_limit` None means no limit; `clock` (seconds) is what it is measured by. `middlewares` stand between the
    client and the API and may inject faults: what they answer goes out as it is, what they raise becomes
    `server_error`, and either way the request is counted in `app[TRAFFIC]`.
    """
    app = web.Application(middlewares=[_count, _own_up, *middlewares], client_max_size=_LARGEST_REQUEST)
    app[ACCOUNT] = account
    app[TRAFFIC] = traffic = Traffic()
    app[TOKENS] = tokens_by_value = {token.value: token for token in tokens}
    pool = None if rate_limit is None else RequestPool(rate_limit, clock)
    api = _Api(account, tokens_by_value, pool, traffic, documented_methods())
    app.router.add_route("*", "/v1/{method}", api.handle)
    app.router.add_route("*", "/{path:.*}", api.handle)
    return app


@asynccontextmanager
async def serve(app: web.Application, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve the application and yield its base URL, like `http://127.0.0.1:34567/v1`; port 0 is any free one.

    Raises OSError when the address cannot be had.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_PATIENCE_AT_THE_END)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound_port = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound_port}/v1"
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class _Api:
    account: Account
    tokens: Mapping[str, Token]
    pool: RequestPool | None
    traffic: Traffic
    methods: Mapping[str, Method]

    async def handle(self, request: web.Request) -> web.Response:
        pretty = False
        try:
            method = self._find_method(request)
            data = await _read_request(request)
            pretty = data.get("pretty") is True
            answer = self._call(method, data)
        except ApiError as error:
            self.traffic.errors[error.identifier] += 1
            answer = error.answer()
        return _respond(answer, pretty=pretty, now_ms=self.account.now_ms())

    def _find_method(self, request: web.Request) -> Method:
        method = self.methods.get(request.match_info.get("method", ""))
        if method is None:
            raise ApiError(ErrorIdentifier.API_METHOD_NOT_FOUND, f"There is no method at `{request.path}`.")
        if request.method not in {hdrs.METH_GET, hdrs.METH_POST}:
            raise ApiError(ErrorIdentifier.REQUEST_METHOD_INVALID, f"Use GET or POST, not {request.method}.")
        return method

    def _call(self, method: Method, data: Mapping[str, Any]) -> Mapping[str, Any]:
        token = identify(self.tokens, data)
        if self.pool is not None:
            self.pool.draw()
        authorize(token, method.name)
        return method.call(self.account, data)


async def _read_request(request: web.Request) -> dict[str, Any]:
    """Read the request object: a POST's body, or the whole, percent-encoded query string of a GET."""
    try:
        if request.method == hdrs.METH_GET:
            data = orjson.loads(unquote_to_bytes(request.rel_url.raw_query_string))
        else:
            data = orjson.loads(await request.read())
    except (orjson.JSONDecodeError, web.HTTPRequestEntityTooLarge) as error:
        raise ApiError(ErrorIdentifier.REQUEST_DATA_INVALID, "The request holds no valid JSON.") from error
    if not isinstance(data, dict):
        raise ApiError(ErrorIdentifier.REQUEST_DATA_INVALID, "The request is not a JSON object.")
    return data


def _respond(answer: Mapping[str, Any], *, pretty: bool, now_ms: int) -> web.Response:
    return web.Response(
        body=orjson.dumps(answer, option=orjson.OPT_INDENT_2 if pretty else None),
        content_type="application/json",
        charset="utf-8",
        headers={hdrs.DATE: formatdate(now_ms / 1000, usegmt=True)},
    )


@web.middleware
async def _count(request: web.Request, handler: Handler) -> web.StreamResponse:
    request.app[TRAFFIC].requests[request.path.rpartition("/")[2]] += 1
    return await handler(request)


@web.middleware
async def _own_up(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what nobody foresaw into the API's own `server_error`."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:  # noqa: BLE001 - logged with its trace, and answered as the API would
        _log.exception("the simulated API failed by a fault of the program")
        request.app[TRAFFIC].errors[ErrorIdentifier.SERVER_ERROR] += 1
        error = ApiError(ErrorIdentifier.SERVER_ERROR, "The server encountered an internal error.")
        return _respond(error.answer(), pretty=False, now_ms=request.app[ACCOUNT].now_ms())
