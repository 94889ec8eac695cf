"""The output of commands: JSON, colours only on terminals, and output that cannot be written."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from notifier.store.file.store import FileStore
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.settlements import Settlement, store_settlements
from tests.support.terminal import at_terminal

if TYPE_CHECKING:
    from tests.support.command_line import Api, Home, Receiver


async def run_json(home: "Home", *arguments: str) -> dict[str, Any]:
    """Run a command with --json; return the object that it prints."""
    said = await home.call(*arguments, "--json")
    assert said.err == ""
    (document,) = said.documents
    return document


@pytest.mark.parametrize("with_daemon", [False, True])
async def test_json_of_commands_is_one_object_with_and_without_a_daemon(
    home: "Home", api: "Api", receiver: "Receiver", *, with_daemon: bool
) -> None:
    home.configure(api.url, hr=receiver.url)
    if with_daemon:
        async with home.daemon():
            await _check_json_of_commands(home, daemon=True)
            changed = await run_json(home, "reload")
            assert changed["left_to_restart"] == []
            assert set(changed["sources"]) == {"added", "changed", "removed"} == set(changed["destinations"])
    else:
        await _check_json_of_commands(home, daemon=False)


async def _check_json_of_commands(home: "Home", *, daemon: bool) -> None:
    assert await run_json(home, "poll", "acme") == {"source": "acme", "events": 0, "daemon": daemon}
    followed = {"unfollowed": [], "message": ""}
    swept = await run_json(home, "sweep", "acme")
    assert (swept.pop("records") > 0, swept) == (True, {"source": "acme", "changes": 0, "daemon": daemon})
    assert await run_json(home, "disable", "hr") == {
        "destination": "hr",
        "state": "disabled",
        "reason": "operator",
        "waited": False,
        **followed,
    }
    assert await run_json(home, "enable", "hr") == {
        "destination": "hr",
        "state": "ok",
        "reason": None,
        "waited": False,
        **followed,
    }
    put_back = await run_json(home, "retry")
    assert (put_back.pop("message").startswith("no delivery is dead"), put_back) == (
        True,
        {"deliveries": 0, "destinations": {}, "waited": [], "daemon": daemon},
    )
    assert await run_json(home, "replay", "--since", "2999-01-01", "--dry-run") == {
        "events": 0,
        "deliveries": 0,
        "destinations": {"hr": 0},
        "forgotten_before": None,
        "dry_run": True,
        "daemon": daemon,
    }
    sample = await run_json(home, "test", "hr")
    assert (sample["destination"], sample["result"], sample["status"]) == ("hr", "delivered", 200)


async def test_check_json_is_one_object(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    document = await run_json(home, "check", "--online")
    assert document["configuration"] == str(home.config)
    assert document["sources"]["acme"]["online"]["answers"] is True
    assert document["destinations"]["hr"]["type"] == "http"
    assert document["destinations"]["hr"]["sources"] == ["acme"]
    home.configure("http://127.0.0.1:9/v1")
    said = await home.call("check", "--online", "--json")
    assert said.code == 1
    assert len(said.documents[0]["sources"]["acme"]["online"]["troubles"]) == 1


async def test_preview_json_is_one_object_per_request(home: "Home") -> None:
    documents = (await home.call("test", "hr", "--preview", "--events", "3", "--json")).documents
    assert [document["events"] for document in documents] == [1, 1, 1]
    assert json.loads(documents[0]["body"])["specversion"] == "1.0"


PRINTING_COMMANDS = [
    ("--help",),
    ("status", "--help"),
    ("man",),
    ("check",),
    ("deliveries", "--json"),
    ("explain", "0"),
]


@pytest.fixture
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python buffer its output, as it does unless this variable is set; at its end it tries to write the rest."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.mark.usefixtures("buffered")
@pytest.mark.parametrize("arguments", PRINTING_COMMANDS, ids=" ".join)
async def test_output_to_a_full_disk_prints_an_error_sentence(home: "Home", arguments: tuple[str, ...]) -> None:
    await home.remember("David Ball")
    with Path("/dev/full").open("w") as full, home.started(*arguments, stdout=full.fileno()) as process:
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (1, "Error: the output cannot be written: No space left on device\n")


@pytest.mark.usefixtures("buffered")
@pytest.mark.parametrize("arguments", PRINTING_COMMANDS[:4], ids=" ".join)
async def test_output_into_a_closed_pipe_is_no_error(home: "Home", arguments: tuple[str, ...]) -> None:
    script = f'{sys.executable} -m notifier "$@" | true; test "${{PIPESTATUS[0]}}" -eq 0'
    assert _in_bash(home, script, *arguments) == (0, "")


def _in_bash(home: "Home", script: str, *arguments: str) -> tuple[int, str]:
    command = ["bash", "-c", script, "bash", *arguments]
    environ = {**os.environ, "NOTIFIER_CONFIG": str(home.config)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, cwd=home.folder, env=environ
    )
    return done.returncode, done.stderr


async def test_command_with_closed_stdout_still_does_its_work(home: "Home") -> None:
    await home.remember("David Ball")
    script = f'{sys.executable} -m notifier "$@" >&-'
    for arguments in (("status",), ("events", "--json"), ("disable", "hr")):
        assert _in_bash(home, script, *arguments) == (0, "")
    assert (await run_json(home, "status"))["destinations"]["hr"]["state"] == "disabled"


async def test_output_is_coloured_only_on_terminals_that_allow_it(home: "Home") -> None:
    await home.remember("David Ball")
    await _store_outcome(home, DeliveryState.DEAD)
    for environ, coloured in ({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False):
        with at_terminal("--config", str(home.config), "deliveries", cwd=home.folder, environ=environ) as person:
            assert person.leave() == 0
        assert "dead" in person.screen
        assert ("\x1b[31m" in person.screen) is coloured
    assert "\x1b" not in (await home.run("deliveries")).out


async def test_json_on_a_terminal_is_plain(home: "Home") -> None:
    await home.remember("David Ball")
    with at_terminal("--config", str(home.config), "deliveries", "--json", cwd=home.folder) as person:
        assert person.leave() == 0
    assert json.loads(person.screen)["state"] == "pending"


def test_sandbox_ended_by_ctrl_c_prints_no_traceback(home: "Home") -> None:
    with at_terminal("sandbox", "--listen", "127.0.0.1:0", cwd=home.folder) as person:
        person.see("Ctrl-C ends it.")
        person.type("\x03")
        assert person.leave() == 0
    assert "Traceback" not in person.screen


async def _store_outcome(home: "Home", state: DeliveryState) -> None:
    store = FileStore(home.state_file)
    await store.open()
    try:
        settled = Settlement((1,), "hr", state, "give_up", "refused", 400, "no", 1_795_280_400_123, 5, 0)
        await store.run(store_settlements, [settled])
    finally:
        await store.close()
