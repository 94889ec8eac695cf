"""The routes of deliveries and destinations."""

from aiohttp import web

from notifier.web.query_parameters import parse_delivery_page
from notifier.web.requests import MoveRequest, StopReplayRequest, parse_body, parse_drop, parse_replay, parse_retry
from notifier.web.responses import DAEMON, action_answer, json_answer


def routes() -> list[web.RouteDef]:
    """Return the routes of deliveries and destinations."""
    return [
        web.get("/v1/deliveries", _deliveries),
        web.post("/v1/deliveries/retry", _retry),
        web.post("/v1/deliveries/drop", _drop),
        web.post("/v1/deliveries/move", _move),
        web.get("/v1/replay", _replay_progress),
        web.post("/v1/replay", _replay),
        web.post("/v1/replay/stop", _stop_replay),
        web.get("/v1/destinations/{name}", _destination),
        web.post("/v1/destinations/{name}/enable", _enable),
        web.post("/v1/destinations/{name}/disable", _disable),
        web.post("/v1/destinations/{name}/test", _test),
        web.post("/v1/destinations/{name}/try", _try),
    ]


async def _deliveries(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].deliveries.page(parse_delivery_page(request.query)))


async def _retry(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].deliveries.retry(parse_retry(await request.read())))


async def _drop(request: web.Request) -> web.Response:
    selection, dry_run = parse_drop(await request.read())
    return json_answer(await request.app[DAEMON].deliveries.drop(selection, dry_run=dry_run))


async def _move(request: web.Request) -> web.Response:
    selection = parse_body(MoveRequest, await request.read())
    return action_answer(await request.app[DAEMON].deliveries.move(selection.old, selection.new))


async def _try(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].deliveries.try_now(request.match_info["name"]))


async def _replay(request: web.Request) -> web.Response:
    return action_answer(await request.app[DAEMON].deliveries.replay(parse_replay(await request.read())))


async def _replay_progress(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].deliveries.replay_progress())


async def _stop_replay(request: web.Request) -> web.Response:
    number = parse_body(StopReplayRequest, await request.read()).id
    return json_answer(await request.app[DAEMON].deliveries.stop_replay(number))


async def _destination(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].deliveries.destination(request.match_info["name"]))


async def _enable(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].deliveries.set_enabled(request.match_info["name"], enabled=True))


async def _disable(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].deliveries.set_enabled(request.match_info["name"], enabled=False))


async def _test(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].deliveries.test(request.match_info["name"]))
