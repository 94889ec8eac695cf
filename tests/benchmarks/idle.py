"""Memory and processor time of the daemon at rest: one source at its 60 s interval, one destination of each type.

python -m tests.benchmarks.idle [--seconds 180]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.common import beside

WARM_UP = 10.0


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Start the daemon, leave it alone, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0)
    asked = parser.parse_args()
    with beside("api.py", "5000") as url, beside("receiver.py") as port, tempfile.TemporaryDirectory() as folder:
        environ = {
            **os.environ,
            "NOTIFIER_STORE__PATH": f"{folder}/notifier.db",
            "NOTIFIER_HTTP__LISTEN": "127.0.0.1:0",
            "NOTIFIER_SOURCES__ACME__BASE_URL": url,
            "NOTIFIER_SOURCES__ACME__TOKEN": "sandbox",
            "NOTIFIER_DESTINATIONS__HR__TYPE": "http",
            "NOTIFIER_DESTINATIONS__HR__URL": f"http://127.0.0.1:{port}/hook",
            "NOTIFIER_DESTINATIONS__SLACK__TYPE": "slack",
            "NOTIFIER_DESTINATIONS__SLACK__URL": f"http://127.0.0.1:{port}/hook",
        }
        daemon = subprocess.Popen(
            [sys.executable, "-m", "notifier", "run"], env=environ, cwd=folder, stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(WARM_UP)
            before = processor_seconds(daemon.pid)
            time.sleep(asked.seconds)
            used = processor_seconds(daemon.pid) - before
            memory = resident_mb(daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait(timeout=10)
    print(f"idle for {asked.seconds:.0f} s: {memory:.1f} MB resident, {100 * used / asked.seconds:.2f} % of a core")


if __name__ == "__main__":
    main()
