"""The program as a whole: its commands, its help, and what every command accepts."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from notifier import __version__
from notifier.cli.app import COMMANDS, program
from tests.support.command_line import call

if TYPE_CHECKING:
    from tests.support.command_line import Home


def command(name: str) -> click.Command:
    found = program.get_command(click.Context(program), name)
    assert found is not None
    return found


def test_version_option_prints_the_version() -> None:
    assert call("--version").out == f"notifier {__version__}\n"


def test_commands_agree_with_the_table_in_name_and_help_line() -> None:
    for name, help_line in COMMANDS.items():
        assert command(name).name == name
        assert command(name).get_short_help_str(limit=200) == help_line


def test_command_table_lists_each_file_in_the_commands_folder() -> None:
    folder = Path(program.get_command.__code__.co_filename).parent / "commands"
    files = {file.stem.replace("_", "-") for file in folder.glob("[!_]*.py")}
    assert files == set(COMMANDS)


def test_help_lists_every_command_on_one_line() -> None:
    lines = call("--help").lines
    for name, help_line in COMMANDS.items():
        assert [line.split(maxsplit=1) for line in lines if line.startswith(f"  {name} ")] == [[name, help_line]]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_examples_that_can_be_parsed(name: str) -> None:
    epilog = command(name).epilog or ""
    examples = [line.split() for line in epilog.splitlines() if line.startswith("  notifier ")]
    assert examples
    for words in examples:
        assert words[:2] == ["notifier", name]
        arguments = words[2 : words.index(">")] if ">" in words else words[2:]
        command(name).make_context(name, arguments)
    assert "Examples:\n    notifier" in call(name, "--help").out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_accepts_the_common_options(name: str) -> None:
    options = {option for parameter in command(name).params for option in parameter.opts}
    assert {"--config", "--secrets-dir", "--verbose"} <= options


def test_common_options_work_before_and_after_the_command(home: "Home", tmp_path: Path) -> None:
    before = call("--config", str(home.config), "--verbose", "check")
    after = call("check", "--verbose", "--config", str(home.config))
    assert (before.code, before.out) == (0, after.out)
    missing = tmp_path / "missing.toml"
    later_wins = call("--config", str(missing), "check", "--config", str(home.config))
    assert later_wins == after


@pytest.mark.parametrize("after", [False, True])
def test_secrets_dir_option_works_before_and_after_the_command(home: "Home", tmp_path: Path, *, after: bool) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "NOTIFIER_SOURCES__ACME__POLL_INTERVAL").write_text("17s\n")
    option = ("--secrets-dir", str(secrets))
    arguments = ("check", *option) if after else (*option, "check")
    assert "17s" in call("--config", str(home.config), *arguments).out


def test_unknown_command_exits_2_and_names_the_nearest_one() -> None:
    said = call("evnts")
    assert said.code == 2
    assert "Did you mean 'events'?" in said.err


def test_program_without_a_command_exits_2_and_shows_its_help() -> None:
    said = call()
    assert said.code == 2
    assert "Commands:" in said.err
