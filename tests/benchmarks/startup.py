"""From the start of the process to its first request, beside the bare import of the libraries that it then needs.

    python -m tests.benchmarks.startup [--rounds 11]

All modules are compiled before, as an installation does. The floor's process ends after the import, which is a part of
its time; the daemon goes on.
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


class Taken(NamedTuple):
    """What a process took, in seconds: as they pass, and of the processor."""

    passed: float
    processor: float


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


def bare(environ: dict[str, str], *arguments: str) -> Taken:
    """Return what a Python process takes from its start to its end."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], env=environ, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return Taken(time.perf_counter() - started, used.ru_utime + used.ru_stime)


def first_request(environ: dict[str, str]) -> Taken:
    """Return what `notifier run` takes from its start to its first request."""
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
        taken = Taken(time.perf_counter() - started, processor_seconds(daemon.pid))
        daemon.terminate()
        daemon.wait(timeout=10)
        server.shutdown()
    return taken


def main() -> None:
    """Measure in turn, and print seconds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    asked = parser.parse_args()
    environ = with_bytecode()
    bare(environ, "-c", LIBRARIES)
    first_request(environ)
    pairs = [(bare(environ, "-c", LIBRARIES), first_request(environ)) for _ in range(asked.rounds)]
    report("bare import of the libraries", [floor.passed for floor, _ in pairs], "s")
    report("notifier run, to its first request", [ours.passed for _, ours in pairs], "s")
    report("ratio", [ours.passed / floor.passed for floor, ours in pairs], "")
    report("bare import, processor time", [floor.processor for floor, _ in pairs], "s")
    report("notifier run, processor time", [ours.processor for _, ours in pairs], "s")
    report("ratio of processor time", [ours.processor / floor.processor for floor, ours in pairs], "")
    for option in ("--version", "--help"):
        taken = [bare(environ, "-m", "notifier", option) for _ in range(asked.rounds)]
        report(f"notifier {option}", [it.passed for it in taken], "s")
        report(f"notifier {option}, processor time", [it.processor for it in taken], "s")


if __name__ == "__main__":
    main()
