"""A process that fetches a source's names into a state file, and says what that took: `names_process.py URL FILE`.

It writes one JSON object: `people`, how many there are in the state file at last; `grown`, by how many MiB the process
had grown at most; `held`, for how many seconds the event loop kept a task waiting at most that wanted a turn; and
`seconds`, how long all of it took.
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
    """Return one of the process's own sizes: VmRSS is what it holds now, VmHWM what it has held at most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


async def tick(held: list[float]) -> None:
    """Note how much the process has worked from each turn to the next: other processes' work is not counted."""
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
        # Whatever the program is made of is looked at once, not in the middle of what is measured.
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
