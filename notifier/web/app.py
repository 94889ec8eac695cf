"""Builds the web application of the local HTTP interface: routes, access checks and error answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from notifier.store.errors import StoreError
from notifier.web.daemon_api import (
    DaemonApi,
    UnknownEventError,
    UnknownNameError,
    UnknownPersonError,
    UnknownRecordError,
)
from notifier.web.dashboard.delivery_pages import DeliveryPages
from notifier.web.dashboard.event_pages import EventPages
from notifier.web.dashboard.login import SignInPages, is_browser_page_request, redirect_to_sign_in
from notifier.web.dashboard.page_frame import PageFrame
from notifier.web.dashboard.pages import MainPages
from notifier.web.dashboard.source_and_destination_pages import SourceAndDestinationPages
from notifier.web.dashboard.templating import PageRenderer
from notifier.web.feed.broadcast import TooManyReadersError
from notifier.web.feed.service import Feed
from notifier.web.listening.connections import connection_of
from notifier.web.metrics.snapshot import CONTENT_TYPE, CachedPage
from notifier.web.requests import ReleaseRequest, WrongRequestError, parse_body
from notifier.web.responses import DAEMON, action_answer, error_answer, json_answer
from notifier.web.routes import deliveries, people
from notifier.web.routes import feed as feed_routes
from notifier.web.security.guard import FORM_PATHS, GUARD, SIGN_IN_LINK_PATH, Guard, caller
from notifier.web.security.guess_limiter import refuse_wrong_token
from notifier.web.security.headers import add_default_headers
from notifier.web.security.origin import SAFE_METHODS

if TYPE_CHECKING:
    from notifier.web.response_models.status import HealthDocument, ReadinessDocument

_log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 65_536

_ERROR_ANSWERS: Mapping[type[Exception], tuple[int, str]] = MappingProxyType(
    {
        WrongRequestError: (400, "bad_request"),
        UnknownEventError: (404, "unknown_event"),
        UnknownNameError: (404, "unknown_name"),
        UnknownRecordError: (404, "unknown_record"),
        UnknownPersonError: (404, "unknown_person"),
        TooManyReadersError: (503, "too_many_readers"),
    }
)
"""The HTTP status and the error's name for each exception whose message is sent to the client."""

_FIXED_REASONS: Mapping[int, str] = MappingProxyType(
    {413: "request_entity_too_large", 414: "request_uri_too_long", 422: "unprocessable_entity"}
)

_SHARED_METRICS: web.AppKey[CachedPage] = web.AppKey("shared_metrics", CachedPage)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(
    daemon: DaemonApi,
    feed: Feed,
    guard: Guard,
    renderer: PageRenderer,
    sign_in: SignInPages,
    body_seconds: float,
) -> web.Application:
    """Return the web application of a daemon. The body of a request must arrive within `body_seconds`."""
    app = web.Application(
        middlewares=[_answer_errors, _make_access_middleware(guard, body_seconds)], client_max_size=_MAX_BODY_BYTES
    )
    app.on_response_prepare.append(add_default_headers)
    app[DAEMON] = daemon
    app[GUARD] = guard
    app[_SHARED_METRICS] = CachedPage()
    app[feed_routes.FEED] = feed
    frame = PageFrame(renderer, guard.has_session)
    app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/readyz", _readyz),
            web.get("/metrics", _metrics),
            web.get("/openapi.json", _openapi),
            web.get("/v1/status", _status),
            # A key may contain any character, including braces, which aiohttp's default pattern excludes.
            web.get("/v1/records/{key:[^/]+}", _record),
            web.post("/v1/sources/{name}/poll", _poll),
            web.post("/v1/sources/{name}/sweep", _sweep),
            web.post("/v1/sources/{name}/release", _release),
            web.post("/v1/reload", _reload),
            *deliveries.routes(),
            *people.routes(),
            web.post(SIGN_IN_LINK_PATH, _sign_in_link(sign_in)),
            *MainPages(frame).routes(),
            *EventPages(frame).routes(),
            *DeliveryPages(frame).routes(),
            *SourceAndDestinationPages(frame).routes(),
            *sign_in.routes(),
            *feed_routes.routes(),
        ]
    )
    return app


