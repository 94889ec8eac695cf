"""The route that erases a person's data."""

from aiohttp import web

from notifier.web import requests
from notifier.web.responses import CONTROL, json_answer
from notifier.web.security.guard import caller


def routes() -> list[web.RouteDef]:
    """Return the routes."""
    return [web.post("/v1/people/forget", _forget)]


async def _forget(request: web.Request) -> web.Response:
    person, dry_run = requests.forget_wish(await request.read())
    return json_answer(await request.app[CONTROL].forget(person, dry_run=dry_run, by=caller(request)))
