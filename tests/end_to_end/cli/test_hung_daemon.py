"""Commands while the daemon hangs: each command ends in time, and reports that the daemon does not answer."""

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from notifier.sandbox import documented_account, make_app, serve
from tests.support.command_line import until

if TYPE_CHECKING:
    from tests.support.command_line import Api, CommandOutput, Home

COMMANDS = (
    ("status",),
    ("health",),
    ("poll", "acme"),
    ("sweep", "acme"),
    ("release", "acme", "removals"),
    ("reload",),
    ("enable", "hr"),
    ("disable", "hr"),
    ("test", "hr"),
    ("retry",),
    ("replay", "--since", "2020-01-01"),
    ("replay", "--status"),
    ("deliveries", "drop", "hr", "--yes"),
    ("deliveries", "move", "gone", "hr"),
)

LIMIT_SECONDS = 15.0
"""Five seconds until a command gives up, and ten for the start of a program on a busy machine."""


async def test_command_with_a_hung_daemon_ends_in_time_and_reports_it(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    async with home.daemon() as process:
        process.send_signal(signal.SIGSTOP)
        try:
            for few in (COMMANDS[:5], COMMANDS[5:10], COMMANDS[10:]):
                done = await asyncio.gather(*(_run_timed(home, *command) for command in few))
                for command, (said, seconds) in zip(few, done, strict=True):
                    assert said.code == 1, (command, said)
                    assert "the daemon has not answered within 5 seconds; see its log for the reason" in said.err, (
                        command
                    )
                    assert seconds < LIMIT_SECONDS, command
        finally:
            process.send_signal(signal.SIGCONT)


async def _run_timed(home: "Home", *command: str) -> "tuple[CommandOutput, float]":
    began = time.monotonic()
    return await home.run(*command), time.monotonic() - began


async def test_poll_waits_for_a_slow_api_but_not_for_a_hung_daemon(home: "Home") -> None:
    """With a slow API, a poll takes long: the command waits as long as the daemon answers other requests."""
    held, asked = asyncio.Event(), 0
    held.set()

    @web.middleware
    async def slow(request: web.Request, handler: Any) -> web.StreamResponse:
        nonlocal asked
        if not held.is_set():
            asked += 1
            await held.wait()
        response: web.StreamResponse = await handler(request)
        return response

    async with serve(make_app(documented_account(), rate_limit=None, middlewares=[slow])) as url:
        home.configure(url)
        home.config.write_text(home.config.read_text().replace('"100ms"', '"1h"'))
        async with home.daemon() as process:

            async def has_request() -> bool:
                return asked > 0

            for hangs in (False, True):
                held.clear()
                asked = 0
                polling = asyncio.create_task(home.run("poll", "acme"))
                await until(has_request)
                if hangs:
                    process.send_signal(signal.SIGSTOP)
                    said = await asyncio.wait_for(polling, LIMIT_SECONDS)
                    process.send_signal(signal.SIGCONT)
                    assert said.code == 1
                    assert "the daemon has not answered within 5 seconds" in said.err
                else:
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(asyncio.shield(polling), 7)
                    held.set()
                    said = await polling
                    assert (said.code, said.out) == (0, "acme: 0 new events\n")
                held.set()
