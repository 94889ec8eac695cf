import logging
import os
import stat
from pathlib import Path

import pytest

from notifier.store.file.connection import note_damage
from notifier.store.file.files import give_to_state_file_owner, open_private, restrict_permissions
from notifier.store.file.store import FileStore
from notifier.store.recovery import essentials
from notifier.store.recovery.snapshot import Snapshot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o755)
    return folder


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    file = tmp_path / "precious"
    file.write_text("something dear")
    return file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_restrict_permissions_corrects_the_modes_and_logs_each_change(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "notifier.db"
    for name, given in (("notifier.db", 0o644), ("notifier.db-wal", 0o660), ("notifier.db.essentials", 0o600)):
        (folder / name).touch()
        (folder / name).chmod(given)
    with caplog.at_level(logging.WARNING):
        restrict_permissions(path)
    assert {mode(file) for file in folder.iterdir()} == {0o600}
    assert mode(folder) == 0o700
    logged = [(vars(record)["path"], vars(record)["detail"]) for record in caplog.records]
    assert sorted(logged) == [
        (str(folder), "from 0755 to 0700"),
        (str(path), "from 0644 to 0600"),
        (f"{path}-wal", "from 0660 to 0600"),
    ]


def test_restrict_permissions_leaves_a_folder_with_other_files_unchanged(folder: Path) -> None:
    (folder / "notifier.db").touch()
    (folder / "config.toml").touch(0o644)
    restrict_permissions(folder / "notifier.db")
    assert (mode(folder), mode(folder / "config.toml")) == (0o755, 0o644)


def test_restrict_permissions_does_not_follow_links(folder: Path, precious: Path) -> None:
    precious.chmod(0o644)
    (folder / "notifier.db.lock").symlink_to(precious)
    restrict_permissions(folder / "notifier.db")
    assert mode(precious) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_restrict_permissions_leaves_files_of_other_users_unchanged(folder: Path) -> None:
    (folder / "notifier.db").touch(0o644)
    os.chown(folder / "notifier.db", 12345, 12345)
    os.chown(folder, 12345, 12345)
    restrict_permissions(folder / "notifier.db")
    assert (mode(folder), mode(folder / "notifier.db")) == (0o755, 0o644)


async def test_store_open_makes_the_state_file_private(folder: Path) -> None:
    store = FileStore(folder / "notifier.db")
    await store.open()
    await store.close()
    assert mode(folder / "notifier.db") == 0o600


def test_open_private_rejects_pipes_and_folders(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(OSError, match="it is not a regular file"):
        open_private(folder / "pipe", os.O_RDWR)
    with pytest.raises(IsADirectoryError):
        open_private(folder, os.O_RDONLY)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_open_private_rejects_another_users_file_in_a_folder_all_can_write(folder: Path) -> None:
    file = folder / "notifier.db.lock"
    file.touch()
    os.chown(file, 12345, 12345)
    os.close(open_private(file, os.O_RDWR))
    folder.chmod(0o777)
    with pytest.raises(OSError, match="it belongs to another user"):
        open_private(file, os.O_RDWR)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_give_to_state_file_owner_rejects_links(folder: Path, precious: Path) -> None:
    link = folder / "notifier.db.lock"
    link.symlink_to(precious)
    os.chown(folder, 12345, 12345)
    with pytest.raises(OSError, match="it is a symbolic link"):
        give_to_state_file_owner(folder / "notifier.db", link)
    assert precious.stat().st_uid == 0


@pytest.mark.parametrize("suffix", [".essentials", ".essentials.new", ".essentials.old"])
def test_essentials_write_does_not_overwrite_a_linked_file(folder: Path, precious: Path, suffix: str) -> None:
    state_file = folder / "notifier.db"
    for _ in range(2):
        state_file.with_name(state_file.name + suffix).unlink(missing_ok=True)
        state_file.with_name(state_file.name + suffix).symlink_to(precious)
        essentials.write(state_file, Snapshot(1, 0))
    assert precious.read_text() == "something dear"


def test_note_damage_does_not_follow_a_link(folder: Path, tmp_path: Path) -> None:
    (folder / "notifier.db.damage-met").symlink_to(tmp_path / "made")
    note_damage(folder / "notifier.db")
    assert not (tmp_path / "made").exists()
