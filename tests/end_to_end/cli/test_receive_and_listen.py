"""`notifier listen` forwards the daemon's events to `notifier receive`, which verifies them."""

import asyncio
import base64
import json
import os
import re
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    import subprocess

    from tests.support.command_line import Api, Home

SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes or more").decode()


async def next_line(stream: Any) -> str:
    line: str = await asyncio.wait_for(asyncio.to_thread(stream.readline), timeout=20)
    return line


async def next_document(process: "subprocess.Popen[str]") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(await next_line(process.stdout))
    return document


async def test_listen_prints_and_forwards_events_across_a_daemon_restart(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    file = home.folder / "secret.txt"
    file.write_text(SECRET)
    user, training = api.account.users[0]["id"], api.account.trainings[0].ids
    with ExitStack() as programs:
        receive = ("receive", "--port", "0", "--json", "--secret", f"@{file}")
        receiver = programs.enter_context(home.started(*receive))
        url = re.search(r"http://[0-9.:]+", await next_line(receiver.stderr))
        assert url is not None
        async with home.daemon():
            listen = ("listen", "--json", "--type", "completion.created", "--forward", f"{url[0]}/in")
            listener = programs.enter_context(home.started(*listen, "--secret", f"@{file}"))
            assert await next_line(listener.stderr) == "following the daemon's events\n"
            keys = [str(api.account.add(user=user, training=training).id)]
            events = [await next_document(listener)]
        assert await next_line(listener.stderr) == f"{events[0]['id']}: 200 ok\n"
        assert await next_line(listener.stderr) == "the daemon has stopped: waiting for it\n"
        keys.append(str(api.account.add(user=user, training=training).id))
        async with home.daemon():
            events.append(await next_document(listener))
        received = [await next_document(receiver) for _ in events]
        await home.end(listener, signal.SIGINT)
        await home.end(receiver, signal.SIGINT)
    assert (listener.returncode, receiver.returncode) == (0, 0)
    assert [event["subject"] for event in events] == keys
    assert [(one["genuine"], one["status"], one["path"]) for one in received] == [(True, 200, "/in")] * 2
    assert [one["events"][0]["id"] for one in received] == [event["id"] for event in events]


@pytest.mark.parametrize(("to", "code", "told"), [("pipe", 0, ""), ("/dev/full", 1, "No space left on device")])
async def test_receive_ends_when_its_output_cannot_be_written(home: "Home", to: str, code: int, told: str) -> None:
    reader, writer = os.pipe() if to == "pipe" else (None, os.open(to, os.O_WRONLY))
    with home.started("receive", "--port", "0", "--json", stdout=writer) as receiver:
        os.close(writer)
        url = re.search(r"http://[0-9.:]+", await next_line(receiver.stderr))
        assert url is not None
        if reader is not None:
            os.close(reader)
        event = {"id": "evt_1", "type": "completion.created", "data": {}}
        async with aiohttp.ClientSession() as session, session.post(url[0], json=event) as answer:
            assert answer.status == 200
        _, err = await asyncio.to_thread(receiver.communicate, timeout=20)
    assert (receiver.returncode, told in err, "Traceback" in err) == (code, True, False)
