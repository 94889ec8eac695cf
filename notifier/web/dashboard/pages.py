"""The pages of the dashboard and their addresses."""

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from aiohttp import web

from notifier.store.errors import StoreError
from notifier.web.daemon_api import UnknownRecordError
from notifier.web.dashboard.templating import Rendering, moved
from notifier.web.responses import CONTROL

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pages:
    """Serves the dashboard's pages."""

    def __init__(self, rendering: Rendering, has_session: Callable[[web.Request], bool]) -> None:
        """Initialize with the rendering, and a check whether a visitor has a session and so can sign out."""
        self._rendering = rendering
        self._has_session = has_session

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/", self._told(self._front)),
            web.get("/records", self._told(self._find)),
            web.get("/records/{key:[^/]+}", self._told(self._record)),
            web.get("/dashboard/{name}", self._asset),
        ]

    async def _front(self, request: web.Request) -> web.Response:
        # Imported here, because most daemons have no visitors at most times.
        from notifier.web.dashboard import view_model  # noqa: PLC0415

        control = request.app[CONTROL]
        status = await control.status()
        figures = await control.figures()
        return await self._page(
            request,
            "front.html",
            status=status,
            counts=figures.counts,
            latest=figures.latest,
            # The figures are read after the status, and so may name a destination that the status does not have yet.
            dead=[line for line in figures.dead if line.delivery.destination in status["destinations"]],
            now_ms=figures.now_ms,
            verdict=view_model.verdict(status),
            sources=view_model.listed(status["sources"]),
            withheld=view_model.withheld(status["sources"]),
            destinations=view_model.listed(status["destinations"]),
            bars=view_model.bars(figures.counts.days),
            zone=view_model.zone_of(figures),
        )

    async def _record(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        document = await request.app[CONTROL].record(key)
        return await self._page(request, "record.html", query=key, record=document)

    async def _find(self, request: web.Request) -> web.Response:
        query = request.query.get("q", "").strip()
        finds = await request.app[CONTROL].find(query)
        if finds.is_key:
            return moved(f"/records/{quote(query, safe='')}")
        return await self._page(request, "records.html", query=query, finds=finds)

    async def _asset(self, request: web.Request) -> web.Response:
        return await self._rendering.asset(request.match_info["name"])

    async def _page(self, request: web.Request, template: str, code: int = 200, **values: object) -> web.Response:
        shared = {"query": "", "can_sign_out": self._has_session(request)}
        return await self._rendering.page(template, code, **(shared | values))

    def _told(self, handler: Handler) -> Handler:
        """Return a handler that works like `handler`, but answers errors with a page instead of JSON."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except UnknownRecordError as error:
                query = request.match_info["key"]
                return await self._page(request, "trouble.html", 404, title="No such record", text=error, query=query)
            except StoreError as error:
                title = "The state file cannot be read now"
                return await self._page(request, "trouble.html", 503, title=title, text=error.message)

        return handle
