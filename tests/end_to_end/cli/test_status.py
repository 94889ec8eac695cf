"""`notifier status`, with and without a running daemon."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from notifier import __version__
from tests.support.command_line import until

if TYPE_CHECKING:
    from tests.support.command_line import Api, Home

DAEMON_COMMANDS = (
    "status",
    "disable hr",
    "enable hr",
    "poll acme",
    "sweep acme",
    "release acme removals",
    "events",
    "deliveries",
    "deliveries drop hr",
    "retry --destination hr",
    "replay --since 2026-11-21 --destination hr",
    "replay --status",
    "replay --stop",
)


def key_tree(value: Any) -> Any:
    """Return the keys of a JSON document as nested dictionaries, without the values."""
    return {key: key_tree(below) for key, below in value.items()} if isinstance(value, dict) else None


async def test_status_has_the_same_json_keys_with_and_without_a_daemon(home: "Home", api: "Api") -> None:
    home.configure(api.url)

    async def has_begun_a_sweep() -> bool:
        (status,) = (await home.call("status", "--json")).documents
        return status["sources"]["acme"]["sweep"] is not None

    async with home.daemon():
        await until(has_begun_a_sweep)
        (document,) = (await home.call("status", "--json")).documents
        said = await home.call("status")
        shown = await asyncio.to_thread(home.on_terminal, "status")
    assert said.lines[0].startswith(f"Completion Notifier {__version__}, running since ")
    assert "\x1b[32mok" in shown.out
    assert document["sources"]["acme"]["state"] == "ok"
    assert document["sources"]["acme"]["next_poll"] is not None
    (remembered,) = (await home.call("status", "--json")).documents
    assert remembered["started_at"] is None
    assert key_tree(remembered) == key_tree(document)


async def test_status_after_an_upgrade_warns_that_the_daemon_is_older(
    home: "Home", api: "Api", monkeypatch: pytest.MonkeyPatch
) -> None:
    home.configure(api.url)
    async with home.daemon():
        assert "installed" not in (await home.call("status")).out
        monkeypatch.setattr("notifier.cli.commands.status.__version__", "7.0.0")
        assert (await home.call("status")).lines[1] == "Warning: 7.0.0 is installed: restart the daemon to run it."


async def test_commands_ask_the_daemon_while_the_configuration_is_invalid(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    async with home.daemon():
        wrong = home.config.read_text() + "[nonsense]\n"
        home.config.write_text(wrong)
        for command in DAEMON_COMMANDS:
            said = await home.call(*command.split())
            assert said.code == 0, (command, said)
            assert "This asks the running daemon, which still uses the previous configuration." in said.err, command
    for command in DAEMON_COMMANDS:
        said = await home.call(*command.split())
        assert said.code == 78, (command, said)
        assert "nonsense" in said.err, command


async def test_status_exit_code_is_1_while_a_source_fails(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    async with home.daemon():
        assert (await home.call("status", "--exit-code")).code == 0
    home.configure("http://127.0.0.1:9/v1")
    async with home.daemon():
        said = await home.call("status", "--exit-code")
        assert (said.code, "failing" in said.out) == (1, True)
        assert (await home.call("status")).code == 0
