"""`notifier explain` for a record that a real daemon has detected and delivered."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from notifier.sandbox.fixtures import build_account
from notifier.sandbox.records import IdPair
from tests.support.program import Program, served
from tests.support.servers import serving
from tests.support.waiting import until


class FailingOnceReceiver:
    """A receiver that answers the first request with 500 and all others with 204."""

    def __init__(self) -> None:
        self.url = ""
        self.statuses: list[int] = []

    async def hook(self, request: web.Request) -> web.Response:
        await request.read()
        self.statuses.append(204 if self.statuses else 500)
        return web.Response(status=self.statuses[-1])


@pytest.fixture
async def failing_once() -> AsyncIterator[FailingOnceReceiver]:
    this = FailingOnceReceiver()
    app = web.Application()
    app.router.add_post("/hook", this.hook)
    async with serving(app, shutdown_timeout=1.0) as url:
        this.url = url
        yield this


async def get_json(program: Program, path: str) -> Any:
    connector = aiohttp.UnixConnector(str(program.folder / "notifier.db.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://localhost{path}") as response,
    ):
        return await response.json()


async def test_explain_prints_every_attempt_with_and_without_a_daemon(
    program: Program, failing_once: FailingOnceReceiver
) -> None:
    account = build_account(10)
    async with served(account) as api:
        program.configure(api, failing_once.url)
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        key = str(account.add(user=account.users[0]["id"], training=IdPair.from_number(1046)).id)
        await until(lambda: failing_once.statuses == [500, 204])
        await program.until_status(lambda it: it["destinations"]["hr"]["delivered"] == 1)
        by_the_daemon = await get_json(program, f"/v1/records/{key}")
        beside_it = program.command("explain", key)
        await program.stop()
    without_it = program.command("explain", key)

    (event,) = by_the_daemon["sources"]["acme"]["events"]
    (delivery,) = event["deliveries"]
    assert (event["net"], event["reason"]) == ("head", "entered_since_first_meeting")
    assert (delivery["destination"], delivery["state"], delivery["attempts"]) == ("hr", "delivered", 2)
    assert [(attempt["reason"], attempt["status"]) for attempt in delivery["attempt_log"]] == [
        ("server_error", 500),
        ("delivered", 204),
    ]
    assert beside_it.returncode == without_it.returncode == 0, beside_it.stderr + without_it.stderr
    assert beside_it.stdout == without_it.stdout
    created, failed, delivered = without_it.stdout.splitlines()[-3:]
    assert f"created (event 1)    -      {event['id']}, found by a poll of the newest records; news: " in created
    assert "attempt 1 (event 1)  hr     server_error 500, retry_later, " in failed
    assert "attempt 2 (event 1)  hr     delivered 204, " in delivered
