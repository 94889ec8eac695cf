"""The pages of one source and of one destination."""

from aiohttp import web

from notifier.web.daemon_api import SourceDetail, UnknownNameError
from notifier.web.dashboard.page_frame import PageFrame
from notifier.web.responses import DAEMON


class SourceAndDestinationPages:
    """Serves the pages of sources and destinations."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/sources/{name}", self._frame.with_error_pages(self._source)),
            web.get("/destinations/{name}", self._frame.with_error_pages(self._destination)),
        ]

    async def _source(self, request: web.Request) -> web.Response:
        # Imported here, because pages are seldom requested.
        from notifier.web.dashboard import view_model  # noqa: PLC0415

        name = request.match_info["name"]
        daemon = request.app[DAEMON]
        detail = await daemon.details.source(name)
        status = await daemon.status()
        if name not in status["sources"]:
            raise UnknownNameError("source", name, tuple(status["sources"]))
        source = status["sources"][name]
        return await self._page(
            request,
            "source.html",
            detail,
            name,
            source=source,
            withheld=view_model.unreported_changes({name: source}),
        )

    async def _destination(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        daemon = request.app[DAEMON]
        detail = await daemon.details.destination(name)
        status = await daemon.status()
        if name not in status["destinations"]:
            raise UnknownNameError("destination", name, tuple(status["destinations"]))
        counts = (await daemon.figures()).counts
        return await self._page(
            request,
            "destination.html",
            detail,
            name,
            destination=status["destinations"][name],
            delivered_today=counts.delivered_today.get(name, 0),
            latency=counts.latencies.get(name),
        )

    async def _page(
        self, request: web.Request, template: str, detail: SourceDetail, name: str, **values: object
    ) -> web.Response:
        from notifier.web.dashboard.activity_chart import activity_chart  # noqa: PLC0415 - see above

        chart = activity_chart(detail.hours)
        shared: dict[str, object] = {"name": name, "detail": detail, "now_ms": detail.now_ms, "chart": chart}
        return await self._frame.page(request, template, 200, **(shared | values))
