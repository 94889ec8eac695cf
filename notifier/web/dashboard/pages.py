"""The front page, the pages of records, and the static files of the dashboard."""

from urllib.parse import quote

from aiohttp import web

from notifier.web.dashboard.page_frame import PageFrame
from notifier.web.dashboard.templating import redirect
from notifier.web.responses import DAEMON


class MainPages:
    """Serves the front page, the pages of records, and static files."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        with_error_pages = self._frame.with_error_pages
        return [
            web.get("/", with_error_pages(self._front)),
            web.get("/records", with_error_pages(self._search)),
            web.get("/records/{key:[^/]+}", with_error_pages(self._record)),
            web.get("/dashboard/{name}", self._asset),
        ]

    async def _front(self, request: web.Request) -> web.Response:
        # Imported here, because pages are seldom requested.
        from notifier.web.dashboard import filters, view_model  # noqa: PLC0415

        daemon = request.app[DAEMON]
        status = await daemon.status()
        figures = await daemon.figures()
        # The figures are read after the status. They may name a destination that was added in the meantime.
        dead = [line for line in figures.dead if line.delivery.destination in status["destinations"]]
        given_up = view_model.group_by_destination(dead)
        return await self._frame.page(
            request,
            "front.html",
            status=status,
            counts=figures.counts,
            latest=figures.latest,
            dead=dead,
            dead_groups=given_up[: view_model.MAX_GIVEN_UP],
            dead_others=[name for name, _ in given_up[view_model.MAX_GIVEN_UP :]],
            now_ms=figures.now_ms,
            verdict=view_model.health_summary(status),
            sources=view_model.split_rows(status["sources"]),
            withheld=view_model.unreported_changes(status["sources"]),
            destinations=view_model.split_rows(status["destinations"]),
            bars=view_model.day_bars(figures.counts.days),
            zone=filters.utc_offset(figures.now_ms / 1000),
        )

    async def _record(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        document = await request.app[DAEMON].record(key)
        return await self._frame.page(request, "record.html", query=key, record=document)

    async def _search(self, request: web.Request) -> web.Response:
        # Imported here, because pages are seldom requested.
        from notifier.store.queries.search import MAX_PEOPLE, MAX_RECORDS  # noqa: PLC0415

        query = request.query.get("q", "").strip()
        found = await request.app[DAEMON].find_records(query)
        if found.is_key:
            return redirect(f"/records/{quote(query, safe='')}")
        return await self._frame.page(
            request, "records.html", query=query, found=found, max_people=MAX_PEOPLE, max_records=MAX_RECORDS
        )

    async def _asset(self, request: web.Request) -> web.Response:
        return await self._frame.renderer.asset(request.match_info["name"])
