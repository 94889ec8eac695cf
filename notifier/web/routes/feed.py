"""The routes of the feed of events."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from aiohttp import web

from notifier.destinations.webhook.envelope import cloudevent
from notifier.web.feed.service import Feed
from notifier.web.feed.sse import OPENING_LINE, POSITION_HEADER
from notifier.web.listening.connections import connection_of
from notifier.web.query_parameters import PageQuery, parse_query, parse_stream
from notifier.web.responses import json_answer
from notifier.web.security.guard import GUARD

if TYPE_CHECKING:
    from notifier.web.response_models.records import EventPageDocument

FEED: web.AppKey[Feed] = web.AppKey("feed", Feed)


def routes() -> list[web.RouteDef]:
    """Return the routes."""
    return [
        web.get("/v1/events", _events),
        # A HEAD request must not become a reader of the stream.
        web.get("/v1/events/stream", _stream, allow_head=False),
    ]


async def _events(request: web.Request) -> web.Response:
    page = await request.app[FEED].page(parse_query(PageQuery, request.query))
    body: EventPageDocument = {"events": [cloudevent(event) for event in page.events], "next": page.next}
    return json_answer(body)


async def _stream(request: web.Request) -> web.StreamResponse:
    feed, guard = request.app[FEED], request.app[GUARD]
    query = parse_stream(request.query, request.headers)
    peer = connection_of(request).peer_key
    session = guard.session_of(request)
    feed.stream.register_reader(peer)
    with ExitStack() as at_end:
        at_end.callback(feed.stream.unregister_reader, peer)
        reader = await feed.make_reader(query)
        if session is not None:
            at_end.callback(guard.sessions.call_on_end(session, reader.end))
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                # Tells a proxy to pass each event on at once instead of buffering many.
                "X-Accel-Buffering": "no",
                # A client that loses the connection before it receives an event can continue after this number.
                POSITION_HEADER: str(reader.after),
            }
        )
        # `connect` lifts the limit of the connection's send buffer, which a later answer, such as a download, needs.
        response.force_close()
        await reader.connect(request, response)
        await reader.send(OPENING_LINE)
        await feed.stream.serve(reader)
        return response
