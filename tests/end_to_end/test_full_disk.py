"""A disk becomes full, and later has free space again. The test mounts a small file system for this."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        skip = "mounting a small file system takes root"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_full_disk_is_logged_and_no_event_is_lost(program: Program, receiver: Receiver, small_disk: Path) -> None:
    account = build_account(20)
    async with served(account) as api:
        program.configure(api, receiver.url, source="names = false")
        move_state_to(program, small_disk)
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        filler = small_disk / "filler"
        fill_disk(filler, small_disk)
        added = {str(record.id) for record in Growth(account, seed=11).grow(200)}
        await until(lambda: "disk_full" in program.said())
        assert program.process is not None
        assert program.process.poll() is None
        filler.unlink()
        await until(lambda: set(receiver.subjects) >= added)
        await program.until_status(lambda it: it["destinations"]["hr"]["pending"] == 0)
        await program.stop()
    assert set(receiver.subjects) == added


async def test_start_on_a_full_disk_reports_it_and_ends(program: Program, receiver: Receiver, small_disk: Path) -> None:
    fill_disk(small_disk / "filler", small_disk)
    program.configure("http://127.0.0.1:9/v1", receiver.url)
    move_state_to(program, small_disk)
    program.start()
    assert program.process is not None
    assert program.process.wait(timeout=20) == 1
    assert "the disk is full" in program.said()
    assert "Traceback" not in program.said()


def move_state_to(program: Program, disk: Path) -> None:
    program.config.write_text(program.config.read_text().replace('"notifier.db"', f'"{disk}/notifier.db"'))


def fill_disk(filler: Path, disk: Path) -> None:
    """Write a file that fills the disk completely."""
    with filler.open("wb") as file:
        while (free := shutil.disk_usage(disk).free) > 0:
            file.write(b"x" * min(free, 65_536))
            file.flush()


async def test_start_on_a_read_only_file_system_reports_it_and_ends(
    program: Program, receiver: Receiver, small_disk: Path
) -> None:
    account = build_account(20)
    async with served(account) as api:
        program.configure(api, receiver.url, source="names = false")
        move_state_to(program, small_disk)
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        await program.stop()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        program.start()
        assert program.process is not None
        assert program.process.wait(timeout=20) == 1
        assert "Read-only file system" in program.said()
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        program.start()
        added = {str(record.id) for record in Growth(account, seed=11).grow(2)}
        await until(lambda: set(receiver.subjects) == added)
        await program.stop()
    assert "Traceback" not in program.said()


async def test_start_on_a_full_disk_keeps_a_damaged_state_file_unchanged(
    program: Program, receiver: Receiver, small_disk: Path
) -> None:
    account = build_account(200)
    path, filler = small_disk / "notifier.db", small_disk / "filler"
    async with served(account) as api:
        program.configure(api, receiver.url, source="names = false")
        move_state_to(program, small_disk)
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        await until(lambda: b"acme" in path.with_name("notifier.db.essentials").read_bytes())
        await program.stop()
        with path.open("r+b") as file:
            file.seek(4096 * 5)
            file.write(b"\xab" * 4096 * 3)
        damaged = path.read_bytes()
        fill_disk(filler, small_disk)
        program.start()
        assert program.process is not None
        assert program.process.wait(timeout=20) == 1
        assert "the disk is full" in program.said()
        assert path.read_bytes() == damaged
        filler.unlink()
        added = {str(record.id) for record in Growth(account, seed=11).grow(2)}
        program.start()
        await until(lambda: set(receiver.subjects) == added)
        await program.stop()
    assert len([*small_disk.glob("notifier.db.damaged-*Z")]) == 1
    assert "Traceback" not in program.said()
