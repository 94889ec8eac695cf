"""Injects a fault at each system call of a scenario: the process is killed, or the call fails.

python -m tests.end_to_end.crash.fault_injection [--scenario NAME] [--every N]

strace attaches to a process before the work of a scenario begins. At the n-th call of a kind, strace kills the process
or lets the call fail. Afterwards, the next start must work, and no data may be lost.
"""

import argparse
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from notifier.store.database import Database
from notifier.store.file.files import EXCHANGE, sibling_path
from notifier.store.file.lock import FileLock
from notifier.store.recovery import essentials
from notifier.store.recovery.exchange import is_pending
from notifier.store.recovery.opener import open_state_file
from notifier.store.tables import sources
from tests.end_to_end.crash.scenarios import LATE_RECORDS, SCENARIOS
from tests.support.used_state_file import (
    DEAD,
    HOUR,
    MET,
    NEWS,
    NOW,
    PENDING,
    ids,
    read_all_records,
    waiting,
)

REPOSITORY = Path(__file__).parents[3]

CALLS = ("pwrite64", "fdatasync", "fsync", "rename", "link", "unlink", "ftruncate")
"""The kinds of calls; each includes its variants (`renameat2`, `linkat`...)."""

VARIANTS = {"rename": "rename,renameat,renameat2", "link": "link,linkat", "unlink": "unlink,unlinkat"}
ERRORS = ("EIO", "ENOSPC")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault at the n-th call of a kind: the call fails with `error` or, if that is None, the process is killed."""

    scenario: str
    call: str
    number: int
    error: str | None

    @property
    def injection(self) -> str:
        """The argument of strace's option `-e`."""
        what = "signal=KILL" if self.error is None else f"error={self.error}"
        return f"inject={VARIANTS.get(self.call, self.call)}:{what}:when={self.number}"

    def __str__(self) -> str:
        """Return a description for messages."""
        return f"{self.scenario}: {self.error or 'killed'} at {self.call} {self.number}"


