"""The pages of the dashboard and their addresses."""

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from aiohttp import web

from notifier.ledger.errors import LedgerError
from notifier.web.answers import CONTROL
from notifier.web.control import UnknownRecordError
from notifier.web.dashboard import overview
from notifier.web.dashboard.rendering import Rendering, moved

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pages:
    """Answers browsers."""

    def __init__(self, rendering: Rendering, *, can_sign_out: bool) -> None:
        """Take what makes pages, and whether visitors have signed in."""
        self._rendering = rendering
        self._can_sign_out = can_sign_out

    def routes(self) -> list[web.RouteDef]:
        """List the addresses."""
        return [
            web.get("/", self._told(self._front)),
            web.get("/records", self._told(self._find)),
            web.get("/records/{key:[^/]+}", self._told(self._record)),
            web.get("/dashboard/{name}", self._asset),
        ]

    async def _front(self, request: web.Request) -> web.Response:
        control = request.app[CONTROL]
        status = await control.status()
        figures = await control.figures()
        return await self._page(
            "front.html",
            status=status,
            counts=figures.counts,
            latest=figures.latest,
            # What is asked for after the status may know of a destination that this does not have yet.
            dead=[line for line in figures.dead if line.delivery.destination in status["destinations"]],
            now_ms=figures.now_ms,
            verdict=overview.verdict(status),
            sources=overview.listed(status["sources"]),
            destinations=overview.listed(status["destinations"]),
            bars=overview.bars(figures.counts.days),
            zone=overview.zone_of(figures),
        )

    async def _record(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        document = await request.app[CONTROL].record(key)
        return await self._page("record.html", query=key, record=document)

    async def _find(self, request: web.Request) -> web.Response:
        query = request.query.get("q", "").strip()
        finds = await request.app[CONTROL].find(query)
        if finds.is_key:
            return moved(f"/records/{quote(query, safe='')}")
        return await self._page("records.html", query=query, finds=finds)

    async def _asset(self, request: web.Request) -> web.Response:
        return await self._rendering.asset(request.match_info["name"])

    async def _page(self, template: str, code: int = 200, **values: object) -> web.Response:
        shared = {"query": "", "can_sign_out": self._can_sign_out}
        return await self._rendering.page(template, code, **(shared | values))

    def _told(self, handler: Handler) -> Handler:
        """Let a page say what other answers say in JSON."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except UnknownRecordError as error:
                query = request.match_info["key"]
                return await self._page("trouble.html", 404, title="No such record", text=error, query=query)
            except LedgerError as error:
                title = "The state file cannot be read now"
                return await self._page("trouble.html", 503, title=title, text=error.message)

        return handle
