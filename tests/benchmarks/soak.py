"""Runs 100,000 rounds (69 days) in compressed time, and shows whether memory, files or tasks grow.

    python -m tests.benchmarks.soak [--rounds 100000] [--folder /dev/shm]

The real daemon runs with its scheduler, threads, sockets and state file, between the simulated account and a receiver
that sometimes fails. The event loop's time jumps to the next timer (`tests/support/time_lapse.py`). Six records are
edited each hour, which makes six events; events are kept for two days. Account, receiver and daemon run in one process,
so its memory is larger than a daemon's. The account stores its last 100,000 changes with 0.5 kB each, so it grows by
5 MB in 100,000 rounds; nothing else may grow.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path

from tests.support.long_run import Figures, soak

TITLES = ("rounds", "events", "memory MB", "file MB", "log MB", "side file KB", "open files", "tasks", "seconds")


def main() -> None:
    """Run the soak test, and print ten rows of figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    started = time.perf_counter()
    print("  ".join(f"{title:>12}" for title in TITLES), flush=True)

    def note(figures: Figures) -> None:
        row = (
            f"{figures.rounds:,}",
            f"{figures.events:,}",
            f"{figures.resident / 1e6:.1f}",
            f"{figures.file / 1e6:.2f}",
            f"{figures.log / 1e6:.2f}",
            f"{figures.essentials / 1e3:.1f}",
            str(figures.descriptors),
            str(figures.tasks),
            f"{time.perf_counter() - started:.0f}",
        )
        print("  ".join(f"{cell:>12}" for cell in row), flush=True)

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        soak(Path(folder), options.rounds, 10, note)


if __name__ == "__main__":
    main()
