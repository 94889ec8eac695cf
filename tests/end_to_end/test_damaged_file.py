"""A damaged state file: the daemon reports it, sets it aside and rebuilds it; no event is lost or sent twice."""

import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until

PAGE = 4096
SLOW_SWEEPS = "names = false\npage_size = 10"


def overwrite_pages(path: Path, first: int, pages: int) -> None:
    with path.open("r+b") as file:
        file.seek(first * PAGE)
        file.write(b"\xab" * PAGE * pages)


def root_page_of(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        page: int = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()[0]
    return page - 1


@pytest.mark.parametrize("damage", ["header", "records", "everything", "gone"])
async def test_rebuilt_state_file_repeats_no_event_and_keeps_the_ids_of_pending_ones(
    program: Program, receiver: Receiver, damage: str
) -> None:
    account = build_account(300)
    path = program.folder / "notifier.db"
    async with served(account) as api:
        program.configure(
            api,
            receiver.url,
            source=SLOW_SWEEPS,
            more=f'[alerts]\ndestination = "ops"\n[destinations.ops]\ntype = "http"\nurl = "{receiver.url}/alerts"\n',
        )
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        growth = Growth(account, seed=7)
        told = {str(record.id) for record in growth.grow(5)}
        await until(lambda: set(receiver.subjects) >= told)
        receiver.status = 503
        waiting = {str(record.id) for record in growth.grow(3)}
        await program.until_status(lambda it: it["destinations"]["hr"]["pending"] == len(waiting))
        await program.until_status(lambda it: it["sources"]["acme"]["state"] == "ok")
        await program.stop()
        before = {event["id"]: event for event in program.documents("events", "--json")}

        match damage:
            case "header":
                overwrite_pages(path, 0, 1)
            case "records":
                overwrite_pages(path, root_page_of(path, "records"), 1)
            case "everything":
                overwrite_pages(path, 0, path.stat().st_size // PAGE)
            case _:
                path.unlink()
        receiver.status = 200
        program.start()
        await until(lambda: set(receiver.subjects) >= told | waiting)
        late = {str(record.id) for record in growth.grow(2)}
        await until(lambda: set(receiver.subjects) >= late)
        await program.until_status(lambda it: it["sources"]["acme"]["records"] == 310)
        assert [it["condition"] for it in program.status()["conditions"]] == ["state_rebuilt"]
        await program.stop()
        after = program.documents("events", "--json")

    completions = [event["id"] for event in receiver.events]
    assert sorted(set(receiver.subjects)) == sorted(told | waiting | late)
    assert len(completions) == len(set(completions)) == len(told | waiting | late)
    assert {event["id"] for event in receiver.events if event["subject"] in told | waiting} <= set(before)
    new = [int(event["sequence"]) for event in after if event["id"] not in before]
    assert min(new) > max(int(event["sequence"]) for event in before.values())
    firing = receiver.alerts[0]["data"]
    assert (firing["condition"], firing["subject"]) == ("state_rebuilt", "store")
    assert "the state file was damaged" in firing["summary"]
    aside = [it.name for it in program.folder.glob("notifier.db.damaged-*Z")]
    if damage == "gone":
        assert aside == []
    else:
        assert len(aside) == 1
        assert re.fullmatch(r"notifier\.db\.damaged-\d{8}T\d{6}Z", aside[0])
        assert aside[0] in firing["summary"]
    assert "the state file is damaged" in program.said()


async def test_damage_found_while_running_ends_the_daemon_and_the_next_start_rebuilds(
    program: Program, receiver: Receiver
) -> None:
    account = build_account(2_000)
    path = program.folder / "notifier.db"
    async with served(account) as api:
        program.configure(api, receiver.url, source="names = false\npage_size = 1000\nsweep_interval = '1s'")
        program.start()
        await until(lambda: program.said().count("sweep has read the whole list") >= 2)
        await until(lambda: b"acme" in path.with_name("notifier.db.essentials").read_bytes())
        assert program.process is not None
        program.process.send_signal(signal.SIGSTOP)
        # A write by another process makes the daemon drop its cached pages and read the file again.
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("UPDATE sources SET swept_at = swept_at")
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        overwrite_pages(path, 1, path.stat().st_size // PAGE - 1)
        program.process.send_signal(signal.SIGCONT)
        Growth(account, seed=3).grow(1)
        assert await wait_for_exit(program) == 1
        assert "it is damaged: `notifier run` sets it aside" in program.said()
        assert "Traceback" not in program.said()
        program.start()
        await until(lambda: len(receiver.subjects) == 1)
        await program.until_status(lambda it: it["sources"]["acme"]["records"] == 2_001)
        await program.stop()


async def wait_for_exit(program: Program) -> int | None:
    """Wait until the program ends, and return its exit code."""
    process = program.process
    assert process is not None
    await until(lambda: process.poll() is not None)
    return process.returncode
