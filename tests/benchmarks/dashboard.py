"""Measures the dashboard's response times with a large state file: a million records and 100,000 events.

    python -m tests.benchmarks.dashboard [--records 1000000] [--events 100000]

The minimum is `/healthz` of the same server, which needs no data. If Debian's Chromium is installed, it also loads the
front page, each time with an empty cache; the minimum is then a page of eleven bytes.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.daemon.daemon import Daemon
from notifier.store.database import Database
from notifier.store.file.store import FileStore
from notifier.store.tables import records_by_person, rollups
from tests.benchmarks.common import report
from tests.support.dashboard_server import CHROMIUM, browser

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = 30
LOADS = 10


def fill(db: Database, records: int, events: int, now_ms: int) -> None:
    """Write records of ten years, and events of the last 90 days with deliveries and attempts."""
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
    db.execute(
        "INSERT INTO sources (name, met_at, swept_at, records, last_success) VALUES ('acme', 1, ?, ?, ?)",
        [now_ms, records, now_ms],
    )
    db.execute(
        f"{numbers} INSERT INTO people (source, id, name, employee_number)"
        " SELECT 'acme', printf('%024x', i), printf('Person %d of many', i), i FROM n",
        [20_000],
    )
    db.execute(
        f"{numbers} INSERT INTO trainings (source, id, title) SELECT 'acme', i, printf('Training %d', i) FROM n", [500]
    )
    db.execute(
        f"{numbers} INSERT INTO records (source, key, revision, user_id, training_id, completed_on, recorded_at,"
        " seen_at, net, reason, fingerprint, record) SELECT 'acme', i, 1, printf('%024x', i % 20000 + 1), i % 500 + 1,"
        " date('2026-11-01', printf('-%d days', i % 3650)), 1, 1, 'sweep', 'first_answer', 1, '{}' FROM n",
        [records],
    )
    db.execute(
        f"{numbers} INSERT INTO events (id, type, source, subject, revision, net, reason, detected_at, data) SELECT"
        " printf('evt_%d', i), 'completion.created', 'acme', i, 1, 'head', 'entered_since_first_meeting',"
        " ? - 7776000000 + i * 7776000000 / ?, json_object('completion', json_object('key', i, 'user_id', 'u',"
        " 'user_name', 'Person', 'training_title', 'Training', 'training_id', '7', 'completed_on', '2026-11-01'),"
        " 'previous', NULL) FROM n",
        [events, now_ms, events],
    )
    for destination in ("hr", "slack", "gate"):
        db.execute("INSERT INTO destinations (name, delivered) VALUES (?, ?)", [destination, events])
        db.execute(
            "INSERT INTO deliveries (sequence, destination, state, attempts, last_attempt_at, reason, status)"
            " SELECT sequence, ?, CASE WHEN sequence % 1000 = 0 THEN 'dead' ELSE 'delivered' END, 1, detected_at + 50,"
            " 'ok', 200 FROM events",
            [destination],
        )
        db.execute(
            "INSERT INTO attempt_runs (first_sequence, last_sequence, destination, attempted_at, milliseconds,"
            " decision, reason, status)"
            " SELECT sequence, sequence, ?, detected_at + 50, 40, 'done', 'ok', 200 FROM events",
            [destination],
        )
        db.execute(
            "INSERT INTO latency_counts SELECT detected_at / ?, ?, sequence % 90 + 10, count(*) FROM events"
            " GROUP BY 1, 3",
            [rollups.HOUR_MS, destination],
        )
        db.execute(
            "INSERT INTO delivered_counts SELECT detected_at / ?, ?, count(*) FROM events GROUP BY 1",
            [rollups.QUARTER_MS, destination],
        )
    started = time.perf_counter()
    records_by_person.create_index(db)
    print(f"the index of people's records was made in {time.perf_counter() - started:.1f} s")
    db.execute(
        "INSERT INTO detected_counts SELECT detected_at / ?, type, count(*) FROM events GROUP BY 1, 2",
        [rollups.QUARTER_MS],
    )


async def main() -> None:
    """Fill a state file, start the daemon with it, and request pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "notifier.db")
        store = FileStore(path)
        await store.open()
        started = time.perf_counter()
        await store.run(fill, options.records, options.events, SystemClock().now_ms())
        await store.close()
        megabytes, seconds = path.stat().st_size / 1e6, time.perf_counter() - started
        print(
            f"{options.records:,} records, {options.events:,} events: {megabytes:,.0f} MB, written in {seconds:.0f} s"
        )
        nowhere = {"type": "http", "url": "http://127.0.0.1:9/"}
        daemon = Daemon(
            Settings.model_validate(
                {
                    "store": {"path": str(path)},
                    "http": {"listen": "127.0.0.1:0", "anonymous": True},
                    "sources": {"acme": {"base_url": "http://127.0.0.1:9/v1", "token": "x"}},
                    "destinations": dict.fromkeys(("hr", "slack", "gate"), nowhere),
                }
            )
        )
        await daemon.start()
        try:
            url = str(daemon.url).removesuffix("/")
            await measure(url)
            if CHROMIUM is not None:
                await load(url)
        finally:
            await daemon.stop()


async def measure(url: str) -> None:
    """Request each page many times in a row."""
    pages: dict[str, Callable[[int], str]] = {
        "/healthz (minimum)": lambda _: "/healthz",
        "/": lambda _: "/",
        "/events": lambda _: "/events",
        "/events?person= a person's name": lambda number: f"/events?person=Person+{number}+of",
        "/events?training= what fits nothing": lambda number: f"/events?training=nothing{number}",
        "/events?state=dead": lambda _: "/events?state=dead",
        "/deliveries/ID/DESTINATION": lambda number: f"/deliveries/evt_{number * 31 + 1}/hr",
        "/sources/NAME": lambda _: "/sources/acme",
        "/destinations/NAME": lambda _: "/destinations/hr",
        "/records/KEY": lambda number: f"/records/{number * 31 + 1}",
        "/records?q= a person's name": lambda number: f"/records?q=Person+{number}+of",
        "/records?q= what fits nobody": lambda number: f"/records?q=nobody{number}",
    }
    async with aiohttp.ClientSession() as session:
        for name, path in pages.items():
            taken = []
            for number in range(TIMES):
                started = time.perf_counter()
                async with session.get(url + path(number)) as response:
                    body = await response.read()
                taken.append((time.perf_counter() - started) * 1000)
            report(name, taken, "ms", f"first {taken[0]:.1f} ms, {response.status}, {len(body):,} bytes")


async def load(url: str) -> None:
    """Load pages in a browser with an empty cache, until all their files are loaded and their scripts have run."""
    async with browser() as chromium:
        for name, path in (("loaded: /healthz (minimum)", "/healthz"), ("loaded: /", "/")):
            taken = []
            for _ in range(LOADS):
                context = await chromium.new_context()
                page = await context.new_page()
                await page.goto(url + path, wait_until="load")
                taken.append(float(await page.evaluate("performance.getEntriesByType('navigation')[0].loadEventStart")))
                await context.close()
            report(name, taken, "ms")


if __name__ == "__main__":
    asyncio.run(main())
