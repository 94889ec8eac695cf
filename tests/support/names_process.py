"""A script that fetches a source's names into a state file and measures the cost: `names_process.py URL FILE`.

It prints a JSON object: `people`, the number of people in the state file at the end; `grown`, the most MiB by which the
process has grown; `held`, the longest time in seconds for which the event loop was blocked; and `seconds`, the duration
of the whole fetch.
"""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path

from notifier.clock import SystemClock
from notifier.config import SourceSettings
from notifier.http.exchange import new_session
from notifier.kpa.client import Client
from notifier.kpa.exchange import HttpExchange
from notifier.kpa.rate_limiter import RateLimiter
from notifier.store.file.store import FileStore
from notifier.watch.name_cache import NameCache

TICK = 0.005


def mebibytes(field: str) -> float:
    """Return a memory size of this process: `VmRSS` is the present size, `VmHWM` the largest so far."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


async def tick(held: list[float]) -> None:
    """Append the process's CPU time between two turns of the event loop to `held`, again and again."""
    while True:
        before = time.process_time()
        await asyncio.sleep(TICK)
        held.append(time.process_time() - before)


async def main(url: str, path: Path) -> None:
    clock, held = SystemClock(), [0.0]
    store = FileStore(path)
    await store.open()
    async with new_session() as session:
        settings = SourceSettings.model_validate({"base_url": url, "token": "sandbox", "timeout": "110s"})
        client = Client(HttpExchange(session, settings), settings, RateLimiter(1000, clock))
        book = NameCache("acme", settings, client, store, clock)
        # Existing objects are excluded from garbage collection, which would disturb the measurement.
        gc.freeze()
        before, began = mebibytes("VmRSS"), time.monotonic()
        ticking = asyncio.create_task(tick(held))
        await book.refresh()
        await book.wait_for_fetch()
        ticking.cancel()
        seconds = time.monotonic() - began
    people = await store.run(lambda db: db.execute("SELECT count(*) FROM people").fetchone()[0])
    await store.close()
    said = {"people": people, "grown": mebibytes("VmHWM") - before, "held": max(held), "seconds": seconds}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
