"""The page of events, and its downloads."""

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from notifier.events import EventType
from notifier.store.errors import StoreError
from notifier.web.daemon_api import EventLogInspection, ExportFormat
from notifier.web.dashboard.page_frame import PageFrame
from notifier.web.responses import DAEMON

if TYPE_CHECKING:
    from notifier.store.queries.event_log import EventLogFilter

EVENTS: Final = "/events"

EVENTS_PER_PAGE: Final = 50

_CONTENT_TYPES: Final[Mapping[ExportFormat, str]] = {
    ExportFormat.CSV: "text/csv",
    ExportFormat.JSON_LINES: "application/jsonl",
}


class EventPages:
    """Serves the page of events and its downloads."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get(EVENTS, self._frame.with_error_pages(self._events)),
            *(
                # A HEAD request must not read all events.
                web.get(
                    f"{EVENTS}.{export_format}", self._frame.with_error_pages(Exporter(export_format)), allow_head=False
                )
                for export_format in ExportFormat
            ),
        ]

    async def _events(self, request: web.Request) -> web.Response:
        # Imported here, because pages are seldom requested.
        from notifier.web.dashboard import event_query  # noqa: PLC0415
        from notifier.web.dashboard.filters import event_word, utc_offset  # noqa: PLC0415

        daemon = request.app[DAEMON]
        query = event_query.parse_event_log(request.query)
        found = await daemon.event_log.page(query.event_filter, query.before, EVENTS_PER_PAGE)
        status = await daemon.status()
        filters = event_query.given_filters(request.query)
        return await self._frame.page(
            request,
            "events.html",
            found=found,
            filters=dict.fromkeys(event_query.FILTER_NAMES, "") | filters,
            is_filtered=bool(filters),
            is_first=query.before is None,
            sources=[(name, name) for name in sorted(status["sources"])],
            destinations=[(name, name) for name in sorted(status["destinations"])],
            types=[(type_, event_word(type_)) for type_ in map(str, EventType)],
            zone=utc_offset(time.time()),
            newest=event_query.page_address(EVENTS, filters),
            older=None if found.next is None else event_query.page_address(EVENTS, filters, found.next),
            downloads={
                export_format: event_query.page_address(f"{EVENTS}.{export_format}", filters)
                for export_format in ExportFormat
            },
        )


class Exporter:
    """Sends a file of events. The file can have any size, because each part is sent as soon as it is read."""

    def __init__(self, export_format: ExportFormat) -> None:
        self._export_format = export_format

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Send the file. Raises WrongRequestError, StoreError.

        If the store fails after the first part, no error is raised, but the connection is closed.
        """
        from notifier.web import event_rows  # noqa: PLC0415 - see above
        from notifier.web.dashboard import event_query  # noqa: PLC0415

        query = event_query.parse_event_log(request.query)
        log = request.app[DAEMON].event_log
        first = await log.export(query.event_filter, query.before, self._export_format)
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: f"{_CONTENT_TYPES[self._export_format]}; charset=utf-8",
                hdrs.CONTENT_DISPOSITION: f'attachment; filename="events.{self._export_format}"',
            }
        )
        response.enable_compression()
        await response.prepare(request)
        if self._export_format is ExportFormat.CSV:
            await response.write(event_rows.BYTE_ORDER_MARK + event_rows.header_line())
        try:
            await response.write(first.content)
            await self._send_rest(response, log, query.event_filter, first.next)
        except StoreError:
            # A closed connection tells the client that the file is not complete.
            if request.transport is not None:
                request.transport.abort()
            return response
        except Exception:
            if request.transport is not None:
                request.transport.abort()
            raise
        await response.write_eof()
        return response

    async def _send_rest(
        self, response: web.StreamResponse, log: EventLogInspection, event_filter: "EventLogFilter", before: int | None
    ) -> None:
        while before is not None:
            page_part = await log.export(event_filter, before, self._export_format)
            await response.write(page_part.content)
            before = page_part.next
            # Lets other requests run, even if this client reads so fast that writing never waits.
            await asyncio.sleep(0)
