"""The state file is lost or replaced by an older one: no event is lost, whatever commands run before the next start."""

import asyncio
import shutil
from pathlib import Path

import pytest

from notifier.sandbox.account import Account
from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until

NAMES = "names = false"
ALERTS = '[alerts]\ndestination = "ops"\n[destinations.ops]\ntype = "http"\nurl = "{url}/alerts"\n'


async def leave_undelivered(program: Program, receiver: Receiver, account: Account, count: int) -> set[str]:
    """Run a daemon that detects this number of completions but cannot deliver them; return their keys."""
    program.start()
    await until(lambda: "sweep has read the whole list" in program.said())
    # With `first_run = "notify"`, the daemon may still be sending what the account contained before.
    await program.until_status(lambda it: it["destinations"]["hr"]["pending"] == 0)
    receiver.status = 503
    waiting = {str(record.id) for record in Growth(account, seed=5).grow(count)}
    await program.until_status(lambda it: it["destinations"]["hr"]["pending"] == count)
    await program.stop()
    receiver.status = 200
    return waiting


@pytest.mark.parametrize(
    "typed", ["retry --state dead", "poll acme", "sweep acme", "disable hr", "replay --since 2020-01-01", "status"]
)
async def test_command_before_the_rebuild_of_a_lost_file_loses_no_event(
    program: Program, receiver: Receiver, typed: str
) -> None:
    account = build_account(40)
    async with served(account) as api:
        program.configure(api, receiver.url, source=f'{NAMES}\nfirst_run = "notify"' if typed == "poll acme" else NAMES)
        waiting = await leave_undelivered(program, receiver, account, 5)
        told = set(receiver.subjects)
        program.folder.joinpath("notifier.db").unlink()
        late = {str(record.id) for record in Growth(account, seed=6).grow(3)}
        said = await asyncio.to_thread(program.command, *typed.split())
        if typed == "status":
            assert said.returncode == 1
            assert "the state file is missing, and can be rebuilt: start `notifier run` once" in said.stderr
            assert not program.folder.joinpath("notifier.db").exists()
        else:
            assert said.returncode == 0, said.stderr
        if typed == "disable hr":
            await asyncio.to_thread(program.command, "enable", "hr")
        program.start()
        await until(lambda: set(receiver.subjects) >= waiting | late)
        await program.stop()
    assert set(receiver.subjects) == told | waiting | late
    assert len(receiver.ids) == len(set(receiver.ids))
    assert "Traceback" not in program.said()


async def test_restore_of_a_backup_older_than_a_source_loses_none_of_its_events(
    program: Program, receiver: Receiver
) -> None:
    account, beta = build_account(40), build_account(30, seed=9)
    async with served(account) as api, served(beta) as other:
        program.configure(api, receiver.url, source=NAMES)
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        assert program.command("backup", "copy.db").returncode == 0
        await program.stop()
        more = f'[sources.beta]\nbase_url = "{other}"\ntoken = "sandbox"\npoll_interval = "200ms"\n{NAMES}\n'
        program.configure(api, receiver.url, source=NAMES, more=more + ALERTS.format(url=receiver.url))
        program.start()
        await program.until_status(lambda it: it["sources"]["beta"]["state"] == "ok")
        receiver.status = 503
        waiting = {str(record.id) for record in Growth(beta, seed=5).grow(4)}
        await program.until_status(lambda it: it["destinations"]["hr"]["pending"] == 4)
        await program.stop()
        receiver.status = 200
        assert program.command("restore", "copy.db").returncode == 0
        late = {str(record.id) for record in Growth(beta, seed=6).grow(2)}
        program.start()
        await until(lambda: set(receiver.subjects) >= waiting | late)
        await until(lambda: len(receiver.alerts) >= 1)
        await program.stop()
    assert set(receiver.subjects) == waiting | late
    assert len(receiver.ids) == len(set(receiver.ids))
    assert receiver.alerts[0]["data"]["condition"] == "state_behind"
    assert "source beta was unknown" in receiver.alerts[0]["data"]["summary"]


async def test_update_and_removal_just_before_the_file_is_lost_are_still_sent(
    program: Program, receiver: Receiver
) -> None:
    account = build_account(40)
    path = program.folder / "notifier.db"
    async with served(account) as api:
        program.configure(api, receiver.url, source=f"{NAMES}\nsweep_interval = '1s'\nconfirm_after = '1s'")
        program.start()
        await until(lambda: program.said().count("sweep has read the whole list") >= 2)
        receiver.status = 503
        edited, removed = [record for place, record in enumerate(account.records()) if place in (3, 5)]
        account.edit(edited.id, notes="another word")
        account.remove(removed.id)
        await program.until_status(lambda it: it["destinations"]["hr"]["pending"] == 2)
        side_file = path.with_name("notifier.db.essentials")
        await until(lambda: side_file.read_bytes().count(b"completion.updated") == 1, 5)
        await until(lambda: side_file.read_bytes().count(b"completion.removed") == 1, 5)
        program.kill()
        for part in ("", "-wal", "-shm"):
            path.with_name(f"notifier.db{part}").unlink(missing_ok=True)
        receiver.status = 200
        program.start()
        await until(lambda: len(receiver.events) >= 2)
        await until(lambda: program.said().count("sweep has read the whole list") >= 5)
        await program.stop()
    # Requests during the kill may have arrived: each event is sent at least once, under one id.
    assert len(set(receiver.ids)) == 2
    assert {(event["type"], event["subject"]) for event in receiver.events} == {
        ("completion.updated", str(edited.id)),
        ("completion.removed", str(removed.id)),
    }


async def test_backup_restored_on_another_machine_sends_pending_deliveries(
    program: Program, receiver: Receiver, tmp_path: Path
) -> None:
    account = build_account(40)
    async with served(account) as api:
        program.configure(api, receiver.url, source=f'{NAMES}\nfirst_run = "notify"')
        waiting = await leave_undelivered(program, receiver, account, 4)
        told = set(receiver.subjects)
        program.command("backup", "copy.db")
        there = Program(tmp_path / "other")
        there.folder.mkdir()
        shutil.copy(program.folder / "copy.db", there.folder)
        there.configure(api, receiver.url, source=f'{NAMES}\nfirst_run = "notify"')
        there.config.write_text(there.config.read_text().replace('"notifier.db"', '"state/notifier.db"'))
        restored = there.command("restore", "copy.db")
        assert restored.returncode == 0, restored.stderr
        assert there.folder.joinpath("state").stat().st_mode & 0o777 == 0o700
        there.start()
        try:
            await until(lambda: set(receiver.subjects) >= waiting)
            await there.stop()
        finally:
            if there.process is not None and there.process.poll() is None:
                there.kill()
    assert set(receiver.subjects) == told | waiting
    assert len(receiver.ids) == len(set(receiver.ids))
