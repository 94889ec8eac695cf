"""Compares the time from a process's start to its first request with the import of the required libraries.

    python -m tests.benchmarks.startup [--rounds 11]

All modules are compiled before, as in an installation. The minimum includes the end of its process after the import;
the daemon continues to run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NamedTuple

from tests.benchmarks.common import LIBRARIES, report, with_bytecode
from tests.benchmarks.idle import processor_seconds


class Times(NamedTuple):
    """A process's wall time and processor time in seconds."""

    passed: float
    processor: float


class FirstRequest(BaseHTTPRequestHandler):
    """Records when the first request arrived, and answers with an empty account."""

    arrived: threading.Event

    def do_POST(self) -> None:
        """Answer any request."""
        self.arrived.set()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


def bare(environ: dict[str, str], *arguments: str) -> Times:
    """Return the times of a Python process from its start to its end."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], env=environ, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return Times(time.perf_counter() - started, used.ru_utime + used.ru_stime)


def first_request(environ: dict[str, str]) -> Times:
    """Return the times of `notifier run` from its start to its first request."""
    FirstRequest.arrived = threading.Event()
    with HTTPServer(("127.0.0.1", 0), FirstRequest) as server, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        configured = {
            "NOTIFIER_STORE__PATH": f"{folder}/notifier.db",
            "NOTIFIER_HTTP__LISTEN": "",
            "NOTIFIER_SOURCES__ACME__BASE_URL": f"http://127.0.0.1:{server.server_port}/v1",
            "NOTIFIER_SOURCES__ACME__TOKEN": "sandbox",
            "NOTIFIER_DESTINATIONS__HR__TYPE": "http",
            "NOTIFIER_DESTINATIONS__HR__URL": "http://127.0.0.1:9/hook",
        }
        started = time.perf_counter()
        daemon = subprocess.Popen(
            [sys.executable, "-m", "notifier", "run"],
            env=environ | configured,
            cwd=folder,
            stderr=subprocess.DEVNULL,
        )
        assert FirstRequest.arrived.wait(timeout=30)
        taken = Times(time.perf_counter() - started, processor_seconds(daemon.pid))
        daemon.terminate()
        daemon.wait(timeout=10)
        server.shutdown()
    return taken


def main() -> None:
    """Measure both in turn, and print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    environ = with_bytecode()
    bare(environ, "-c", LIBRARIES)
    first_request(environ)
    pairs = [(bare(environ, "-c", LIBRARIES), first_request(environ)) for _ in range(options.rounds)]
    report("bare import of the libraries", [minimum.passed for minimum, _ in pairs], "s")
    report("notifier run, to its first request", [ours.passed for _, ours in pairs], "s")
    report("ratio", [ours.passed / minimum.passed for minimum, ours in pairs], "")
    report("bare import, processor time", [minimum.processor for minimum, _ in pairs], "s")
    report("notifier run, processor time", [ours.processor for _, ours in pairs], "s")
    report("ratio of processor time", [ours.processor / minimum.processor for minimum, ours in pairs], "")
    for option in ("--version", "--help"):
        taken = [bare(environ, "-m", "notifier", option) for _ in range(options.rounds)]
        report(f"notifier {option}", [it.passed for it in taken], "s")
        report(f"notifier {option}, processor time", [it.processor for it in taken], "s")


if __name__ == "__main__":
    main()
