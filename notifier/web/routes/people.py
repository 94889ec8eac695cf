"""The route that erases a person's data."""

from aiohttp import web

from notifier.web.requests import ForgetRequest, parse_body
from notifier.web.responses import DAEMON, json_answer
from notifier.web.security.guard import caller


def routes() -> list[web.RouteDef]:
    """Return the routes."""
    return [web.post("/v1/people/forget", _forget)]


async def _forget(request: web.Request) -> web.Response:
    wish = parse_body(ForgetRequest, await request.read())
    erased = await request.app[DAEMON].forget(wish.person, dry_run=bool(wish.dry_run), by=caller(request))
    return json_answer(erased)
