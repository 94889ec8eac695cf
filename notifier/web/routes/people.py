"""The route that erases a person's data."""

from aiohttp import web

from notifier.web.requests import ForgetRequest, parse_body
from notifier.web.responses import DAEMON, json_answer
from notifier.web.routes.feed import FEED
from notifier.web.security.guard import caller


def routes() -> list[web.RouteDef]:
    """Return the routes."""
    return [web.post("/v1/people/forget", _forget)]


async def _forget(request: web.Request) -> web.Response:
    body = parse_body(ForgetRequest, await request.read())
    try:
        erased = await request.app[DAEMON].forget(body.person, dry_run=bool(body.dry_run), by=caller(request))
    finally:
        # Otherwise, the stream would go on to send the person's events from memory.
        request.app[FEED].drop_cached_events()
    return json_answer(erased)
