"""The daemon reads its configuration again on SIGHUP and on `notifier reload`."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from notifier.sandbox.fixtures import build_account
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until


async def test_reload_follows_valid_changes_and_refuses_invalid_ones(program: Program, receiver: Receiver) -> None:
    async with served(build_account(10)) as api:
        program.configure(api, receiver.url)
        alone = program.command("reload")
        program.start()
        await until(lambda: "started" in program.said())
        await program.until_status(lambda it: it["sources"]["acme"]["state"] == "ok")
        assert program.process is not None

        program.configure(api, receiver.url, more=f'[destinations.audit]\ntype = "http"\nurl = "{receiver.url}/hook"\n')
        program.process.send_signal(signal.SIGHUP)
        await program.until_status(lambda it: set(it["destinations"]) == {"hr", "audit"})

        good = program.config.read_text()
        program.config.write_text(good.replace('token = "sandbox"', 'tokem = "sandbox"'))
        program.process.send_signal(signal.SIGHUP)
        await until(lambda: "nothing was changed" in program.said())
        wrong = program.command("reload")
        program.config.write_text(good)
        assert program.status()["sources"]["acme"]["state"] == "ok"

        program.configure(api, receiver.url)
        program.config.write_text('include = ["customers/*.toml"]\n' + program.config.read_text())
        globex = program.config.parent / "customers" / "globex.toml"
        globex.parent.mkdir()
        globex.write_text(f'[sources.globex]\ntoken = "sandbox"\nbase_url = "{api}"\n')
        said = program.command("reload")
        again = program.command("reload")
        await program.stop()
    assert (alone.returncode, alone.stderr) == (
        1,
        "Error: no daemon is running, so there is nothing to reload; `notifier run` starts one\n",
    )
    assert wrong.returncode == 78
    assert "did you mean `token`" in wrong.stderr
    assert said.stdout.splitlines() == ["sources added: globex", "destinations removed: audit"]
    assert again.stdout == "the configuration was read again; no source and no destination has changed\n"
    assert "did you mean `token`" in program.said()


async def test_stop_is_not_delayed_by_a_reload_that_never_ends(program: Program, receiver: Receiver) -> None:
    async with served(build_account(10)) as api:
        program.configure(api, receiver.url)
        program.start()
        await until(lambda: "started" in program.said())
        await program.until_status(lambda it: it["sources"]["acme"]["state"] == "ok")
        assert program.process is not None
        program.config.unlink()
        os.mkfifo(program.config, 0o600)
        program.process.send_signal(signal.SIGHUP)
        writers: list[int] = []

        def is_read() -> bool:
            # Opening the pipe for writing without blocking works only while the daemon reads it.
            with suppress(OSError):
                writers.append(os.open(program.config, os.O_WRONLY | os.O_NONBLOCK))
            return bool(writers)

        await until(is_read)
        assert await program.stop() < 5
        os.close(writers[0])


async def test_run_ends_in_time_although_a_thread_hangs(program: Program, receiver: Receiver) -> None:
    program.configure("http://127.0.0.1:9/v1", receiver.url)
    code = (
        "import asyncio, threading\n"
        "from notifier.cli.commands import run\n"
        "async def serve(*_, **__):\n"
        "    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)\n"
        "run.serve = serve\n"
        "run.run()\n"
    )
    environ = {**os.environ, "NOTIFIER_CONFIG": str(program.config)}
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code], env=environ, cwd=program.folder, timeout=20, check=False)
    assert ended.returncode == 0
    assert time.monotonic() - began < 10
