"""A disk that cannot be written to, at the start or later: the daemon reports it, and nothing is lost."""

import resource

from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until


async def test_records_that_cannot_be_stored_are_found_once_the_disk_works(
    program: Program, receiver: Receiver
) -> None:
    account = build_account(300)
    async with served(account) as api:
        program.configure(api, receiver.url, source="names = false")
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        assert program.process is not None
        # The program's log stays below the limit. SQLite's log exceeds it and gets an error, as on a broken disk.
        limit = resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (24_000, limit[1]))
        added = {str(record.id) for record in Growth(account, seed=11).grow(40)}
        await until(lambda: "io_error" in program.said())
        status = program.status()
        assert status["sources"]["acme"]["state"] == "failing"
        assert status["sources"]["acme"]["last_error"]["reason"] == "io_error"
        assert program.process.poll() is None
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, limit)
        await until(lambda: set(receiver.subjects) >= added)
        await program.until_status(lambda it: it["sources"]["acme"]["state"] == "ok")
        await program.stop()
    assert set(receiver.subjects) == added
    assert "Traceback" not in program.said()
    assert program.said().count('"reason":"io_error"') <= 4


async def test_start_in_a_folder_that_cannot_be_written_reports_it_and_ends(
    program: Program, receiver: Receiver
) -> None:
    program.configure("http://127.0.0.1:9/v1", receiver.url)
    program.config.write_text(program.config.read_text().replace('"notifier.db"', '"/proc/1/notifier.db"'))
    program.start()
    assert program.process is not None
    assert program.process.wait(timeout=20) == 1
    assert "cannot be written to" in program.said()
    assert "Traceback" not in program.said()
