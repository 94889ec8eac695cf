"""From the start of the process to its first request, beside the bare import of the libraries that it then needs.

python -m tests.benchmarks.startup [--rounds 11]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from tests.benchmarks.common import told

LIBRARIES = (
    "import aiohttp, aiohttp.web, apscheduler.schedulers.asyncio, sqlite_utils, pydantic_settings, click, orjson,"
    " standardwebhooks"
)


class FirstRequest(BaseHTTPRequestHandler):
    """Notes when a request came, and answers it with an empty account."""

    arrived: threading.Event

    def do_POST(self) -> None:
        """Take a request for whatever it is."""
        self.arrived.set()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def bare(statement: str) -> float:
    """Return the seconds that a Python process takes for one statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def first_request() -> float:
    """Return the seconds from the start of `notifier run` to its first request."""
    FirstRequest.arrived = threading.Event()
    with HTTPServer(("127.0.0.1", 0), FirstRequest) as server, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environ = {
            **os.environ,
            "NOTIFIER_STORE__PATH": f"{folder}/notifier.db",
            "NOTIFIER_HTTP__LISTEN": "",
            "NOTIFIER_SOURCES__ACME__BASE_URL": f"http://127.0.0.1:{server.server_port}/v1",
            "NOTIFIER_SOURCES__ACME__TOKEN": "sandbox",
            "NOTIFIER_DESTINATIONS__HR__TYPE": "http",
            "NOTIFIER_DESTINATIONS__HR__URL": "http://127.0.0.1:9/hook",
        }
        started = time.perf_counter()
        daemon = subprocess.Popen(
            [sys.executable, "-m", "notifier", "run"], env=environ, cwd=folder, stderr=subprocess.DEVNULL
        )
        FirstRequest.arrived.wait(timeout=30)
        seconds = time.perf_counter() - started
        daemon.terminate()
        daemon.wait(timeout=10)
        server.shutdown()
    return seconds


def version() -> float:
    """Return the seconds that `notifier --version` takes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "notifier", "--version"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure in turn, and print seconds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    asked = parser.parse_args()
    bare(LIBRARIES)
    first_request()
    pairs = [(bare(LIBRARIES), first_request()) for _ in range(asked.rounds)]
    print(told("bare import of the libraries", [floor for floor, _ in pairs], "s"))
    print(told("notifier run, to its first request", [ours for _, ours in pairs], "s"))
    print(told("ratio", [ours / floor for floor, ours in pairs], ""))
    print(told("notifier --version", [version() for _ in range(asked.rounds)], "s"))


if __name__ == "__main__":
    main()
