"""A machine under a real systemd: PID 1 of namespaces of its own, with this program installed in /opt/notifier."""

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


def why_no_machine() -> str | None:
    """Say why systemd cannot be booted here; None when it can."""
    if os.geteuid() != 0:
        return "booting systemd in namespaces takes root"
    if not SYSTEMD.exists() or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "booting systemd takes Debian's packages systemd and util-linux"
    allowed = subprocess.run(["unshare", *_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return None if allowed.returncode == 0 else f"no namespaces can be made here: {allowed.stderr.strip()}"


class Machine:
    """Boots systemd, and does things on that machine as root."""

    def __init__(self, log: Path) -> None:
        """Boot it, noting down in `log` what systemd complains of."""
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
        """What systemd itself has complained of."""
        return self._log.read_text()

    def halt(self) -> None:
        """End everything on it at once."""
        if self._init:
            os.kill(self._init, signal.SIGKILL)
        self._unshare.kill()
        self._unshare.wait()
        for tree in Path("/sys/fs/cgroup").glob(f"**/{self._cgroup}"):
            for folder, _, _ in os.walk(tree, topdown=False):
                _remove_cgroup(Path(folder))

    def run(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command there, as root, and wait for it."""
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
        """Run a command there that must succeed, and return what it printed."""
        done = self.run(*command, given=given)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file there, in a folder that is made when it is missing."""
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
    """One service on that machine."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name

    def drop_in(self, text: str) -> None:
        """Change its unit."""
        self.machine.write(f"/etc/systemd/system/{self.name}.service.d/test.conf", text)
        self.machine.do("systemctl", "daemon-reload")

    def show(self, key: str) -> str:
        """Return one property, as `systemctl show` names it."""
        return self.machine.do("systemctl", "show", "--value", "--property", key, self.name).strip()

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.machine.do("journalctl", "--no-pager", "--output", "cat", "--unit", self.name)

    async def systemctl(self, *verb: str) -> subprocess.CompletedProcess[str]:
        """Let systemd do something with it, while the event loop goes on to answer it."""
        return await asyncio.to_thread(self.machine.run, "systemctl", *verb, self.name)

    async def until(self, is_so: Callable[[], bool], deadline: float = DEADLINE) -> None:
        """Wait for a condition; fail with the service's log when it does not come true."""
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
            # What was killed needs a moment to be gone.
            if time.monotonic() > end:
                return
            time.sleep(0.02)
