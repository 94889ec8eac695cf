"""The daemon's listening address: connections of other users, and a socket from systemd."""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
import pytest

from notifier.sandbox.fixtures import build_account
from tests.support.ports import free_port
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until

if TYPE_CHECKING:
    from notifier.sandbox.account import Account

FLOOD_SCRIPT = """
import socket, sys
held = []
for _ in range(1100):
    one = socket.socket()
    one.settimeout(2)
    try:
        one.connect(("127.0.0.1", int(sys.argv[1])))
    except OSError:
        continue
    held.append(one)
    if len(held) == 600:
        del held[:300]
print("flooded", flush=True)
sys.stdin.read()
"""
FEW_DESCRIPTORS = ("/bin/sh", "-c", 'ulimit -n 256; exec "$@"', "sh")
AS_ANOTHER_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
SOCKET_HANDOVER_SCRIPT = """
import os, sys
os.dup2({}, 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[1], sys.argv[1:])
"""


def add_completion(account: "Account") -> None:
    account.add(user=account.users[0]["id"], training=account.trainings[0].ids)


def has_received(receiver: Receiver, events: int) -> bool:
    return len(receiver.events) == events


def set_listen_address(program: Program, address: str) -> None:
    program.config.write_text(program.config.read_text().replace('listen = ""', f'listen = "{address}"'))


@pytest.mark.parametrize("token", ["", 'token = "correct-horse-battery"'], ids=["no token", "token"])
async def test_silent_connections_of_another_user_do_not_stop_polls_or_deliveries(
    program: Program, receiver: Receiver, token: str
) -> None:
    account, port = build_account(20), free_port()
    async with served(account) as api:
        program.configure(api, receiver.url)
        set_listen_address(program, f"127.0.0.1:{port}")
        program.config.write_text(program.config.read_text().replace("[sources.acme]", f"{token}\n[sources.acme]"))
        program.start(*FEW_DESCRIPTORS)
        await until(lambda: program.folder.joinpath("notifier.db.sock").exists())
        await until(lambda: program.status()["sources"]["acme"]["state"] == "ok")
        with subprocess.Popen(
            [*AS_ANOTHER_USER, "/usr/bin/env", "python3", "-c", FLOOD_SCRIPT, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
        ) as flood:
            assert flood.stdin is not None
            assert flood.stdout is not None
            assert await asyncio.to_thread(flood.stdout.readline) == b"flooded\n"
            for number in range(1, 4):
                add_completion(account)
                await until(partial(has_received, receiver, number))
            status = await asyncio.to_thread(program.status)
            assert status["conditions"] == []
            assert status["sources"]["acme"]["last_error"] is None
            url = f"http://127.0.0.1:{port}/healthz"
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                assert response.status == 200
            flood.stdin.close()
        await program.stop()
    assert "Too many open files" not in program.said()


async def test_socket_from_systemd_accepts_requests_before_the_start(program: Program, receiver: Receiver) -> None:
    account = build_account(20)
    with closing(socket.create_server(("127.0.0.1", 0))) as handed:
        port = handed.getsockname()[1]
        async with served(account) as api:
            program.configure(api, receiver.url)
            set_listen_address(program, "127.0.0.1:1")
            with program.log.open("ab") as log:
                command = [sys.executable, "-m", "notifier", "--config", str(program.config), "run"]
                program.process = subprocess.Popen(
                    [sys.executable, "-c", SOCKET_HANDOVER_SCRIPT.format(handed.fileno()), *command],
                    pass_fds=(handed.fileno(),),
                    env={**os.environ, "LISTEN_FDS": "1"},
                    stdout=log,
                    stderr=log,
                    cwd=program.folder,
                )
            # The first request is sent before the daemon starts, and waits for the daemon.
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/healthz") as response:
                    assert response.status == 200
                async with session.get(f"http://127.0.0.1:{port}/v1/status") as response:
                    assert response.status == 401
            link = await asyncio.to_thread(program.command, "dashboard")
            assert link.stdout.startswith(f"http://127.0.0.1:{port}/sign-in?link=")
            await program.stop()
