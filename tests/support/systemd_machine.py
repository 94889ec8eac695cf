"""A real systemd that runs as PID 1 in its own namespaces, with this program installed in /opt/notifier."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
DEADLINE = 30.0


_NAMESPACES = ("--pid", "--fork", "--mount", "--mount-proc", "--uts", "--ipc", "--kill-child")


def missing_requirement() -> str | None:
    """Return why systemd cannot be booted on this machine; None if it can."""
    if os.geteuid() != 0:
        return "booting systemd in namespaces takes root"
    if not SYSTEMD.exists() or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "booting systemd takes Debian's packages systemd and util-linux"
    allowed = subprocess.run(["unshare", *_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return None if allowed.returncode == 0 else f"no namespaces can be made here: {allowed.stderr.strip()}"


class Machine:
    """A booted systemd; commands run in its namespaces as root."""

    def __init__(self, log: Path) -> None:
        """Boot systemd; its error messages go to the file `log`."""
        self._log = log
        self._cgroup = f"notifier-tests-{os.getpid()}"
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        boot = [str(REPOSITORY / "tests/support/boot_systemd.sh"), self._cgroup, sys.base_prefix, python]
        with log.open("wb") as said:
            self._unshare = subprocess.Popen(
                ["unshare", *_NAMESPACES, "bash", *boot, sysconfig.get_path("purelib"), str(REPOSITORY)],
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
            )
        self._init = 0
        try:
            self._wait_for_boot()
        except BaseException:
            self.halt()
            raise

    @property
    def complaints(self) -> str:
        """The error messages of systemd itself."""
        return self._log.read_text()

    def halt(self) -> None:
        """Kill systemd and all its processes."""
        if self._init:
            os.kill(self._init, signal.SIGKILL)
        self._unshare.kill()
        self._unshare.wait()
        for tree in Path("/sys/fs/cgroup").glob(f"**/{self._cgroup}"):
            for folder, _, _ in os.walk(tree, topdown=False):
                _remove_cgroup(Path(folder))

    def run(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in the namespaces as root, and wait for its end; `given` is its input."""
        return subprocess.run(
            ["nsenter", "--target", str(self._init), "--mount", "--pid", "--uts", "--ipc", *command],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )

    def do(self, *command: str, given: str = "") -> str:
        """Run a command that must succeed, and return its output."""
        done = self.run(*command, given=given)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the namespaces; create its folder if necessary."""
        folder = path.rpartition("/")[0]
        self.do("sh", "-c", f"mkdir -p '{folder}' && cat > '{path}' && chmod {mode:o} '{path}'", given=text)

    def _wait_for_boot(self) -> None:
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if self._unshare.poll() is not None:
                break
            self._init = self._init or _only_child(self._unshare.pid)
            if self._init and self.run("systemctl", "is-active", "tests.target").stdout == "active\n":
                return
            time.sleep(0.05)
        raise AssertionError(f"systemd does not boot in namespaces here: {self.complaints[-2000:]}")


class Service:
    """One service of a `Machine`."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name

    def drop_in(self, text: str) -> None:
        """Change the service's unit by a drop-in file."""
        self.machine.write(f"/etc/systemd/system/{self.name}.service.d/test.conf", text)
        self.machine.do("systemctl", "daemon-reload")

    def show(self, key: str) -> str:
        """Return a property of the service, by its name in `systemctl show`."""
        return self.machine.do("systemctl", "show", "--value", "--property", key, self.name).strip()

    @property
    def log(self) -> str:
        """The service's log."""
        return self.machine.do("journalctl", "--no-pager", "--output", "cat", "--unit", self.name)

    async def systemctl(self, *verb: str) -> subprocess.CompletedProcess[str]:
        """Run a command of systemctl for the service in a thread, so that the event loop can answer the service."""
        return await asyncio.to_thread(self.machine.run, "systemctl", *verb, self.name)

    async def until(self, is_so: Callable[[], bool], deadline: float = DEADLINE) -> None:
        """Wait for a condition; fail with the service's log if it does not come true in time."""
        end = time.monotonic() + deadline
        while not await asyncio.to_thread(is_so):
            assert time.monotonic() < end, f"{self.name}: what was waited for did not happen\n{self.log[-4000:]}"
            await asyncio.sleep(0.05)


def _only_child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


def _remove_cgroup(folder: Path) -> None:
    end = time.monotonic() + 5
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            # Killed processes need a moment to disappear.
            if time.monotonic() > end:
                return
            time.sleep(0.02)
