"""The routes of the local HTTP interface."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from aiohttp import hdrs, web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from notifier.ledger.errors import LedgerError
from notifier.web import deliveries
from notifier.web.answers import CONTROL, done, error_answer, json_answer
from notifier.web.asked import WrongRequestError
from notifier.web.control import Control, UnknownEventError, UnknownNameError, UnknownRecordError
from notifier.web.dashboard.pages import Pages
from notifier.web.dashboard.rendering import Rendering
from notifier.web.dashboard.sign_in import SignIn, may_sign_in, to_sign_in
from notifier.web.feed import routes as feed_routes
from notifier.web.feed.feed import Feed
from notifier.web.feed.stream import TooManyReadersError
from notifier.web.guard import Guard
from notifier.web.headers import add_headers
from notifier.web.openapi.document import document
from notifier.web.sessions import Guesses

_log = logging.getLogger(__name__)

_MOST_OF_A_BODY = 65_536

_NAMED: Mapping[type[Exception], tuple[int, str]] = MappingProxyType(
    {
        WrongRequestError: (400, "bad_request"),
        UnknownEventError: (404, "unknown_event"),
        UnknownNameError: (404, "unknown_name"),
        UnknownRecordError: (404, "unknown_record"),
        TooManyReadersError: (503, "too_many_readers"),
    }
)
"""The HTTP status and the reason of errors whose message is for whoever has asked."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(control: Control, feed: Feed, guard: Guard, guesses: Guesses, rendering: Rendering) -> web.Application:
    """Make the application that answers for a daemon."""
    app = web.Application(middlewares=[_errors, _refusals(guard)], client_max_size=_MOST_OF_A_BODY)
    app.on_response_prepare.append(add_headers)
    app[CONTROL] = control
    app[feed_routes.FEED] = feed
    app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/readyz", _readyz),
            web.get("/metrics", _metrics),
            web.get("/openapi.json", _openapi),
            web.get("/v1/status", _status),
            # A key may hold any character, braces too, which aiohttp's own pattern leaves out.
            web.get("/v1/records/{key:[^/]+}", _record),
            web.post("/v1/sources/{name}/poll", _poll),
            web.post("/v1/sources/{name}/sweep", _sweep),
            web.post("/v1/reload", _reload),
            *deliveries.routes(),
            *Pages(rendering, can_sign_out=bool(guard.token)).routes(),
            *SignIn(guard, guesses, rendering).routes(),
            *feed_routes.routes(),
        ]
    )
    return app


def _refusals(guard: Guard) -> Any:
    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = guard.refusal(request)
        if refused is not None:
            needs_token = refused[0] == HTTPStatus.UNAUTHORIZED
            return to_sign_in(request) if needs_token and may_sign_in(request) else error_answer(*refused)
        # Few here have a use for a body, but one that is too large is an error all the same.
        await request.read()
        return await handler(request)

    return refuse


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (WrongRequestError, UnknownEventError, UnknownNameError, UnknownRecordError, TooManyReadersError) as error:
        return error_answer(*_NAMED[type(error)], str(error))
    except web.RequestPayloadError:
        return error_answer(400, "bad_request", "the body does not come as its headers say")
    except LedgerError as error:
        return error_answer(503, error.reason, error.message)
    except web.HTTPException as error:
        reason = error.reason.lower().replace(" ", "_")
        answer = error_answer(error.status, reason, f"{request.method} {request.path}: {error.reason}")
        if hdrs.ALLOW in error.headers:
            answer.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return answer
    except Exception as error:  # noqa: BLE001 - logged with its trace, and one bad request must not end the rest
        if isinstance(error, ConnectionResetError) and _is_gone(request):
            return web.Response()
        _log.exception("a local request failed by a fault of the program", extra={"path": request.path})
        return error_answer(500, "internal_error", "a fault of the program; the log tells more")


def _is_gone(request: web.Request) -> bool:
    """Tell whether nobody is there any more to be answered."""
    return request.transport is None or request.transport.is_closing()


async def _healthz(_request: web.Request) -> web.Response:
    return json_answer({"ok": True})


async def _readyz(request: web.Request) -> web.Response:
    unready = request.app[CONTROL].unready()
    return json_answer({"ready": not unready, "unready": unready}, 503 if unready else 200)


async def _metrics(request: web.Request) -> web.Response:
    page = await request.app[CONTROL].metrics()
    return web.Response(body=page, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4})


async def _openapi(_request: web.Request) -> web.Response:
    return json_answer(document())


async def _status(request: web.Request) -> web.Response:
    return json_answer(await request.app[CONTROL].status())


async def _record(request: web.Request) -> web.Response:
    return json_answer(await request.app[CONTROL].record(request.match_info["key"]))


async def _poll(request: web.Request) -> web.Response:
    return done(await request.app[CONTROL].poll(request.match_info["name"]))


async def _sweep(request: web.Request) -> web.Response:
    return done(await request.app[CONTROL].sweep(request.match_info["name"]))


async def _reload(request: web.Request) -> web.Response:
    return done(await request.app[CONTROL].reload())
