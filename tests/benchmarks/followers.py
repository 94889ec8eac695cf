"""Runs readers of the event stream in a separate process, and counts the events that each of them receives.

    python tests/benchmarks/followers.py PORT READERS

PORT is the daemon's port. Prints a port on which `/received` returns each reader's number of events.
"""

import asyncio
import os
import sys

from aiohttp import web

_MARK = b"\ndata: "
_ADDRESSES = 8


class Follower(asyncio.Protocol):
    """One reader that does as little as possible."""

    def __init__(self) -> None:
        """Initialise without events."""
        self.events = 0
        self.following = asyncio.Event()
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Request the events from now on."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"GET /v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        """Count the events in the received bytes."""
        self.following.set()
        self.events += (self._end + data).count(_MARK)
        self._end = data[1 - len(_MARK) :]


async def main() -> None:
    """Run the readers until standard input is closed."""
    # Real readers run on other machines, so these must not compete with the daemon for the processor.
    os.nice(19)
    loop = asyncio.get_running_loop()
    port, count = map(int, sys.argv[1:])
    # Several addresses, because one address may use only a part of the connections.
    places = [f"127.0.0.{1 + number % _ADDRESSES}" for number in range(count)]
    followers = [
        (await loop.create_connection(Follower, "127.0.0.1", port, local_addr=(place, 0)))[1] for place in places
    ]
    for follower in followers:
        await follower.following.wait()

    async def received(_request: web.Request) -> web.Response:
        return web.json_response([follower.events for follower in followers])

    app = web.Application()
    app.add_routes([web.get("/received", received)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
