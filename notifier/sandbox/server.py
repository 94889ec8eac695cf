"""The HTTP server of the simulated API. Like the real API, it answers errors as JSON with status 200."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from msgspec import Struct, field

from notifier.sandbox.account import Account
from notifier.sandbox.auth import RateLimit, RequestLimiter, Token, authorize, find_token
from notifier.sandbox.control import SandboxControl
from notifier.sandbox.control_http import PREFIX, add_control
from notifier.sandbox.errors import ErrorIdentifier, SandboxError
from notifier.sandbox.faults import ApiRequest, ListFault, Sending, SendingFault
from notifier.sandbox.methods import Method, MethodCall, build_request, documented_methods

DEFAULT_TOKEN = "sandbox"  # noqa: S105 - protects nothing
_MAX_REQUEST_BYTES = 65_536
_SHUTDOWN_TIMEOUT_SECONDS = 1.0
"""How long a stopping server waits for unfinished answers. It is short, so that a hanging answer blocks no test."""

_log = logging.getLogger(__name__)


class Traffic(Struct):
    """The number of requests by method (the last part of the URL), and the number of errors by their identifier."""

    requests: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


ACCOUNT = web.AppKey("ACCOUNT", Account)
TRAFFIC = web.AppKey("TRAFFIC", Traffic)
CONTROL = web.AppKey("CONTROL", SandboxControl)
"""The control of the sandbox: it starts and ends faults, and edits the account."""
TOKENS: web.AppKey[dict[str, Token]] = web.AppKey("TOKENS", dict)
"""The customer's tokens by value. Tokens may be added and removed while the server runs."""


def make_app(
    account: Account,
    *,
    tokens: Iterable[Token] = (Token(DEFAULT_TOKEN),),
    rate_limit: RateLimit | None = RateLimit(),  # noqa: B008 - a frozen value
    clock: Callable[[], float] = time.monotonic,
    middlewares: Iterable[Middleware] = (),
) -> web.Application:
    """Return an application that serves `account` under `/v1/<method>`.

    `clock` returns monotonic seconds. If `rate_limit` is None, the rate is not limited. `middlewares` run between the
    client and the API. A middleware's answer is sent unchanged, and a middleware's exception becomes `server_error`.
    Both are counted in `app[TRAFFIC]`. `app[CONTROL]` and the HTTP routes under `/control` start and end the faults of
    `faults.py`.
    """
    app = web.Application(
        middlewares=[_count_request, _answer_server_error, *middlewares], client_max_size=_MAX_REQUEST_BYTES
    )
    app[ACCOUNT] = account
    app[TRAFFIC] = traffic = Traffic()
    app[CONTROL] = control = SandboxControl(account, clock)
    app[TOKENS] = tokens_by_value = {token.value: token for token in tokens}
    limiter = None if rate_limit is None else RequestLimiter(rate_limit, clock)
    api = _Api(account, tokens_by_value, limiter, traffic, documented_methods(), control)
    add_control(app, control)
    app.router.add_route("*", "/v1/{method}", api.handle)
    app.router.add_route("*", "/{path:.*}", api.handle)
    return app


@asynccontextmanager
async def serve(app: web.Application, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve an application and yield its base URL, such as `http://127.0.0.1:34567/v1`; port 0 means any free port.

    Raises OSError if the address is not available.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound_port = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound_port}/v1"
    finally:
        await runner.cleanup()


class _Api(Struct, frozen=True):
    account: Account
    tokens: Mapping[str, Token]
    limiter: RequestLimiter | None
    traffic: Traffic
    methods: Mapping[str, Method]
    control: SandboxControl

    async def handle(self, request: web.Request) -> web.Response:
        pretty = False
        api_request, sending = ApiRequest("", number=self.control.next_request_number()), Sending()
        try:
            method = self._find_method(request)
            data = await _read_request(request)
            pretty = data.get("pretty") is True
            self._check_access(method, data)
            parameters = method.parse_parameters(data)
            api_request = build_request(method.name, parameters, api_request.number)
            faults = self.control.select_faults(api_request)
            for fault in faults:
                if isinstance(fault, SendingFault):
                    sending = fault.change_sending(sending)
                    fault.raise_refusal()
            list_faults = [fault for fault in faults if isinstance(fault, ListFault)]
            answer = method.answer(MethodCall(self.account, self.control, api_request, parameters, list_faults))
        except SandboxError as error:
            self.traffic.errors[error.identifier] += 1
            answer = error.answer()
        response = _respond(answer, sending, pretty=pretty, now_ms=self.account.now_ms())
        self.control.run_waiting_edits(api_request)
        if sending.delay_seconds:
            await asyncio.sleep(sending.delay_seconds)
        return response

    def _find_method(self, request: web.Request) -> Method:
        method = self.methods.get(request.match_info.get("method", ""))
        if method is None:
            raise SandboxError(ErrorIdentifier.API_METHOD_NOT_FOUND, f"There is no method at `{request.path}`.")
        if request.method not in {hdrs.METH_GET, hdrs.METH_POST}:
            raise SandboxError(ErrorIdentifier.REQUEST_METHOD_INVALID, f"Use GET or POST, not {request.method}.")
        return method

    def _check_access(self, method: Method, data: Mapping[str, Any]) -> None:
        token = find_token(self.tokens, data)
        if self.limiter is not None:
            self.limiter.count_request()
        authorize(token, method.name)


async def _read_request(request: web.Request) -> dict[str, Any]:
    """Return the JSON object of a request: the body of a POST, or the whole percent-encoded query string of a GET."""
    try:
        if request.method == hdrs.METH_GET:
            data = orjson.loads(unquote_to_bytes(request.rel_url.raw_query_string))
        else:
            data = orjson.loads(await request.read())
    except (orjson.JSONDecodeError, web.HTTPRequestEntityTooLarge) as error:
        raise SandboxError(ErrorIdentifier.REQUEST_DATA_INVALID, "The request holds no valid JSON.") from error
    if not isinstance(data, dict):
        raise SandboxError(ErrorIdentifier.REQUEST_DATA_INVALID, "The request is not a JSON object.")
    return data


def _respond(answer: Mapping[str, Any], sending: Sending, *, pretty: bool, now_ms: int) -> web.Response:
    date = {hdrs.DATE: formatdate(now_ms / 1000 + sending.date_offset_seconds, usegmt=True)}
    if sending.status != HTTPStatus.OK:
        return web.Response(
            text="<html>Bad Gateway</html>", status=sending.status, content_type="text/html", headers=date
        )
    body = orjson.dumps(answer, option=orjson.OPT_INDENT_2 if pretty else None)
    return web.Response(
        body=body[: len(body) // 2] if sending.is_cut_off else body,
        content_type="application/json",
        charset="utf-8",
        headers=date,
    )


@web.middleware
async def _count_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not _is_control_request(request):
        request.app[TRAFFIC].requests[request.path.rpartition("/")[2]] += 1
    return await handler(request)


@web.middleware
async def _answer_server_error(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with the API's error `server_error` if a handler raises an unexpected exception."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:  # noqa: BLE001 - logged with its trace, and answered as the API would
        _log.exception("internal error in the simulated API")
        request.app[TRAFFIC].errors[ErrorIdentifier.SERVER_ERROR] += 1
        error = SandboxError(ErrorIdentifier.SERVER_ERROR, "The server encountered an internal error.")
        return _respond(error.answer(), Sending(), pretty=False, now_ms=request.app[ACCOUNT].now_ms())


def _is_control_request(request: web.Request) -> bool:
    return request.path == PREFIX or request.path.startswith(f"{PREFIX}/")
