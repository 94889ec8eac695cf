"""The example receivers of the documentation, with requests from the real daemon."""

import asyncio
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

import notifier
from notifier.destinations.webhook.signature import Signer
from tests.support.command_line import Api, Home, api, home
from tests.support.needed_programs import needed
from tests.support.ports import free_port
from tests.support.waiting import until

__all__ = ["api", "home"]

FOLDER = Path(notifier.__file__).with_name("docs") / "receivers"
SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes or more").decode()
KINDS = ("python", "node", "php", "go")
DESTINATION_KEYS = (
    'batch_size = 10\nformat = "standard"\nbatch_form = "message"',
    "batch_size = 10",
    'batch_size = 10\nformat = "standard"',
    'format = "standard"',
)
"""Settings of the destinations for the receivers, in the order of KINDS."""

FIRST = "evt_" + "a" * 26
SECOND = "evt_" + "b" * 26
THIRD = "evt_" + "c" * 26


SOURCES = {
    "python": "fastapi_receiver.py",
    "node": "node_receiver.mjs",
    "php": "php_receiver.php",
    "go": "go_receiver.go",
}
SHORT_PAUSES = {
    "python": ("RETRY_SECONDS = 60", "RETRY_SECONDS = 1"),
    "node": ("RETRY_SECONDS = 60", "RETRY_SECONDS = 1"),
    "go": ("retryAfter       = time.Minute", "retryAfter       = time.Second"),
}
"""How a receiver's pause before it tries a failed event again is shortened: a part of its source, and what replaces it.

PHP has none: the next run tries the event again."""

FAILURES = {
    "python": "if event['id'] == '{id}' and not os.path.exists('{mended}'): raise RuntimeError('no printer')",
    "node": "if (event.id === '{id}' && !fs.existsSync('{mended}')) return Promise.reject(Error('no printer'));",
    "php": "if ($event['id'] === '{id}' && !file_exists('{mended}')) throw new Exception('no printer');",
    "go": 'if _, err := os.Stat("{mended}"); it.ID == "{id}" && err != nil {{ panic("no printer") }}',
}
"""Statements for `work` that fail for one event until a file exists."""


def receiver_command(kind: str, port: int, source: Path) -> list[str]:
    """Return the command that starts a receiver; skip the test if the receiver's language is not installed."""
    match kind:
        case "python":
            options = ["--port", str(port), "--log-level", "warning", "--app-dir", str(source.parent)]
            return [sys.executable, "-m", "uvicorn", *options, "fastapi_receiver:app"]
        case "node":
            return [needed("node", "nodejs"), str(source)]
        case "php":
            return [needed("php", "php-cli"), "-S", f"127.0.0.1:{port}", str(source)]
        case _:
            # Go takes 300 MB, too much to install for every run of the tests.
            if shutil.which("go") is None:
                pytest.skip("there is no go here: it is in Debian's package golang-go")
            program = source.with_suffix("")
            subprocess.run(["go", "build", "-o", str(program), str(source)], check=True)
            return [str(program)]


