"""The exchange of the state file for another one: it is atomic, and after a kill it is finished or discarded."""

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from notifier.store.file.backup import BackupError, back_up, restore
from notifier.store.file.files import EXCHANGE, sibling_path
from notifier.store.recovery import compare, exchange
from notifier.store.recovery.opener import needed_recovery
from tests.support.used_state_file import HOUR, NOW, Place, check_guarantees, zero_root_page

STEPS = ("_keep_old_file", "replace_durably", "give_to_state_file_owner", "_write_header", "remove_database")


def ignore_progress(_done: int, _of: int) -> None:
    pass


class Killed(BaseException):
    """Raised in place of a kill; no code catches it."""


def killed(*_: object) -> None:
    raise Killed


@pytest.fixture
def backup(place: Place) -> Path:
    made = place.path.parent / "backup.db"
    back_up(place.path, made, ignore_progress)
    return made


def kill_rebuild_at(place: Place, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebuild a damaged file, and be killed before a step of the exchange."""
    zero_root_page("attempt_runs")(place)
    with monkeypatch.context() as patched:
        patched.setattr(f"notifier.store.recovery.exchange.{step}", killed)
        with pytest.raises(Killed):
            place.open()


@pytest.mark.parametrize("step", STEPS)
def test_rebuild_killed_during_the_exchange_is_finished_by_the_next_open(
    place: Place, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_rebuild_at(place, step, monkeypatch)
    assert place.path.exists()
    with closing(place.open()) as db:
        latest = compare.latest_comparison(db)
        assert latest is not None
        # It names where the old file is, whichever process moved it there.
        assert latest.set_aside == str(place.set_aside()[0])
        check_guarantees(db)
    assert len(place.set_aside()) == 1
    assert place.path.stat().st_nlink == place.set_aside()[0].stat().st_nlink == 1
    assert not sibling_path(place.path, EXCHANGE).exists()


@pytest.mark.parametrize("step", ["_keep_old_file", "replace_durably"])
def test_backup_restored_after_a_killed_rebuild_is_kept(
    place: Place, backup: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_rebuild_at(place, step, monkeypatch)
    restore(place.path, backup, ignore_progress, NOW + HOUR)
    with closing(place.open()) as db:
        assert db.execute("SELECT count(*) FROM attempt_runs").fetchone()[0] > 100
        check_guarantees(db)


@pytest.mark.parametrize("by", ["copy", "rename"])
def test_file_placed_by_hand_after_a_killed_rebuild_is_kept(
    place: Place, backup: Path, by: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kill_rebuild_at(place, "replace_durably", monkeypatch)
    assert needed_recovery(place.path) is not None
    if by == "copy":
        shutil.copy(backup, place.path)
    else:
        backup.replace(place.path)
    assert needed_recovery(place.path) is None
    with closing(place.open()) as db:
        assert db.execute("SELECT count(*) FROM attempt_runs").fetchone()[0] > 100
        check_guarantees(db)
    assert "is discarded" in caplog.text
    assert place.path.stat().st_nlink == 1


@pytest.mark.parametrize("step", STEPS[:-1])
def test_restore_killed_at_any_step_leaves_a_sound_file(
    place: Place, backup: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(f"notifier.store.recovery.exchange.{step}", killed)
        with pytest.raises(Killed):
            restore(place.path, backup, ignore_progress, NOW + HOUR)
    assert place.path.exists()
    with closing(place.open()) as db:
        check_guarantees(db)
    assert state_file_suffixes(place.path.parent) <= {"", ".essentials", ".essentials.old", ".lock", ".replaced"}


def state_file_suffixes(folder: Path) -> set[str]:
    names = {path.name.removeprefix("notifier.db") for path in folder.iterdir() if path.name.startswith("notifier.db")}
    return {name.partition("-2")[0] for name in names}


def test_exchange_without_hard_links_is_finished_after_a_kill(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr("os.link", no_links)
    zero_root_page("attempt_runs")(place)
    with monkeypatch.context() as patched:
        patched.setattr("notifier.store.recovery.exchange.replace_durably", killed)
        with pytest.raises(Killed):
            place.open()
    assert not place.path.exists()
    assert needed_recovery(place.path) is not None
    with closing(place.open()) as db:
        check_guarantees(db)
    assert len(place.set_aside()) == 1


def test_restore_does_not_apply_the_write_ahead_log_of_the_old_file(place: Place, backup: Path) -> None:
    copy = Place(place.path.parent / "copy" / "notifier.db")
    copy.path.parent.mkdir()
    with closing(place.open()) as db:
        with db.atomic():
            db.execute("UPDATE records SET user_id = 'somebody else'")
        for name in ("", "-wal", ".essentials"):
            shutil.copy(f"{place.path}{name}", f"{copy.path}{name}")
    done = restore(copy.path, backup, ignore_progress, NOW + HOUR)
    assert done.replaced is not None
    with closing(copy.open()) as db:
        assert db.execute("SELECT count(*) FROM records WHERE user_id = 'somebody else'").fetchone() == (0,)
        check_guarantees(db)
    with closing(sqlite3.connect(done.replaced)) as old:
        assert old.execute("SELECT count(*) FROM records WHERE user_id = 'somebody else'").fetchone() == (900,)


def test_rebuilt_file_of_an_earlier_version_replaces_a_missing_state_file(place: Place) -> None:
    made = place.path.with_name("notifier.db.rebuilt")
    shutil.copy(place.path, made)
    place.path.unlink()
    place.path.with_name("notifier.db.rebuilding").touch()
    with closing(place.open()) as db:
        assert compare.latest_comparison(db) is None
        check_guarantees(db)
    made.touch()
    with closing(place.open()) as db:
        assert db.execute("SELECT count(*) FROM records").fetchone() == (901,)
    assert not made.exists()


SUFFIXES = (".rebuilt", ".rebuilding", ".exchange", ".exchange-wal", ".essentials.old", ".damage-met", "-journal")


@pytest.mark.parametrize("name", [*SUFFIXES, ".damaged-20261121T180000Z", ".replaced-x", ".essentials.unreadable"])
def test_backup_refuses_the_name_of_an_internal_file(place: Place, name: str) -> None:
    with pytest.raises(BackupError, match="is part of the state file itself"):
        back_up(place.path, place.path.with_name(f"notifier.db{name}"), ignore_progress)


def test_exchange_file_without_header_is_discarded(place: Place) -> None:
    shutil.copy(place.path, sibling_path(place.path, EXCHANGE))
    with closing(place.open()) as db:
        check_guarantees(db)
    assert not sibling_path(place.path, EXCHANGE).exists()


def test_killed_backups_leave_one_partial_file_that_the_next_one_replaces(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()

    def kill(_done: int, _of: int) -> None:
        os.kill(os.getpid(), 9)

    for number in range(2):
        if (child := os.fork()) == 0:
            back_up(place.path, folder / f"{number}.db", kill)
        os.waitpid(child, 0)
        assert len([*folder.iterdir()]) == 1
    back_up(place.path, folder / "good.db", ignore_progress)
    assert [path.name for path in folder.iterdir()] == ["good.db"]


def test_second_backup_into_the_same_folder_at_once_is_refused(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    refused: list[str] = []

    def meanwhile(_done: int, _of: int) -> None:
        with pytest.raises(BackupError) as caught:
            back_up(place.path, folder / "other.db", ignore_progress)
        refused.append(str(caught.value))

    back_up(place.path, folder / "one.db", meanwhile)
    assert "another backup is being written into" in refused[0]
    assert [path.name for path in folder.iterdir()] == ["one.db"]


def test_exchange_header_has_replaced_file_kept_name_and_reason(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    kill_rebuild_at(place, "_keep_old_file", monkeypatch)
    header = exchange._read_header(sibling_path(place.path, EXCHANGE))
    assert header is not None
    assert header.replaces == exchange.identity(place.path)
    assert header.kept_name == "notifier.db.damaged-20261121T180000Z"
    assert header.reason == "damaged"
