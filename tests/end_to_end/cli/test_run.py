"""`notifier run`: its start, its errors at the start, and its end."""

import asyncio
import json
import signal
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from notifier.sandbox import Growth, documented_account, make_app, serve
from tests.support.command_line import call

if TYPE_CHECKING:
    from tests.support.command_line import Api, Home

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_ends_within_5_seconds_of_a_signal_while_api_and_receiver_hang(
    home: "Home", number: signal.Signals
) -> None:
    account, api, receiver = documented_account(), RequestBlocker(), RequestBlocker(blocks=True)
    app = web.Application(middlewares=[receiver.middleware])
    async with serve(make_app(account, rate_limit=None, middlewares=[api.middleware])) as url, serve(app) as hook:
        home.configure(url, hr=hook)
        async with home.daemon() as process:
            Growth(account).grow()
            await asyncio.wait_for(receiver.has_blocked.wait(), 10)
            api.blocks = True
            await asyncio.wait_for(api.has_blocked.wait(), 10)
            asked = time.monotonic()
            err = await home.end(process, number)
            seconds = time.monotonic() - asked
    assert process.returncode == 0
    assert seconds < 5
    assert "Traceback" not in err
    (delivery,) = (await home.call("deliveries", "--json")).documents
    assert delivery["state"] == "pending"


class RequestBlocker:
    """Blocks requests while `blocks` is true; `has_blocked` is set at the first blocked request."""

    def __init__(self, *, blocks: bool = False) -> None:
        self.blocks = blocks
        self.has_blocked = asyncio.Event()

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def hang(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self.blocks:
                self.has_blocked.set()
                await asyncio.sleep(3600)
            return await handler(request)

        return hang


async def test_second_run_on_the_same_state_file_names_the_holding_process(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    async with home.daemon() as first:
        second = await home.run("run")
    assert second.code == 1
    assert f"is in use by process {first.pid}: stop that process first" in second.err
    assert first.returncode == 0


async def test_run_with_its_listen_address_in_use_raises_interface_down(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        home.config.write_text(home.config.read_text().replace('listen = ""', f'listen = "{address}"'))
        async with home.daemon() as process:
            told = json.loads((await home.run("status", "--json")).out)
            assert [it["condition"] for it in told["conditions"]] == ["interface_down"]
            assert told["conditions"][0]["summary"].startswith(f"cannot listen on {address}")
            err = await home.end(process)
    assert process.returncode == 0
    assert f"cannot listen on {address}" in err


def test_run_rejects_a_file_that_is_no_state_file(home: "Home") -> None:
    home.state_file.write_bytes(b"what is this?" * 1000)
    said = call("run", "--config", str(home.config))
    assert said.code == 1
    assert "is not a state file" in said.err


async def test_run_logs_as_configured_and_warns_about_unlikely_settings(home: "Home", api: "Api") -> None:
    home.configure(api.url, more='[log]\nformat = "json"\nlevel = "warning"\n')
    async with home.daemon() as process:
        err = await home.end(process)
    entries = [json.loads(line) for line in err.splitlines()]
    assert {entry["level"] for entry in entries} <= {"warning", "error"}
    assert entries[0]["message"].startswith("sources.acme.requests_per_minute: is more than")


async def test_run_verbose_logs_more_than_configured(home: "Home", api: "Api") -> None:
    home.configure(api.url, more='[log]\nlevel = "error"\n')
    with home.started("run", "--verbose") as process:
        assert process.stderr is not None
        assert "is more than" in await asyncio.to_thread(process.stderr.readline)
        assert "started" in await asyncio.to_thread(process.stderr.readline)
        await home.end(process)
