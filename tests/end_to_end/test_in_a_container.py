"""The program as in the container image: as PID 1, without privileges, and with only the state folder writable."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.containerfile import REPOSITORY, stages
from tests.support.other_user import shared_folder
from tests.support.program import SECRET, Receiver, served
from tests.support.waiting import until

IMAGE = stages()[-1]
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")


def reason_to_skip() -> str | None:
    """Return why namespaces cannot be created here, or None if they can."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return "a container's surroundings take root, and Debian's package util-linux"
    done = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"no namespaces can be made here: {done.stderr.strip()}"


class Container:
    """A container as in Kubernetes: a projected volume with configuration and secrets, and a volume for the state."""

    def __init__(self, folder: Path) -> None:
        self.state, self.mounted, self.log = folder / "state", folder / "etc", folder / "log"
        version = self.mounted / "..2026_11_30"
        (version / "credentials").mkdir(parents=True)
        (self.mounted / "..data").symlink_to(version.name)
        (version / "words").mkdir()
        for name in ("config.toml", "credentials", "words"):
            (self.mounted / name).symlink_to(f"..data/{name}")
        self.mounted.chmod(0o1777)
        # With `fsGroup`, a volume belongs to root, and its group may write.
        self.state.mkdir()
        os.chown(self.state, 0, IMAGE.user[1])
        self.state.chmod(0o2775)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, name: str, text: str) -> None:
        file = self.mounted / "..data" / name
        file.write_text(text)
        os.chown(file, 0, IMAGE.user[1])
        file.chmod(0o440)

    def command(self, *arguments: str) -> list[str]:
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        where = (sys.base_prefix, python, sysconfig.get_path("purelib"), REPOSITORY, self.mounted, self.state)
        user = map(str, IMAGE.user)
        return [*NAMESPACES, str(REPOSITORY / "tests/support/enter_container.sh"), *map(str, where), *user, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=60, check=False, env=IMAGE.environment
        )

    def start(self) -> None:
        with self.log.open("wb") as log:
            command = self.command(*IMAGE.command)
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=IMAGE.environment)

    async def stop(self) -> int:
        """Send SIGTERM to the container's PID 1, as podman, docker and the kubelet do; return the exit code."""
        assert self.process is not None
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 15)

    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture
def folder() -> Iterator[Path]:
    skip = reason_to_skip()
    if skip is not None:
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    with shared_folder() as this:
        yield this


@pytest.fixture
async def container(folder: Path) -> AsyncIterator[Container]:
    this = Container(folder)
    yield this
    if this.process is not None and this.process.poll() is None:
        this.process.kill()
        this.process.wait()


async def test_container_works_read_only_as_pid_1_without_privileges(container: Container, receiver: Receiver) -> None:
    account = build_account(20)
    async with served(account) as api:
        # A user's template is rendered in a separate process, which has no /tmp here.
        container.write("words/completed.j2", "{{ person }} did it on a read-only file system")
        container.write("credentials/NOTIFIER_SOURCES__ACME__TOKEN", "sandbox\n")
        container.write("credentials/NOTIFIER_DESTINATIONS__HR__SECRET", SECRET)
        container.write(
            "config.toml",
            f"""
[http]
listen = ""
[sources.acme]
base_url = "{api}"
poll_interval = "200ms"
requests_per_minute = 60000
[destinations.hr]
type = "http"
url = "{receiver.url}/hook"
[destinations.safety]
type = "slack"
url = "{receiver.url}/slack"
templates = "/etc/notifier/words"
""",
        )
        before = await asyncio.to_thread(container.run, *IMAGE.health_command)
        assert (before.returncode, "no daemon uses the state file /var/lib/notifier/notifier.db" in before.stderr) == (
            1,
            True,
        )
        container.start()
        await until(lambda: "sweep has read the whole list" in container.said())
        news = {str(record.id) for record in Growth(account, seed=5).grow(3)}
        await until(lambda: set(receiver.subjects) == news and receiver.slack != [])
        assert "did it on a read-only file system" in str(receiver.slack)
        healthy = await asyncio.to_thread(container.run, *IMAGE.health_command)
        assert (healthy.returncode, healthy.stdout) == (0, "The daemon works.\n")
        # No folder is writable, except the volume for the state.
        tried = await asyncio.to_thread(
            container.run, "sh", "-c", "for d in / /tmp /run /etc/notifier /opt/notifier; do touch $d/x; done"
        )
        assert tried.stderr.count("Read-only file system") == 5, tried.stderr
        began = time.monotonic()
        assert await container.stop() == 0, container.said()
        assert time.monotonic() - began < 5
    assert "Traceback" not in container.said()
    assert {file.stat().st_uid for file in container.state.iterdir()} == {IMAGE.user[0]}
    assert "sandbox" not in container.said()
