"""The heartbeat URL is requested while polls succeed, and not while they fail."""

from aiohttp import web
from aiohttp.typedefs import Handler

from notifier.sandbox.fixtures import build_account
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until


async def test_heartbeat_stops_while_polls_fail_and_resumes_afterwards(program: Program, receiver: Receiver) -> None:
    broken = False

    @web.middleware
    async def sometimes_html(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.Response(text="<html>Bad gateway</html>", status=502) if broken else await handler(request)

    async with served(build_account(10), sometimes_html) as api:
        program.configure(api, receiver.url, more=f'[alerts]\nheartbeat_url = "{receiver.url}/beat"\n')
        program.start()
        await until(lambda: receiver.beats > 2)
        broken = True
        await program.until_status(lambda it: it["sources"]["acme"]["state"] == "failing")
        beats = receiver.beats
        asked = program.status()["sources"]["acme"]["requests"]
        await program.until_status(lambda it: it["sources"]["acme"]["requests"] > asked + 3)
        assert receiver.beats <= beats + 1
        broken = False
        await until(lambda: receiver.beats > beats + 3)
        await program.stop()
    assert "source works again" in program.said()
    assert program.said().count("http_status") == 1
