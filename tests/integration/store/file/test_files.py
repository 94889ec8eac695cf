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


def test_what_others_could_read_is_closed_to_them_with_a_line_for_each(
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
    said = [(vars(record)["path"], vars(record)["detail"]) for record in caplog.records]
    assert sorted(said) == [
        (str(folder), "from 0755 to 0700"),
        (str(path), "from 0644 to 0600"),
        (f"{path}-wal", "from 0660 to 0600"),
    ]


def test_a_folder_that_holds_other_things_too_stays_open(folder: Path) -> None:
    (folder / "notifier.db").touch()
    (folder / "config.toml").touch(0o644)
    restrict_permissions(folder / "notifier.db")
    assert (mode(folder), mode(folder / "config.toml")) == (0o755, 0o644)


def test_modes_are_not_mended_through_a_link(folder: Path, precious: Path) -> None:
    precious.chmod(0o644)
    (folder / "notifier.db.lock").symlink_to(precious)
    restrict_permissions(folder / "notifier.db")
    assert mode(precious) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_files_of_others_are_left_alone(folder: Path) -> None:
    (folder / "notifier.db").touch(0o644)
    os.chown(folder / "notifier.db", 12345, 12345)
    os.chown(folder, 12345, 12345)
    restrict_permissions(folder / "notifier.db")
    assert (mode(folder), mode(folder / "notifier.db")) == (0o755, 0o644)


async def test_the_state_file_is_closed_when_it_is_opened(folder: Path) -> None:
    store = FileStore(folder / "notifier.db")
    await store.open()
    await store.close()
    assert mode(folder / "notifier.db") == 0o600


def test_a_pipe_or_a_folder_is_not_opened_as_a_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(OSError, match="it is not a regular file"):
        open_private(folder / "pipe", os.O_RDWR)
    with pytest.raises(IsADirectoryError):
        open_private(folder, os.O_RDONLY)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_a_third_user_is_not_opened(folder: Path) -> None:
    file = folder / "notifier.db.lock"
    file.touch()
    os.chown(file, 12345, 12345)
    os.close(open_private(file, os.O_RDWR))
    folder.chmod(0o777)
    with pytest.raises(OSError, match="it belongs to another user"):
        open_private(file, os.O_RDWR)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_no_file_is_given_away_through_a_link(folder: Path, precious: Path) -> None:
    link = folder / "notifier.db.lock"
    link.symlink_to(precious)
    os.chown(folder, 12345, 12345)
    with pytest.raises(OSError, match="it is a symbolic link"):
        give_to_state_file_owner(folder / "notifier.db", link)
    assert precious.stat().st_uid == 0


@pytest.mark.parametrize("suffix", [".essentials", ".essentials.new", ".essentials.old"])
def test_the_essentials_are_written_over_no_linked_file(folder: Path, precious: Path, suffix: str) -> None:
    state_file = folder / "notifier.db"
    for _ in range(2):
        state_file.with_name(state_file.name + suffix).unlink(missing_ok=True)
        state_file.with_name(state_file.name + suffix).symlink_to(precious)
        essentials.write(state_file, Snapshot(1, 0))
    assert precious.read_text() == "something dear"


def test_a_note_of_damage_makes_no_file_elsewhere(folder: Path, tmp_path: Path) -> None:
    (folder / "notifier.db.damage-met").symlink_to(tmp_path / "made")
    note_damage(folder / "notifier.db")
    assert not (tmp_path / "made").exists()