def _make_access_middleware(guard: Guard, body_seconds: float) -> Any:
    @web.middleware
    async def check_access(request: web.Request, handler: Handler) -> web.StreamResponse:
        if guard.has_wrong_token(request):
            return await refuse_wrong_token(request, guard.guess_limiter)
        refused = guard.refusal(request)
        if refused is not None:
            needs_token = refused[0] == HTTPStatus.UNAUTHORIZED
            return (
                redirect_to_sign_in(request)
                if needs_token and is_browser_page_request(request)
                else error_answer(*refused)
            )
        # The body is read here for every handler, so that a body that is too large or never arrives is always an error.
        try:
            async with asyncio.timeout(body_seconds):
                await request.read()
        except TimeoutError:
            answer = error_answer(408, "request_timeout", f"the body did not arrive within {body_seconds:g} seconds")
            answer.force_close()
            return answer
        is_known = request.match_info.http_exception is None
        if request.method not in SAFE_METHODS and is_known and request.path not in FORM_PATHS:
            _log.info(
                "a request that changes state",
                extra={
                    "method": request.method,
                    "path": request.path,
                    "by": caller(request),
                    "transport": connection_of(request).listener_kind.value,
                },
            )
        return await handler(request)

    return check_access


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except tuple(_ERROR_ANSWERS) as error:
        return error_answer(*_ERROR_ANSWERS[type(error)], str(error))
    except web.RequestPayloadError:
        return error_answer(400, "bad_request", "the body does not match its headers")
    except StoreError as error:
        return error_answer(503, error.reason, error.message)
    except web.HTTPException as error:
        # Some status names differ between versions of Python, but clients compare reasons, which must not differ.
        reason = _FIXED_REASONS.get(error.status) or error.reason.lower().replace(" ", "_")
        answer = error_answer(error.status, reason, f"{request.method} {request.path}: {error.reason}")
        if hdrs.ALLOW in error.headers:
            answer.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return answer
    except Exception as error:  # noqa: BLE001 - logged with its traceback; one bad request must not affect others
        if isinstance(error, ConnectionResetError) and _has_disconnected(request):
            return web.Response()
        _log.exception("a local request failed with an internal error", extra={"path": request.path})
        return error_answer(500, "internal_error", "an internal error; see the log")


def _has_disconnected(request: web.Request) -> bool:
    """Return whether the client has disconnected."""
    return request.transport is None or request.transport.is_closing()


async def _healthz(request: web.Request) -> web.Response:
    hanging = request.app[DAEMON].hanging_parts()
    body: HealthDocument = {"ok": not hanging}
    if request.app[GUARD].is_trusted(request):
        body["hanging"] = list(hanging)
    return json_answer(body, 503 if hanging else 200)


async def _readyz(request: web.Request) -> web.Response:
    unready = request.app[DAEMON].unready()
    body: ReadinessDocument = {"ready": not unready}
    if request.app[GUARD].is_trusted(request):
        body["unready"] = unready
    return json_answer(body, 503 if unready else 200)


async def _metrics(request: web.Request) -> web.Response:
    make = request.app[DAEMON].metrics
    # If no token is configured, every user of this machine may request the page; a cached page costs the daemon little.
    page = await (make() if request.app[GUARD].is_trusted(request) else request.app[_SHARED_METRICS].page(make))
    return web.Response(body=page, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})


async def _openapi(_request: web.Request) -> web.Response:
    # The first request creates the document, which takes a tenth of a second.
    return json_answer(await asyncio.to_thread(_make_openapi_document))


def _make_openapi_document() -> Mapping[str, Any]:
    # Imported only here, so that the start of the daemon does not wait for it.
    from notifier.web.openapi.document import document  # noqa: PLC0415

    return document()


async def _status(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].status())


async def _record(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].record(request.match_info["key"]))


async def _poll(request: web.Request) -> web.Response:
    return action_answer(await request.app[DAEMON].poll(request.match_info["name"]))


async def _sweep(request: web.Request) -> web.Response:
    return action_answer(await request.app[DAEMON].sweep(request.match_info["name"]))


async def _release(request: web.Request) -> web.Response:
    wanted = parse_body(ReleaseRequest, await request.read())
    released = await request.app[DAEMON].release(
        request.match_info["name"], wanted.what, silently=wanted.silently, by=caller(request)
    )
    return action_answer(released)


async def _reload(request: web.Request) -> web.Response:
    return action_answer(await request.app[DAEMON].reload())


def _sign_in_link(sign_in: SignInPages) -> Handler:
    async def make(_request: web.Request) -> web.Response:
        return action_answer(sign_in.answer_link_request())

    return make