class ReceiverProgram:
    """An example receiver, run as a program. It stores events as files in the folder `events`."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.port = free_port()
        self.kind = kind
        self.events = folder / "events"
        self.source = folder / SOURCES[kind]
        shutil.copy(FOLDER / SOURCES[kind], self.source)
        self.command = receiver_command(kind, self.port, self.source)
        self.environ = {**os.environ, "WEBHOOK_SECRET": SECRET, "EVENTS": str(self.events), "PORT": str(self.port)}
        self.url = f"http://127.0.0.1:{self.port}/hook"

    def let_work_fail(self, identifier: str, mended: Path) -> None:
        """Change the program: its work fails for an event, with short pauses, until the file `mended` exists."""
        text = self.source.read_text()
        example = next(line for line in text.splitlines() if line.endswith("replace this"))
        failure = FAILURES[self.kind].format(id=identifier, mended=mended)
        indentation = example[: len(example) - len(example.lstrip())]
        for old, new in ((example, f"{indentation}{failure}\n{example}"), SHORT_PAUSES.get(self.kind, ("", ""))):
            assert old in text
            text = text.replace(old, new, 1)
        self.source.write_text(text)
        self.command = receiver_command(self.kind, self.port, self.source)

    @contextmanager
    def run(self) -> Iterator[None]:
        with subprocess.Popen(self.command, env=self.environ, stdout=subprocess.DEVNULL) as process:
            try:
                end = time.monotonic() + 20
                while not self._listens():
                    assert time.monotonic() < end, "the receiver does not listen"
                    assert process.poll() is None, "the receiver has ended"
                    time.sleep(0.05)
                yield
            finally:
                process.kill()

    def _listens(self) -> bool:
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", self.port)) == 0

    def finish_work(self) -> None:
        """Process the accepted events, if the receiver leaves this to a separate run (PHP)."""
        if self.kind == "php":
            subprocess.run([self.command[0], str(self.source)], env=self.environ, check=True, capture_output=True)

    async def wait_until_finished(self, count: int) -> None:
        """Wait until this number of events was accepted and processed."""
        await until(lambda: len(list(self.events.glob("evt_*"))) == count)
        await asyncio.to_thread(self.finish_work)
        await until(lambda: self.unfinished_files() == [])

    def finished_events(self) -> dict[str, dict[str, Any]]:
        """Return the processed events, by id."""
        return {file.stem: json.loads(file.read_text()) for file in self.events.glob("*.done")}

    def unfinished_files(self) -> list[str]:
        """Return the names of the files of events that are not processed yet."""
        return [file.name for file in self.events.iterdir() if file.suffix != ".done"]


@pytest.fixture(params=KINDS)
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> ReceiverProgram:
    return ReceiverProgram(request.param, tmp_path)


def event_document(identifier: str) -> dict[str, Any]:
    return {
        "id": identifier,
        "type": "completion.created",
        "data": {"completion": {"user_name": "Zo\u00eb \U0001f600"}},
    }


def batch_message(events: object) -> bytes:
    """Return a batch as one message of Standard Webhooks."""
    return json.dumps({"id": "msg_1", "type": "notifier.batch", "data": {"events": events}}).encode()


def signed_headers(body: bytes, age_seconds: int = 0) -> dict[str, str]:
    return Signer([SecretStr(SECRET)]).headers("msg", time.time_ns() // 1_000_000 - age_seconds * 1000, body)


async def post_batch(receiver: ReceiverProgram, *identifiers: str) -> int:
    """Send events in one request; return the status of the answer."""
    body = json.dumps([event_document(each) for each in identifiers]).encode()
    async with aiohttp.request("POST", receiver.url, data=body, headers=signed_headers(body)) as answer:
        return answer.status


async def test_receiver_accepts_each_genuine_event_once_and_rejects_others(receiver: ReceiverProgram) -> None:
    async def post(body: bytes, age_seconds: int = 0, **changes: str) -> int:
        headers = signed_headers(body, age_seconds)
        changed = {**headers, **{name.replace("_", "-"): value for name, value in changes.items()}}
        async with session.post(receiver.url, data=body, headers=changed) as answer:
            return answer.status

    one, both = (
        json.dumps(event_document(FIRST)).encode(),
        json.dumps([event_document(FIRST), event_document(SECOND)]).encode(),
    )
    with receiver.run():
        async with aiohttp.ClientSession() as session:
            assert await post(one, webhook_signature="v1,AAAA") == 401
            assert await post(one, webhook_signature="") == 401
            assert await post(one, webhook_id="another") == 401
            assert await post(one, webhook_timestamp="soon") == 401
            assert await post(one, age_seconds=301) == 401
            assert await post(one, age_seconds=-330) == 401
            for wrong in (
                b"",
                b"{",
                b"7",
                b"[]",
                b"{}",
                b'{"events": []}',
                b'{"id": "../../x"}',
                b'[{"id": 7}]',
                batch_message([]),
                batch_message([7]),
                batch_message(None),
            ):
                assert await post(wrong) == 400, wrong
            async with session.get(receiver.url) as answer:
                assert answer.status == 405
            assert list(receiver.events.iterdir()) == []
            assert await post(one) == 204
            assert await post(both) == 204
            assert await post(json.dumps({"events": [event_document(SECOND)]}).encode()) == 204
            assert await post(batch_message([event_document(SECOND), event_document(THIRD)])) == 204
            await asyncio.to_thread(receiver.finish_work)
            await until(lambda: receiver.unfinished_files() == [])
            assert receiver.finished_events() == {each: event_document(each) for each in (FIRST, SECOND, THIRD)}
            assert {await post(one) for _ in range(3)} == {204}
            assert receiver.unfinished_files() == []
    (receiver.events / f"{FIRST}.done").rename(receiver.events / f"{FIRST}.json")
    with receiver.run():
        # The next run processes events that were accepted, but not processed, before a crash.
        await asyncio.to_thread(receiver.finish_work)
        await until(lambda: receiver.unfinished_files() == [])
    assert set(receiver.finished_events()) == {FIRST, SECOND, THIRD}


async def test_receiver_does_not_repeat_the_work_of_an_event_stored_again(receiver: ReceiverProgram) -> None:
    receiver.events.mkdir()
    (receiver.events / f"{FIRST}.done").write_text(json.dumps(event_document(FIRST)))
    (receiver.events / f"{FIRST}.json").write_text(json.dumps({**event_document(FIRST), "type": "again"}))
    with receiver.run():
        await asyncio.to_thread(receiver.finish_work)
        await until(lambda: receiver.unfinished_files() == [])
    assert receiver.finished_events() == {FIRST: event_document(FIRST)}


async def test_receiver_retries_a_failed_event_and_processes_the_others(
    receiver: ReceiverProgram, tmp_path: Path
) -> None:
    async def finish(*identifiers: str) -> None:
        await asyncio.to_thread(receiver.finish_work)
        await until(lambda: set(receiver.finished_events()) == set(identifiers))

    mended = tmp_path / "mended"
    receiver.let_work_fail(FIRST, mended)
    with receiver.run():
        assert await post_batch(receiver, FIRST, SECOND) == 204
        await finish(SECOND)
    with receiver.run():
        assert await post_batch(receiver, THIRD) == 204
        await finish(SECOND, THIRD)
        assert receiver.unfinished_files() == [f"{FIRST}.json"]
        mended.touch()
        await finish(FIRST, SECOND, THIRD)


@pytest.mark.parametrize("receiver", ["node"], indirect=True)
async def test_node_receiver_processes_events_stored_before_a_failing_one(receiver: ReceiverProgram) -> None:
    failing = f"if (event.id === '{SECOND}') throw new Error('no space');"
    receiver.source.write_text(receiver.source.read_text().replace("keep(event) {\n", f"keep(event) {{\n{failing}\n"))
    with receiver.run():
        assert await post_batch(receiver, FIRST, SECOND) == 500
        await until(lambda: set(receiver.finished_events()) == {FIRST})


def is_installed(kind: str) -> bool:
    return kind == "python" or shutil.which(kind) is not None


async def test_daemon_delivers_to_every_example_receiver(home: Home, api: Api, tmp_path: Path) -> None:
    receivers = []
    for kind in filter(is_installed, KINDS):
        (tmp_path / kind).mkdir()
        receivers.append(ReceiverProgram(kind, tmp_path / kind))
    tables = [
        f'[destinations.{it.kind}]\ntype = "http"\nurl = "{it.url}"\nsecret = "{SECRET}"\n{more}\n'
        for it, more in zip(receivers, DESTINATION_KEYS, strict=False)
    ]
    home.configure(api.url, more="\n".join(["", *tables]))
    user, training = api.account.users[0]["id"], api.account.trainings[0].ids
    with ExitStack() as running:
        for it in receivers:
            running.enter_context(it.run())
        async with home.daemon():
            keys = {str(api.account.add(user=user, training=training).id) for _ in range(3)}
            for it in receivers:
                await it.wait_until_finished(3)
    for it in receivers:
        assert {event["id"] for event in it.finished_events().values()} == set(it.finished_events())
        assert {event["data"]["completion"]["key"] for event in it.finished_events().values()} == keys