class FaultInjector:
    """Runs scenarios under strace, each in a new folder."""

    def __init__(self, folder: Path, strace: str) -> None:
        """Start the process that forks a child for each run of a scenario."""
        self._folder = folder
        self._strace = strace
        self._ready: dict[str, Path] = {}
        self._forking_process = subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.crash.forking_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            # A bytecode file that is written during a scenario would be among the traced calls.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def close(self) -> None:
        """End the process that forks."""
        assert self._forking_process.stdin is not None
        assert self._forking_process.stdout is not None
        self._forking_process.stdin.close()
        self._forking_process.stdout.close()
        self._forking_process.wait()

    def trace(self, scenario: str, *options: str) -> tuple[int, list[str], Path]:
        """Run a scenario; return the exit code (negative for a signal), the traced calls, and the folder."""
        folder = self._prepare_folder(scenario)
        log = self._folder / "trace"
        assert self._forking_process.stdin is not None
        assert self._forking_process.stdout is not None
        self._forking_process.stdin.write(f"{scenario}\t{folder}\n")
        self._forking_process.stdin.flush()
        child = int(self._forking_process.stdout.readline())
        calls = ",".join(VARIANTS.get(call, call) for call in CALLS)
        command = [self._strace, "-p", str(child), "-y", "-o", str(log), "-e", f"trace={calls}", *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            assert "attached" in said, said
            os.kill(child, signal.SIGCONT)
            code = int(self._forking_process.stdout.readline())
            tracer.wait()
        return code, log.read_text(errors="replace").splitlines(), folder

    def faults(self, scenario: str) -> Iterator[Fault]:
        """Yield every fault that can be injected into a scenario."""
        code, lines, folder = self.trace(scenario)
        assert code == 0, (folder / "said").read_text()
        found = Counter(call for line in lines if (call := call_kind(line)))
        shutil.rmtree(folder)
        for call, count in found.items():
            for number in range(1, count + 1):
                for error in (None, *ERRORS):
                    if error != "ENOSPC" or call in ("pwrite64", "link", "rename", "ftruncate"):
                        yield Fault(scenario, call, number, error)

    def inject(self, fault: Fault) -> None:
        """Run a scenario with this fault, then check the recovery. Raises AssertionError."""
        code, _, folder = self.trace(fault.scenario, "-e", fault.injection)
        said = folder / "said"
        words = said.read_text() if said.exists() else ""
        if fault.error is None:
            assert code == -signal.SIGKILL, (code, words)
        else:
            # The work either copes with the error, or ends with an error that has a name.
            assert code in (0, 1), (code, words)
            assert not words or re.search(r"(StoreError|BackupError|OSError|sqlite3\.\w+Error)", words), words
        check_recovery(fault.scenario, folder)
        shutil.rmtree(folder)

    def _prepare_folder(self, scenario: str) -> Path:
        if scenario not in self._ready:
            ready = Path(tempfile.mkdtemp(prefix="ready-", dir=self._folder))
            SCENARIOS[scenario].prepare(ready)
            self._ready[scenario] = ready
        folder = Path(tempfile.mkdtemp(prefix="walk-", dir=self._folder))
        shutil.copytree(self._ready[scenario], folder, dirs_exist_ok=True)
        return folder


def call_kind(line: str) -> str | None:
    """Return the kind of the call in a line of strace's output, or None for other calls."""
    name = line.split("(", 1)[0]
    if name in CALLS:
        return name
    return next((kind for kind, variants in VARIANTS.items() if name in variants.split(",")), None)


def check_recovery(scenario: str, folder: Path) -> None:
    """Open the state file again, and check that it works and that no data was lost."""
    path = folder / "notifier.db"
    if scenario == "moving":
        elsewhere = folder / "elsewhere" / "notifier.db"
        elsewhere.parent.mkdir(exist_ok=True)
        if not elsewhere.exists() and not is_pending(elsewhere):
            # The restore had no effect yet, so the operator must run it again.
            return
        path = elsewhere
    lock = FileLock(path)
    lock.acquire()
    with closing(open_state_file(path, NOW + 2 * HOUR)) as db:
        lock.lock_present_file()
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        if SCENARIOS[scenario].has_earlier_data:
            check_earlier_data(scenario, db)
        elif scenario.startswith("migration"):
            assert db.execute("SELECT destination, state FROM deliveries").fetchall() == [("hr", "pending")]
    lock.release()
    assert not sibling_path(path, EXCHANGE).exists()
    assert essentials.read(path).state in (essentials.EssentialsState.READ, essentials.EssentialsState.NONE)


def check_earlier_data(scenario: str, db: Database) -> None:
    """Check that earlier records and deliveries are kept, and that no event gets a second id."""
    assert sources.read_or_create(db, "acme").first_contact_ms == MET
    assert waiting(db) >= ids(PENDING)
    if scenario != "moving":
        assert waiting(db, "dead") == ids(DEAD)
    late = {row[0] for row in db.execute("SELECT id FROM events WHERE subject IN ('900', '901', '902')")}
    assert late <= ids(LATE_RECORDS)
    found = set(LATE_RECORDS) | {NEWS.stop + 40} if scenario == "normal work" else {NEWS.stop + 40}
    expected = {id_ for number in found for id_ in ids(range(number, number + 1))} - late
    assert read_all_records(db, more=tuple(sorted(found))) == expected


def main() -> None:
    """Inject every fault, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", choices=[*SCENARIOS])
    parser.add_argument("--every", type=int, default=1, help="only every so many steps")
    options = parser.parse_args()
    strace = shutil.which("strace")
    if strace is None:
        sys.exit("there is no strace here")
    failures = 0
    # Every rebuild of a state file is logged, which is expected here.
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, closing(FaultInjector(Path(folder), strace)) as injector:
        for scenario in [options.scenario] if options.scenario else SCENARIOS:
            started = time.monotonic()
            counts_by_kind: Counter[str] = Counter()
            for place, fault in enumerate(list(injector.faults(scenario))):
                if place % options.every:
                    continue
                counts_by_kind[fault.error or "killed"] += 1
                try:
                    injector.inject(fault)
                except Exception as error:  # noqa: BLE001 - each is reported, and the walk goes on
                    failures += 1
                    print(f"BAD {fault}: {type(error).__name__}: {error}"[:600], flush=True)
            counts = ", ".join(f"{count} {what}" for what, count in sorted(counts_by_kind.items()))
            print(f"{scenario}: {counts}; {time.monotonic() - started:.0f} s", flush=True)
    print(f"{failures} bad")


if __name__ == "__main__":
    main()
