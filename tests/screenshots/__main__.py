"""Takes the documentation's pictures of the dashboard again: a simulated account with a made-up month behind it.

python -m tests.screenshots

It needs Debian's Chromium. The pictures are written beside this file, as WebP, each below 150 kB.
"""

import asyncio
import base64
import logging
import random
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from notifier.sandbox import build_account
from notifier.store.database import Database
from notifier.store.file.store import FileStore
from notifier.store.tables.rollups import QUARTER_MS
from notifier.web.response_models.status import StatusDocument
from tests.support.dashboard_server import DashboardServer, Receiver, browser

HERE = Path(__file__).parent
HEAVIEST = 150_000

_DAY_MS = 86_400_000
_KNOWN = 9_000
_SOURCE = {"poll_interval": "2s", "requests_per_minute": 240}
_GIVES_UP = {"give_up_after": "300ms", "retry_max": "100ms"}
_TO_WEBP = """async ([png, quality]) => {
  const picture = new Image();
  picture.src = `data:image/png;base64,${png}`;
  await picture.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: picture.width, height: picture.height });
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return canvas.toDataURL("image/webp", quality).split(",")[1];
}"""


def live_through_a_month(db: Database, now_ms: int) -> None:
    """Count what a company of some thousand people may have completed: much on workdays, most on Mondays."""
    chance = random.Random(7)
    for ago in range(1, 31):
        weekday = (date.today() - timedelta(days=ago)).weekday()  # noqa: DTZ011 - the machine's own days are shown
        busy = 0 if weekday == 6 else 5 if weekday == 5 else 48 if weekday == 0 else 34
        created = round(busy * chance.uniform(0.6, 1.4))
        quarter = (now_ms - ago * _DAY_MS) // QUARTER_MS
        for type_, events in (("created", created), ("updated", created // 9), ("removed", created // 20)):
            db.execute("INSERT INTO detected_counts VALUES (?, ?, ?)", [quarter, f"completion.{type_}", events])


def spread_over_the_day(db: Database) -> None:
    """Let what was detected within a moment have come in the course of a day."""
    chance = random.Random(3)
    minutes = 0.0
    for (sequence,) in db.execute("SELECT sequence FROM events ORDER BY sequence DESC").fetchall():
        minutes += chance.expovariate(1 / 17)
        db.execute(
            "UPDATE events SET detected_at = detected_at - ? WHERE sequence = ?", [round(minutes * 6e4), sequence]
        )


async def until(is_so: Callable[[StatusDocument], bool], server: DashboardServer) -> None:
    """Wait for what a status tells."""
    assert server.daemon is not None
    async with asyncio.timeout(60):
        while not is_so(await server.daemon.operations.status()):
            await asyncio.sleep(0.1)


async def take(page: Page, name: str) -> None:
    """Keep what is on the screen."""
    png = base64.b64encode(await page.screenshot()).decode()
    for quality in (0.92, 0.85, 0.75):
        webp = base64.b64decode(await page.evaluate(_TO_WEBP, [png, quality]))
        if len(webp) < HEAVIEST:
            break
    (HERE / name).write_bytes(webp)
    print(f"{name}: {len(webp):,} bytes")  # noqa: T201 - a program of its own


async def look(
    chromium: Browser, server: DashboardServer, name: str, *, width: int, height: int, **context: Any
) -> None:
    """Take one picture of the front page, once it is live."""
    opened = await chromium.new_context(viewport={"width": width, "height": height}, **context)
    page = await opened.new_page()
    await page.goto(f"{server.url}/")
    await page.locator("#connection").filter(has_text="live").wait_for()
    await take(page, name)
    await opened.close()


async def main() -> None:
    """Play a day, and take a picture of it going well and one of it going wrong."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(Path(folder, "notifier.db"))
        await store.open()
        await store.run(live_through_a_month, time.time_ns() // 1_000_000)
        await store.close()
        server = DashboardServer(
            Path(folder),
            build_account(_KNOWN),
            {"safety-channel": Receiver(), "hr-system": Receiver(), "badge-gate": Receiver()},
            options={"acme": _SOURCE, "safety-channel": {"type": "slack"}, "badge-gate": _GIVES_UP},
        )
        await server.open()
        try:
            await server.settled()
            async with browser() as chromium:
                await take_pictures(server, chromium)
        finally:
            await server.close()


async def take_pictures(server: DashboardServer, chromium: Browser) -> None:
    """Let people complete trainings, all well at first."""
    assert server.daemon is not None
    for _ in range(6):
        server.grow(4)
        await asyncio.sleep(1.2)
    await until(lambda status: all(one["delivered"] >= 24 for one in status["destinations"].values()), server)
    await server.daemon._store.run(spread_over_the_day)
    await asyncio.sleep(2)
    await look(chromium, server, "desktop-light.webp", width=1280, height=1270, device_scale_factor=1.5)
    server.receivers["badge-gate"].status = 422
    server.receivers["badge-gate"].says = "no badge for this employee"
    server.grow(2)
    await until(lambda status: status["destinations"]["badge-gate"]["dead"] >= 2, server)
    await server.daemon._evaluate_conditions()
    await asyncio.sleep(2)
    phone = {"device_scale_factor": 2, "color_scheme": "dark", "is_mobile": True, "has_touch": True}
    await look(chromium, server, "phone-dark.webp", width=375, height=812, **phone)


if __name__ == "__main__":
    asyncio.run(main())
