"""A receiver in a separate process that records when each event arrived, whatever the format of the body.

Each body contains the names of its events, such as `bench-0`.
"""

import asyncio
import re
import sys
import time

from aiohttp import web

_NAME = re.compile(rb"bench-(\d+)\b")


async def main() -> None:
    """Listen on a free port, print it, and serve until standard input is closed."""
    arrivals: dict[int, list[int]] = {}

    async def hook(request: web.Request) -> web.Response:
        body = await request.read()
        now = time.monotonic_ns()
        # One body may name its event more than once.
        for number in set(map(int, _NAME.findall(body))):
            arrivals.setdefault(number, []).append(now)
        return web.Response(text="ok")

    async def count(_request: web.Request) -> web.Response:
        return web.json_response(len(arrivals))

    async def take(_request: web.Request) -> web.Response:
        answer = web.json_response(arrivals)
        arrivals.clear()
        return answer

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.add_routes([web.post("/hook", hook), web.get("/count", count), web.get("/arrivals", take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
