"""The routes of the feed."""

from aiohttp import web

from notifier.deliver.envelope import cloudevent
from notifier.web.answers import json_answer
from notifier.web.feed.feed import Feed
from notifier.web.feed.frames import OPENING
from notifier.web.feed.wishes import page_wish, stream_wish

FEED: web.AppKey[Feed] = web.AppKey("feed", Feed)


def routes() -> list[web.RouteDef]:
    """List them."""
    return [
        web.get("/v1/events", _events),
        # Who asks for the head alone must not become a reader.
        web.get("/v1/events/stream", _stream, allow_head=False),
    ]


async def _events(request: web.Request) -> web.Response:
    page = await request.app[FEED].page(page_wish(request.query))
    return json_answer({"events": [cloudevent(event) for event in page.events], "next": page.next})


async def _stream(request: web.Request) -> web.StreamResponse:
    feed = request.app[FEED]
    wish = stream_wish(request.query, request.headers)
    feed.stream.take_place()
    try:
        reader = await feed.reader(wish)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                # What stands between must not hold events back until there are many.
                "X-Accel-Buffering": "no",
            }
        )
        await reader.connect(request, response)
        await reader.hand(OPENING)
        await feed.stream.serve(reader)
        return response
    finally:
        feed.stream.leave_place()
