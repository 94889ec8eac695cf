"""Creates another user of the machine for a test, and folders that both users can read."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import notifier

NAME = "notifier-test"


@dataclass(frozen=True, slots=True)
class OtherUser:
    """A user of the machine other than root."""

    name: str
    uid: int
    gid: int
    program: tuple[str, ...] = ()
    """The command line that runs the program as this user."""

    def command(self, *command: str) -> list[str]:
        """Return the command line for root that runs `command` as this user."""
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups", *command]

    def owns(self, *paths: Path) -> None:
        """Make this user the owner of these paths."""
        for path in paths:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


@contextmanager
def other_user() -> Iterator[OtherUser]:
    """Create a user until the end of the block; skip the test if that is not possible."""
    if os.geteuid() != 0:
        pytest.skip("only root can make another user")
    if shutil.which("useradd") is None or shutil.which("setpriv") is None:
        pytest.skip("there is no useradd, or no setpriv")
    name = f"{NAME}-{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True)
    try:
        user = OtherUser(name, int(_said("id", "-u", name)), int(_said("id", "-g", name)))
        with shared_folder() as packages:
            interpreter = next(filter(partial(_is_usable, user), _interpreters(packages)), None)
            if interpreter is None:
                pytest.skip("another user can run neither this Python nor the system's")
            yield replace(user, program=(*interpreter, "-m", "notifier"))
    finally:
        subprocess.run(["userdel", name], check=True, stderr=subprocess.DEVNULL)


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Create a folder that all users can read, unlike pytest's temporary folders."""
    folder = Path(tempfile.mkdtemp(prefix="notifier-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def run(command: Sequence[str], folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, and wait for its end."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}
    return subprocess.run(
        command, cwd=folder, env={**plain, **environ}, text=True, capture_output=True, timeout=60, check=False
    )


def _interpreters(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield command lines that start Python with the installed packages. The tests' interpreter may be in root's home.

    The last command lines use copies of the packages in `folder`.
    """
    yield (sys.executable,)
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    here = os.pathsep.join((str(Path(notifier.__file__).parents[1]), sysconfig.get_path("purelib")))
    yield ("env", f"PYTHONPATH={here}", system)
    _copy_packages(folder)
    for python in (system, os.path.realpath(sys.executable)):
        yield ("env", f"PYTHONPATH={folder}", python)


def _copy_packages(folder: Path) -> None:
    """Copy the program and its libraries into `folder`."""
    shutil.copytree(Path(notifier.__file__).parent, folder / "notifier")
    wanted, known = ["completion-notifier"], set[str]()
    while wanted:
        name = wanted.pop()
        if name in known:
            continue
        known.add(name)
        installed = distribution(name)
        needs = map(Requirement, installed.requires or [])
        wanted += [one.name for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
        for file in installed.files or [] if name != "completion-notifier" else []:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), target)


def _is_usable(user: OtherUser, interpreter: Sequence[str]) -> bool:
    """Return whether the user can read the standard library of this interpreter and import all packages."""
    try:
        library = _said(*interpreter, "-c", "import os; print(os.__file__)").strip()
    except (OSError, subprocess.CalledProcessError):
        return False
    for check in (("test", "-r", library), (*interpreter, "-c", "import notifier.cli.app, sqlite3, aiohttp")):
        if subprocess.run(user.command(*check), check=False, capture_output=True, cwd="/").returncode != 0:
            return False
    return True


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
