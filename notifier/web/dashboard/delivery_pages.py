"""The page of one delivery, with its attempts and its request; and the list of an event's deliveries."""

from typing import Final
from urllib.parse import quote

import orjson
from aiohttp import hdrs, web

from notifier.web.daemon_api import RequestPreview
from notifier.web.dashboard.page_frame import PageFrame
from notifier.web.dashboard.templating import redirect
from notifier.web.responses import DAEMON

DELIVERIES: Final = "/deliveries"

MAX_SHOWN_BYTES: Final = 32_768
"""Maximum number of bytes of a body that a page shows. A longer body is cut; the whole body can be downloaded."""


class DeliveryPages:
    """Serves the pages of deliveries."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        one = f"{DELIVERIES}/{{event:[^/]+}}"
        return [
            web.get(one, self._frame.with_error_pages(self._deliveries)),
            web.get(f"{one}/{{name:[^/]+}}", self._frame.with_error_pages(self._delivery)),
            web.get(f"{one}/{{name:[^/]+}}/body", self._frame.with_error_pages(self._body)),
        ]

    async def _deliveries(self, request: web.Request) -> web.Response:
        found = await request.app[DAEMON].delivery_inspection.deliveries(request.match_info["event"])
        if len(found.deliveries) == 1:
            return redirect(f"{DELIVERIES}/{quote(found.event.id, safe='')}/{found.deliveries[0].destination}")
        return await self._frame.page(request, "deliveries.html", found=found)

    async def _delivery(self, request: web.Request) -> web.Response:
        from notifier.web.dashboard.curl import curl_command  # noqa: PLC0415 - most daemons have no visitors

        event, name = request.match_info["event"], request.match_info["name"]
        detail = await request.app[DAEMON].delivery_inspection.detail(event, name)
        asked = detail.request
        return await self._frame.page(
            request,
            "delivery.html",
            detail=detail,
            stored=detail.stored,
            delivery=detail.stored.delivery,
            event=detail.stored.event,
            asked=asked,
            body=None if asked is None else format_body(asked),
            is_cut=asked is not None and len(asked.body) > MAX_SHOWN_BYTES,
            curl=None if asked is None or not asked.is_over_http else curl_command(asked, name),
        )

    async def _body(self, request: web.Request) -> web.Response:
        detail = await request.app[DAEMON].delivery_inspection.detail(
            request.match_info["event"], request.match_info["name"]
        )
        if detail.request is None:
            raise web.HTTPNotFound
        headers = {hdrs.CONTENT_DISPOSITION: 'attachment; filename="body.json"'}
        return web.Response(body=detail.request.body, content_type="application/json", headers=headers)


def format_body(request: RequestPreview) -> str:
    """Return a request's body as text for display: JSON is indented, and a long body is cut. Pure."""
    if len(request.body) > MAX_SHOWN_BYTES:
        return request.body[:MAX_SHOWN_BYTES].decode(errors="ignore")
    try:
        return orjson.dumps(orjson.loads(request.body), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return request.body.decode(errors="replace")
