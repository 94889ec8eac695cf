"""The page of events, and its downloads."""

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from notifier.events import EventType
from notifier.store.errors import StoreError
from notifier.web.daemon_api import EventLogControl, ExportFormat
from notifier.web.dashboard.page_frame import PageFrame
from notifier.web.responses import CONTROL

if TYPE_CHECKING:
    from notifier.store.queries.event_log import EventLogFilter

EVENTS: Final = "/events"

ON_A_PAGE: Final = 50

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
            web.get(EVENTS, self._frame.told(self._events)),
            *(
                # A HEAD request must not read all events.
                web.get(f"{EVENTS}.{form}", self._frame.told(Exporter(form)), allow_head=False)
                for form in ExportFormat
            ),
        ]

    async def _events(self, request: web.Request) -> web.Response:
        # Imported here, because pages are seldom requested.
        from notifier.web.dashboard import event_query  # noqa: PLC0415
        from notifier.web.dashboard.filters import event_word, zone_of  # noqa: PLC0415

        control = request.app[CONTROL]
        wish = event_query.parse_event_log(request.query)
        found = await control.event_log.page(wish.chosen, wish.before, ON_A_PAGE)
        status = await control.status()
        filters = event_query.given(request.query)
        return await self._frame.page(
            request,
            "events.html",
            found=found,
            filters=dict.fromkeys(event_query.FIELDS, "") | filters,
            is_filtered=bool(filters),
            is_first=wish.before is None,
            sources=[(name, name) for name in sorted(status["sources"])],
            destinations=[(name, name) for name in sorted(status["destinations"])],
            types=[(type_, event_word(type_)) for type_ in map(str, EventType)],
            zone=zone_of(time.time()),
            newest=event_query.address(EVENTS, filters),
            older=None if found.next is None else event_query.address(EVENTS, filters, found.next),
            downloads={form: event_query.address(f"{EVENTS}.{form}", filters) for form in ExportFormat},
        )


class Exporter:
    """Answers a request with a file of events of any size, because each part is sent as soon as it is read."""

    def __init__(self, form: ExportFormat) -> None:
        self._form = form

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Send the file. Raises WrongRequestError and, only before the first part is sent, StoreError."""
        from notifier.web import event_rows  # noqa: PLC0415 - see above
        from notifier.web.dashboard import event_query  # noqa: PLC0415

        wish = event_query.parse_event_log(request.query)
        log = request.app[CONTROL].event_log
        first = await log.export(wish.chosen, wish.before, self._form)
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: f"{_CONTENT_TYPES[self._form]}; charset=utf-8",
                hdrs.CONTENT_DISPOSITION: f'attachment; filename="events.{self._form}"',
            }
        )
        response.enable_compression()
        await response.prepare(request)
        if self._form is ExportFormat.CSV:
            await response.write(event_rows.BYTE_ORDER_MARK + event_rows.heading())
        try:
            await response.write(first.content)
            await self._rest(response, log, wish.chosen, first.next)
        except StoreError:
            # Otherwise the client would take the part that it has for the whole file.
            if request.transport is not None:
                request.transport.abort()
            return response
        except Exception:
            if request.transport is not None:
                request.transport.abort()
            raise
        await response.write_eof()
        return response

    async def _rest(
        self, response: web.StreamResponse, log: EventLogControl, chosen: "EventLogFilter", before: int | None
    ) -> None:
        while before is not None:
            part = await log.export(chosen, before, self._form)
            await response.write(part.content)
            before = part.next
            # Other requests get a turn, even if this client reads so fast that writing never waits.
            await asyncio.sleep(0)
