"""Compares the first sweep of a large account with merely parsing and inserting the same pages.

    python -m tests.benchmarks.sweep [--records 1000000]

The minimum has the pages in memory. It parses them with orjson and inserts their records with executemany into the same
table with the same index, in a transaction for each page. The notifier fetches the pages over HTTP from another
process, checks and classifies every record, and writes them.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import orjson

from notifier.clock import SystemClock
from notifier.config import load
from notifier.daemon.watcher_factory import build_watcher
from notifier.http.exchange import new_session
from notifier.store.file.connection import open_database
from notifier.store.file.store import FileStore
from notifier.store.store import Store
from tests.benchmarks.common import beside, report

PAGE = 1000


async def fetch_pages(url: str) -> list[bytes]:
    """Fetch all pages of the list, as bytes."""
    pages: list[bytes] = []
    async with aiohttp.ClientSession() as session:
        while True:
            body = json.dumps({"token": "sandbox", "limit": PAGE, "page": len(pages) + 1})
            async with session.post(f"{url}/completedtrainings.v2.list", data=body) as response:
                pages.append(await response.read())
            if orjson.loads(pages[-1])["paging"]["last_page"] == len(pages):
                return pages


def minimum(pages: list[bytes], folder: Path) -> tuple[float, float]:
    """Parse and insert the pages; return the wall and the processor time in seconds."""
    db = open_database(folder / "minimum.db")
    started, processor_started = time.perf_counter(), time.process_time()
    for page in pages:
        rows = [
            ("acme", str(record["id"]), 1, record["m_user_id"], str(record["training_id"]), "2020-02-27",
             record["created"], 0, "sweep", "history", record["id"], orjson.dumps(record).decode())
            for record in orjson.loads(page)["completedtrainings"]
        ]  # fmt: skip
        with db.atomic():
            db.conn.executemany(
                "INSERT INTO records (source, key, revision, user_id, training_id, completed_on, recorded_at,"
                " seen_at, net, reason, fingerprint, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
    seconds, processor = time.perf_counter() - started, time.process_time() - processor_started
    db.close()
    return seconds, processor


async def sweep(url: str, folder: Path, store: Store) -> tuple[float, float, int]:
    """Run a first round and a first sweep; return the sweep's wall and processor time, and the number of records."""
    environ = {
        "NOTIFIER_STORE__PATH": str(folder / "notifier.db"),
        "NOTIFIER_SOURCES__ACME__BASE_URL": url,
        "NOTIFIER_SOURCES__ACME__TOKEN": "sandbox",
        "NOTIFIER_SOURCES__ACME__REQUESTS_PER_MINUTE": "10000000",
    }
    settings = load(environ=environ, cwd=folder)
    await store.open()
    async with new_session() as session:
        watcher = build_watcher(settings, "acme", session, store, SystemClock(), tuple, lambda _events: None)
        await watcher.start()
        await watcher.poll()
        started, processor_started = time.perf_counter(), time.process_time()
        await watcher.begin_sweep()
        while watcher.is_sweeping:
            await asyncio.sleep(0.05)
        seconds, processor = time.perf_counter() - started, time.process_time() - processor_started
        await watcher.stop()
    await store.close()
    return seconds, processor, watcher.memory.records


def measure_sweep(url: str) -> None:
    """Sweep in a separate process, whose peak of memory is then the sweep's, and print the figures as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, processor, records = asyncio.run(sweep(url, Path(folder), FileStore(Path(folder) / "notifier.db")))
    # Not ru_maxrss: that includes the peak of the parent, which holds all pages for the minimum.
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    print(json.dumps({"seconds": seconds, "processor": processor, "records": records, "peak": peak}))


def main() -> None:
    """Measure the minimum and the sweep, and print the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--only-sweep", metavar="URL")
    options = parser.parse_args()
    if options.only_sweep:
        measure_sweep(options.only_sweep)
        return
    with beside("api.py", str(options.records)) as url:
        pages = asyncio.run(fetch_pages(url))
        with tempfile.TemporaryDirectory() as folder:
            bare, bare_processor = minimum(pages, Path(folder))
        command = [sys.executable, "-m", "tests.benchmarks.sweep", "--only-sweep", url]
        ours = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    report("bare orjson and executemany", [options.records / bare], "records/s", f"{bare:.1f} s")
    report("notifier, first sweep", [ours["records"] / ours["seconds"]], "records/s", f"{ours['seconds']:.1f} s")
    report("ratio", [bare / ours["seconds"]], "")
    report("ratio of processor time", [bare_processor / ours["processor"]], "")
    report("peak memory of the sweep", [ours["peak"]], "MB")


if __name__ == "__main__":
    main()
