"""Measures memory and processor time of an idle daemon: one source polled every 60 s, one destination of each type.

python -m tests.benchmarks.idle [--seconds 180] [--no-port]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.common import LIBRARIES, beside, report, with_bytecode

WARM_UP = 10.0


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    return resident_in(Path(f"/proc/{pid}/status").read_text())


def resident_in(status: str) -> float:
    """Return the resident memory in MB that a file `/proc/PID/status` states."""
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bare_memory_mb() -> float:
    """Return the resident memory of a process that has only imported the libraries."""
    script = f"{LIBRARIES}; print(open('/proc/self/status').read())"
    lines = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return resident_in(lines)


def main() -> None:
    """Start the daemon, let it run without changes, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--no-port", action="store_true", help="listen on no port, and have the webhook only")
    options = parser.parse_args()
    with beside("api.py", "5000") as url, beside("receiver.py") as port, tempfile.TemporaryDirectory() as folder:
        environ = {
            **with_bytecode(),
            "NOTIFIER_STORE__PATH": f"{folder}/notifier.db",
            "NOTIFIER_HTTP__LISTEN": "127.0.0.1:0",
            "NOTIFIER_SOURCES__ACME__BASE_URL": url,
            "NOTIFIER_SOURCES__ACME__TOKEN": "sandbox",
            "NOTIFIER_DESTINATIONS__HR__TYPE": "http",
            "NOTIFIER_DESTINATIONS__HR__URL": f"http://127.0.0.1:{port}/hook",
            "NOTIFIER_DESTINATIONS__SLACK__TYPE": "slack",
            "NOTIFIER_DESTINATIONS__SLACK__URL": f"http://127.0.0.1:{port}/hook",
        }
        if options.no_port:
            environ["NOTIFIER_HTTP__LISTEN"] = ""
            del environ["NOTIFIER_DESTINATIONS__SLACK__TYPE"], environ["NOTIFIER_DESTINATIONS__SLACK__URL"]
        daemon = subprocess.Popen(
            [sys.executable, "-m", "notifier", "run"], env=environ, cwd=folder, stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(WARM_UP)
            before = processor_seconds(daemon.pid)
            time.sleep(options.seconds)
            used = processor_seconds(daemon.pid) - before
            memory = resident_mb(daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait(timeout=10)
    report("bare import of the libraries, memory", [bare_memory_mb()], "MB")
    report("notifier at rest, memory", [memory], "MB")
    report("notifier at rest, processor time", [100 * used / options.seconds], "%", "of a core")


if __name__ == "__main__":
    main()
