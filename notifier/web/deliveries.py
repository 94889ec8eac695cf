"""The routes about deliveries and destinations."""

from aiohttp import web

from notifier.web import asked
from notifier.web.answers import CONTROL, done, json_answer


def routes() -> list[web.RouteDef]:
    """List them."""
    return [
        web.get("/v1/deliveries", _deliveries),
        web.post("/v1/deliveries/retry", _retry),
        web.get("/v1/replay", _replay_progress),
        web.post("/v1/replay", _replay),
        web.post("/v1/replay/stop", _stop_replay),
        web.post("/v1/destinations/{name}/enable", _enable),
        web.post("/v1/destinations/{name}/disable", _disable),
        web.post("/v1/destinations/{name}/test", _test),
    ]


async def _deliveries(request: web.Request) -> web.Response:
    return json_answer(await request.app[CONTROL].deliveries.page(asked.delivery_page(request.query)))


async def _retry(request: web.Request) -> web.Response:
    return json_answer(await request.app[CONTROL].deliveries.retry(asked.retry_wish(await request.read())))


async def _replay(request: web.Request) -> web.Response:
    return done(await request.app[CONTROL].deliveries.replay(asked.replay_wish(await request.read())))


async def _replay_progress(request: web.Request) -> web.Response:
    return json_answer(await request.app[CONTROL].deliveries.replay_progress())


async def _stop_replay(request: web.Request) -> web.Response:
    number = asked.stop_wish(await request.read())
    return json_answer(await request.app[CONTROL].deliveries.stop_replay(number))


async def _enable(request: web.Request) -> web.Response:
    return json_answer(await request.app[CONTROL].deliveries.set_enabled(request.match_info["name"], enabled=True))


async def _disable(request: web.Request) -> web.Response:
    return json_answer(await request.app[CONTROL].deliveries.set_enabled(request.match_info["name"], enabled=False))


async def _test(request: web.Request) -> web.Response:
    return json_answer(await request.app[CONTROL].deliveries.test(request.match_info["name"]))
