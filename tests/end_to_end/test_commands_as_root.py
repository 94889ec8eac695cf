"""Root runs commands on files of another user, who tries to make root change other files or send a token elsewhere."""

import asyncio
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from notifier.store.file.store import FileStore
from tests.support.other_user import OtherUser, other_user, run, shared_folder

if TYPE_CHECKING:
    import subprocess

CONFIGURATION = """
[store]
path = "{state_file}"
[http]
listen = ""
[sources.acme]
base_url = "{api}"
token = "sandbox"
[destinations.hr]
type = "http"
url = "http://127.0.0.1:9/hook"
"""

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def user() -> Iterator[OtherUser]:
    with other_user() as user:
        yield user


@pytest.fixture
def shared() -> Iterator[Path]:
    with shared_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def fresh_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new state file."""
    folder = tmp_path_factory.mktemp("fresh") / "state"

    async def make() -> None:
        store = FileStore(folder / "notifier.db")
        await store.open()
        await store.close()

    asyncio.run(make())
    return folder


@pytest.fixture
def state_file(shared: Path, user: OtherUser, fresh_state: Path) -> Path:
    """A state file of the other user, in a folder of that user."""
    folder = shared / "state"
    shutil.copytree(fresh_state, folder)
    user.owns(folder, *folder.iterdir())
    return folder / "notifier.db"


@pytest.fixture
def config(shared: Path, state_file: Path) -> Path:
    return write_configuration(shared / "root" / "config.toml", state_file)


@pytest.fixture
def secret_file(shared: Path) -> Path:
    """A file that only root can read and write."""
    file = shared / "precious"
    file.write_text("something dear")
    file.chmod(0o600)
    return file


def write_configuration(file: Path, state_file: Path, api: str = "http://127.0.0.1:9/v1") -> Path:
    file.parent.mkdir(exist_ok=True, mode=0o755)
    file.write_text(CONFIGURATION.format(state_file=state_file, api=api))
    file.chmod(0o600)
    return file


def run_as_root(user: OtherUser, config: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    done = run([*user.program, "--config", str(config), *arguments], config.parent)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def owner_ids(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in folder.iterdir()}


COMMANDS = (("disable", "hr"), ("enable", "hr"), ("retry",), ("events",), ("deliveries",))


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("suffix", ["", ".lock", "-wal", ".essentials", ".essentials.new", ".exchange"])
def test_root_command_follows_no_link_in_the_state_folder(
    config: Path, state_file: Path, user: OtherUser, secret_file: Path, suffix: str, arguments: tuple[str, ...]
) -> None:
    link = state_file.with_name(state_file.name + suffix)
    link.unlink(missing_ok=True)
    link.symlink_to(secret_file)
    user.owns(link)
    run_as_root(user, config, *arguments)
    found = secret_file.lstat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode), secret_file.read_text()) == (0, 0o600, "something dear")
    assert owner_ids(state_file.parent) == {user.uid}


def test_root_command_acts_as_the_owner_of_the_state_file(config: Path, state_file: Path, user: OtherUser) -> None:
    done = run_as_root(user, config, "disable", "hr")
    assert done.returncode == 0, done.stderr
    assert owner_ids(state_file.parent) == {user.uid}
    assert sqlite3.connect(state_file).execute("SELECT state FROM destinations").fetchall() == [("disabled",)]


def test_root_command_cannot_write_a_read_only_state_file(config: Path, state_file: Path, user: OtherUser) -> None:
    state_file.chmod(0o400)
    done = run_as_root(user, config, "disable", "hr")
    assert (done.returncode, "cannot be written to" in done.stderr) == (1, True)


def test_root_command_works_below_a_closed_folder_and_follows_no_link(
    config: Path, state_file: Path, user: OtherUser, secret_file: Path, shared: Path
) -> None:
    closed = shared / "closed"
    closed.mkdir(mode=0o700)
    state_file.parent.rename(closed / "state")
    there = closed / "state" / "notifier.db"
    write_configuration(config, there)
    assert run_as_root(user, config, "disable", "hr").returncode == 0
    assert run_as_root(user, config, "backup", str(closed / "copy.db")).returncode == 0
    assert run_as_root(user, config, "restore", str(closed / "copy.db")).returncode == 0
    lock = there.with_name("notifier.db.lock")
    lock.unlink()
    lock.symlink_to(secret_file)
    user.owns(lock)
    assert run_as_root(user, config, "enable", "hr").returncode == 1
    assert (secret_file.read_text(), secret_file.stat().st_uid) == ("something dear", 0)
    assert owner_ids(there.parent) == {user.uid}


@pytest.mark.parametrize(
    "arguments", [("status",), ("backup", "copy.db"), ("restore", "copy.db")], ids=lambda arguments: arguments[0]
)
def test_root_without_the_setuid_capability_gets_an_error(
    config: Path, user: OtherUser, arguments: tuple[str, ...]
) -> None:
    """As in a container that runs as root without capabilities, with a folder of the host."""
    limited = ("setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-setuid,-setgid")
    done = run([*limited, *user.program, "--config", str(config), *arguments], config.parent)
    assert done.returncode == 1
    assert f"belongs to {user.name}, and root may not become that user here (Operation not permitted)" in done.stderr
    assert "Traceback" not in done.stderr


def test_backup_by_root_belongs_to_root_and_can_be_restored(
    config: Path, state_file: Path, user: OtherUser, shared: Path
) -> None:
    folder = shared / "backups"
    folder.mkdir(mode=0o700)
    copy = folder / "copy.db"
    made = run_as_root(user, config, "backup", str(copy))
    assert made.returncode == 0, made.stderr
    assert (copy.stat().st_uid, stat.S_IMODE(copy.stat().st_mode)) == (0, 0o600)
    assert "exists" in run_as_root(user, config, "backup", str(copy)).stderr
    assert run_as_root(user, config, "backup", "--force", str(copy)).returncode == 0
    back = run_as_root(user, config, "restore", str(copy))
    assert back.returncode == 0, back.stderr
    assert owner_ids(state_file.parent) == {user.uid}
    assert [path.name for path in folder.iterdir()] == ["copy.db"]
    refused = run_as_root(user, config, "restore", str(folder))
    assert (refused.returncode, f"{folder} is not a regular file" in refused.stderr) == (1, True)


def test_backup_by_root_refuses_a_symbolic_link(config: Path, user: OtherUser, shared: Path, secret_file: Path) -> None:
    (shared / "theirs").mkdir()
    link = shared / "theirs" / "copy.db"
    link.symlink_to(secret_file)
    user.owns(link, link.parent)
    refused = run_as_root(user, config, "backup", "--force", str(link))
    assert (refused.returncode, "is a symbolic link" in refused.stderr) == (1, True)
    assert secret_file.read_text() == "something dear"


def test_root_uses_no_configuration_from_the_working_directory(shared: Path, state_file: Path, user: OtherUser) -> None:
    write_configuration(shared / "config.toml", state_file)
    refused = run([*user.program, "check"], shared)
    assert refused.returncode == 78
    assert f"root does not use {shared}/config.toml unless it is named" in refused.stderr


def test_check_by_root_refuses_a_configuration_of_another_user(shared: Path, state_file: Path, user: OtherUser) -> None:
    theirs = write_configuration(shared / "theirs" / "config.toml", state_file, "http://127.0.0.1:9/theirs")
    user.owns(theirs, theirs.parent)
    secrets = shared / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "NOTIFIER_SOURCES__ACME__TOKEN").write_text("the-real-token")
    refused = run(
        [*user.program, "check", "--online", "--config", str(theirs), "--secrets-dir", str(secrets)], theirs.parent
    )
    assert refused.returncode == 78
    assert f"{theirs}: belongs to {user.name}, not to you or root" in refused.stderr.replace("\n", " ")
    assert "127.0.0.1" not in refused.stdout + refused.stderr


def test_completion_by_root_ignores_files_of_another_user(shared: Path, state_file: Path, user: OtherUser) -> None:
    theirs = write_configuration(shared / "theirs" / "config.toml", state_file)
    words = {"COMP_WORDS": "notifier disable ", "COMP_CWORD": "2", "_NOTIFIER_COMPLETE": "bash_complete"}
    named = run([*user.program], theirs.parent, NOTIFIER_CONFIG=str(theirs), **words)
    assert "plain,hr" in named.stdout
    assert "plain,hr" not in run([*user.program], theirs.parent, **words).stdout
    user.owns(theirs, theirs.parent)
    assert "plain,hr" not in run([*user.program], theirs.parent, NOTIFIER_CONFIG=str(theirs), **words).stdout


def test_check_accepts_only_own_and_roots_configurations(shared: Path, state_file: Path, user: OtherUser) -> None:
    file = write_configuration(shared / "theirs" / "config.toml", state_file)
    file.chmod(0o644)
    command = user.command(*user.program, "check")
    assert run(command, file.parent).returncode == 0
    user.owns(file, file.parent)
    assert run(command, file.parent).returncode == 0
    file.chmod(0o666)
    refused = run(command, file.parent)
    assert (refused.returncode, "can be written by other users (mode 0666)" in refused.stderr) == (78, True)
    os.chown(file, 12345, 12345)
    file.chmod(0o644)
    assert "belongs to user 12345" in run(command, file.parent).stderr
