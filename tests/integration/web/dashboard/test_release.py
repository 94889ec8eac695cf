"""Held and waiting changes on the dashboard, and the buttons that release the held ones."""

import asyncio
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.support.dashboard_server import DashboardServer
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from tests.integration.web.dashboard.conftest import Go, StartServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 30
LONG_AGO = 1_400_000_000_000


async def start_with_held_arrivals(start_server: "StartServer") -> tuple[DashboardServer, list[str]]:
    server = await start_server(options={"acme": {"hold_arrivals_above": 20}})
    assert server.daemon is not None
    keys = [server.complete(created=LONG_AGO, date_number=20150101 + number) for number in range(MANY)]
    async with asyncio.timeout(DEADLINE):
        while (await server.daemon.operations.status())["sources"]["acme"]["held"]["arrivals"]["records"] < MANY:
            await asyncio.sleep(0.02)
    return server, keys


@pytest.mark.parametrize(("button", "told"), [("Report them", MANY), ("Accept silently", 0)])
async def test_release_buttons_report_or_accept_held_arrivals(
    start_server: "StartServer", visit: "Go", button: str, told: int
) -> None:
    server, keys = await start_with_held_arrivals(start_server)
    assert server.daemon is not None
    seen = await visit(server)
    await seen.see()
    shown = seen.page.locator("#withheld-acme-arrivals")
    await expect(shown).to_contain_text(f"acme: {MANY} arrivals are held back.")
    assert (await shown.locator("a").get_attribute("href") or "").removeprefix("/records/") in keys
    await shown.get_by_text(button, exact=True).click()
    await expect(seen.page.locator("#told")).to_contain_text(f"acme: {MANY} records held back: arrivals are")
    await expect(shown).to_have_count(0)
    sources = (await server.daemon.operations.status())["sources"]
    assert sources["acme"]["held"]["arrivals"]["records"] == 0
    tile = seen.page.locator(".tiles > div").filter(has_text="New completions").locator("dd")
    await expect(tile).to_have_text(str(told))


async def test_removal_before_its_second_look_is_shown_with_evidence(start_server: "StartServer", visit: "Go") -> None:
    server = await start_server()
    assert server.daemon is not None
    (gone, *_) = server.account.records()
    server.account.remove(gone.id)
    seen = await visit(server)
    await seen.see()
    await expect(seen.page.locator("#withheld-acme-second-looks")).to_contain_text("1 removal waits for a second look")
    await seen.see(f"/records/{gone.id}")
    await expect(seen.page.locator("main")).to_contain_text("Not reported yet, since")
    await expect(seen.page.locator("main")).to_contain_text("Still missing: a request for its training")
