"""The pages of the dashboard and their addresses."""

from urllib.parse import quote

from aiohttp import web

from notifier.web.dashboard.page_frame import PageFrame
from notifier.web.dashboard.templating import moved
from notifier.web.responses import CONTROL


class Pages:
    """Serves the dashboard's pages."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        told = self._frame.told
        return [
            web.get("/", told(self._front)),
            web.get("/records", told(self._find)),
            web.get("/records/{key:[^/]+}", told(self._record)),
            web.get("/dashboard/{name}", self._asset),
        ]

    async def _front(self, request: web.Request) -> web.Response:
        # Imported here, because pages are seldom requested.
        from notifier.web.dashboard import filters, view_model  # noqa: PLC0415

        control = request.app[CONTROL]
        status = await control.status()
        figures = await control.figures()
        # The figures are read after the status, and so may name a destination that the status does not have yet.
        dead = [line for line in figures.dead if line.delivery.destination in status["destinations"]]
        given_up = view_model.given_up(dead)
        return await self._frame.page(
            request,
            "front.html",
            status=status,
            counts=figures.counts,
            latest=figures.latest,
            dead=dead,
            dead_groups=given_up[: view_model.MOST_GIVEN_UP],
            dead_others=[name for name, _ in given_up[view_model.MOST_GIVEN_UP :]],
            now_ms=figures.now_ms,
            verdict=view_model.verdict(status),
            sources=view_model.listed(status["sources"]),
            withheld=view_model.withheld(status["sources"]),
            destinations=view_model.listed(status["destinations"]),
            bars=view_model.bars(figures.counts.days),
            zone=filters.zone_of(figures.now_ms / 1000),
        )

    async def _record(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        document = await request.app[CONTROL].record(key)
        return await self._frame.page(request, "record.html", query=key, record=document)

    async def _find(self, request: web.Request) -> web.Response:
        query = request.query.get("q", "").strip()
        finds = await request.app[CONTROL].find(query)
        if finds.is_key:
            return moved(f"/records/{quote(query, safe='')}")
        return await self._frame.page(request, "records.html", query=query, finds=finds)

    async def _asset(self, request: web.Request) -> web.Response:
        return await self._frame.rendering.asset(request.match_info["name"])
