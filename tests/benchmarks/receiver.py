"""A receiver in a separate process: answers 200, counts requests, and records the time of the last one."""

import asyncio
import sys
import time

from aiohttp import web


async def main() -> None:
    """Listen on a free port, print it, and serve until standard input is closed."""
    arrivals: list[int] = []

    async def hook(request: web.Request) -> web.Response:
        await request.read()
        arrivals.append(time.monotonic_ns())
        return web.Response(text="ok")

    async def arrived(_request: web.Request) -> web.Response:
        answer = web.json_response(arrivals)
        arrivals.clear()
        return answer

    app = web.Application()
    app.add_routes([web.post("/hook", hook), web.get("/arrivals", arrived)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
