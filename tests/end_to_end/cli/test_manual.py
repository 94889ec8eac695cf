"""The manual page is up to date and complete, and groff and mandoc accept it."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from notifier.cli.app import COMMANDS, program
from notifier.cli.errors import ExitCode
from notifier.cli.man_page import command_contexts
from tests.support.command_line import call
from tests.support.needed_programs import needed
from tests.support.terminal import at_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "notifier" / "cli" / "notifier.1"


@cache
def page() -> str:
    return call("man").out


def formatter_warnings(command: "Sequence[str]") -> list[str]:
    """Let a formatter read the page from standard input, and return its warnings."""
    done = subprocess.run(command, input=page(), capture_output=True, text=True, timeout=60, check=False)
    return [line for line in (done.stderr + done.stdout).splitlines() if "WARNING" in line or "warning" in line]


def render_page() -> str:
    man = needed("man", "man-db")
    done = subprocess.run(
        [man, "-l", "-"],
        input=page(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "200", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""},
    )
    return re.sub(r".\x08", "", done.stdout)


def test_shipped_manual_page_is_up_to_date() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == page(), "write it again: notifier man > notifier/cli/notifier.1"


def test_manual_page_is_installed_with_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["shared-data"] == {"notifier/cli/notifier.1": "share/man/man1/notifier.1"}


def test_groff_accepts_the_manual_page_without_warnings() -> None:
    assert formatter_warnings([needed("groff", "man-db"), "-man", "-ww", "-Tutf8", "-z"]) == []


def test_mandoc_warns_only_about_the_missing_date() -> None:
    # The page has no date, because a date would have to be updated by hand.
    assert [
        line
        for line in formatter_warnings([needed("mandoc", "mandoc"), "-Tlint", "-W", "warning"])
        if "date" not in line
    ] == []


def test_manual_page_lists_every_command_option_and_exit_code() -> None:
    text = render_page()
    contexts = [*command_contexts(click.Context(program, info_name="notifier"))]
    assert len(contexts) > len(COMMANDS)
    for context in contexts:
        assert re.search(rf"^   {context.command_path}\b", text, re.MULTILINE)
        for parameter in context.command.params:
            if isinstance(parameter, click.Option):
                assert all(option in text for option in parameter.opts)
    for code in ExitCode:
        assert re.search(rf"^       {int(code)} +[A-Z]", text, re.MULTILINE)
    for part in ("NAME", "SYNOPSIS", "FILES", "ENVIRONMENT", "SIGNALS", "EXAMPLES", "SEE ALSO"):
        assert re.search(rf"^{part}$", text, re.MULTILINE)


def test_manual_page_renders_examples_that_can_be_copied() -> None:
    text = render_page()
    for example in ("notifier retry --state pending --destination hr-system", "~/.zfunc/_notifier", "sources/acme"[:7]):
        assert example in text
    assert not set(text) & {"\u2212", "\u02dc"}
    assert "`" not in text


def test_lexgrog_finds_the_description_of_the_manual_page() -> None:
    needed("lexgrog", "man-db")
    done = subprocess.run(["lexgrog", SHIPPED], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.strip().endswith(
        '"notifier - tell Slack and HTTP endpoints who completed which training in KPA Flex"'
    )


def test_man_on_a_terminal_shows_the_page_in_a_pager(tmp_path: Path) -> None:
    needed("man", "man-db")
    with at_terminal("man", cwd=tmp_path, environ={"PAGER": "cat", "MANPAGER": "cat"}) as person:
        assert person.leave() == 0
    shown = re.sub(r".\x08", "", person.screen)
    assert "NOTIFIER(1)" in shown
    assert "\nEXIT STATUS\n" in shown


def test_man_on_a_terminal_without_man_installed_prints_the_source(tmp_path: Path) -> None:
    with at_terminal("man", cwd=tmp_path, environ={"PATH": str(Path(sys.executable).parent)}) as person:
        person.see(".SH NAME")
        assert person.leave() == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_manual_page_contains_no_troff_requests_from_help_texts(name: str) -> None:
    section = page().partition(f".SS notifier {name}")[2].partition(".SS")[0]
    known = (".PP", ".TP", ".RS 4", ".nf", ".fi", ".RE", ".SH", ".SS", ".BR")
    assert [line for line in section.splitlines() if line.startswith((".", "'")) and not line.startswith(known)] == []
