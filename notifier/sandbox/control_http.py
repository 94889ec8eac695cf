"""The HTTP routes under `/control` that start faults and make edits. The real API does not have them."""

from collections.abc import Iterator
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from notifier.sandbox.control import ActiveEffect, SandboxControl
from notifier.sandbox.edits import EDIT_KINDS, EditError
from notifier.sandbox.fault_kinds import FAULT_KINDS
from notifier.sandbox.notation import NotationError

PREFIX: Final = "/control"

_WHICH: Final = "WHICH is #1500, #1500+#1501 (ids), 20 (that many records, spread over the list) or 50%."
_SCOPE: Final = (
    "Which requests: page=N, limit=N, of=list|count|precise, method=NAME|all (otherwise all lists of completions);",
    "of these every=N (each N-th), times=N (at most N), after=DURATION, for=DURATION.",
)


def describe() -> Iterator[str]:
    """Yield the lines of the page that documents the control, the faults and the edits."""
    yield "GET /control                  this page"
    yield "GET /control/faults           the running faults, as JSON"
    yield "POST /control/faults          start a fault; the body is NAME[:VALUE][,KEY=VALUE...]"
    yield "DELETE /control/faults[/ID]   stop one fault, or all"
    yield (
        "POST /control/edits           make an edit, written in the same way; with a key that selects requests (below),"
    )
    yield "                              it is made between such a request and its answer"
    yield from ("", "Faults:")
    yield from (f"  {kind.notation:<30} {kind.description}" for kind in FAULT_KINDS.values())
    yield from ("", "Edits:")
    yield from (f"  {kind.notation:<30} {kind.description}" for kind in EDIT_KINDS.values())
    yield from ("", _WHICH, *_SCOPE, "", "Examples:")
    yield "  curl -d late:4s,page=1,limit=1000,times=1 localhost:8788/control/faults"
    yield "  curl -d stale:10m,for=2m localhost:8788/control/faults"
    yield "  curl -d 'delete:1,page=4,limit=1000' localhost:8788/control/edits"


def add_control(app: web.Application, control: SandboxControl) -> None:
    """Add the routes under `/control` to the sandbox's application."""
    routes = _Routes(control)
    controlled = web.Application(middlewares=[_answer_errors])
    controlled.add_routes(
        [
            web.get("/faults", routes.list_faults),
            web.post("/faults", routes.begin),
            web.delete("/faults", routes.end_all),
            web.delete("/faults/{id}", routes.end),
            web.post("/edits", routes.edit),
        ]
    )
    app.router.add_get(PREFIX, routes.help)
    app.add_subapp(PREFIX, controlled)


class _Routes:
    def __init__(self, control: SandboxControl) -> None:
        self._control = control

    async def help(self, _request: web.Request) -> web.Response:
        return web.Response(text="\n".join(describe()) + "\n")

    async def list_faults(self, _request: web.Request) -> web.Response:
        return _json({"running": [_effect_document(running) for running in self._control.running()]})

    async def begin(self, request: web.Request) -> web.Response:
        return _json(_effect_document(self._control.begin(await request.text())), 201)

    async def end_all(self, _request: web.Request) -> web.Response:
        return self._end(self._control.running())

    async def end(self, request: web.Request) -> web.Response:
        ending = [running for running in self._control.running() if str(running.id) == request.match_info["id"]]
        if not ending:
            return _json(_error("unknown_fault", "no fault with this number is running"), 404)
        return self._end(ending)

    async def edit(self, request: web.Request) -> web.Response:
        made = self._control.edit(await request.text())
        if isinstance(made, ActiveEffect):
            return _json(_effect_document(made), 202)
        return _json({"ids": [record.id for record in made]})

    def _end(self, ending: list[ActiveEffect]) -> web.Response:
        if ending:
            self._control.end(*ending)
        return _json({"ended": [_effect_document(running) for running in ending]})


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (NotationError, EditError) as error:
        return _json(_error("request_invalid", f"{error}."), 400)


def _effect_document(running: ActiveEffect) -> dict[str, Any]:
    return {"id": running.id, "written": running.text, "requests": running.selected}


def _error(reason: str, message: str) -> dict[str, Any]:
    return {"error": {"reason": reason, "message": message}}


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(document) + b"\n", status=status, content_type="application/json")
