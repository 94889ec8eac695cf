"""Shell completion in bash, zsh and fish, with and without a configuration."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import ShellComplete

from notifier.cli.app import COMMANDS, program
from tests.support.command_line import call
from tests.support.needed_programs import needed

if TYPE_CHECKING:
    from tests.support.command_line import Home

HEAVY_MODULES = ("pydantic", "aiohttp", "rich", "sqlite_utils", "orjson")


def complete(*words: str) -> list[str]:
    """Return the completions of the last word."""
    *before, last = words
    return [item.value for item in ShellComplete(program, {}, "notifier", "").get_completions(before, last)]


@pytest.fixture(autouse=True)
def configured_home(home: "Home", monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands find the configuration without an option (as root, they do not read ./config.toml)."""
    monkeypatch.chdir(home.folder)
    monkeypatch.setenv("NOTIFIER_CONFIG", str(home.config))


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("re",), ["receive", "retry", "replay", "release", "restore", "reload"]),
        (("--ver",), ["--verbose", "--version"]),
        (("retry", "--d"), ["--destination"]),
        (("poll", ""), ["acme"]),
        (("sweep", "a"), ["acme"]),
        (("release", "a"), ["acme"]),
        (("release", "acme", "re"), ["removals"]),
        (("test", ""), ["hr"]),
        (("enable", "h"), ["hr"]),
        (("disable", "x"), []),
        (("deliveries", "--destination", ""), ["hr"]),
        (("deliveries", "--state", "d"), ["delivered", "dead"]),
        (("retry", "--state", ""), ["dead", "pending", "delivered"]),
        (("replay", "--source", ""), ["acme"]),
        (("replay", "--destination", ""), ["hr"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("schema", "e"), ["event"]),
    ],
)
def test_completion_completes_commands_options_values_and_names(words: tuple[str, ...], wanted: list[str]) -> None:
    assert complete(*words) == wanted


def test_completion_takes_names_from_the_file_given_with_config(
    home: "Home", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("NOTIFIER_CONFIG")
    assert complete("poll", "") == []
    assert complete("--config", str(home.config), "poll", "") == ["acme"]
    assert complete("poll", "--config", str(home.config), "") == ["acme"]


@pytest.mark.parametrize(
    "content",
    [None, b"[sources", b"sources = 5\n", b"\xff\xfe", b"[sources]\nacme = 1\n", b'[sources.acme]\ntoken = ""\n'],
)
def test_completion_with_a_missing_or_invalid_configuration_prints_no_error(
    home: "Home", capfd: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    if content is None:
        home.config.unlink()
    else:
        home.config.write_bytes(content)
    assert complete("poll", "") == (["acme"] if content and b"acme" in content else [])
    assert "".join(capfd.readouterr()) == ""


def test_completion_imports_no_heavy_module() -> None:
    script = "import sys; from notifier.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    environ = {**os.environ, "_NOTIFIER_COMPLETE": "bash_complete", "COMP_WORDS": "notifier ", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False, env=environ
    )
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == list(COMMANDS)
    assert not set(done.stderr.split()) & set(HEAVY_MODULES)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return a value of PATH with a folder in which this program is called `notifier`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    started = folder / "notifier"
    started.write_text(f'#!/bin/sh\nexec {sys.executable} -m notifier "$@"\n')
    started.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def run_in_shell(shell: str, script: str, path: str, cwd: Path) -> str:
    environ = {
        "PATH": path,
        "HOME": str(cwd),
        "TERM": "dumb",
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "NOTIFIER_CONFIG": str(cwd / "config.toml"),
    }
    done = subprocess.run(
        [needed(shell, shell), "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env=environ,
    )
    assert done.stderr == ""
    return done.stdout


def test_completion_script_works_in_bash(home: "Home", path: str) -> None:
    script = """
        eval "$(notifier completion bash)"
        COMP_WORDS=(notifier disable "") COMP_CWORD=2
        _notifier_completion notifier
        echo "${COMPREPLY[@]}"
    """
    assert run_in_shell("bash", script, path, home.folder) == "hr\n"


def test_completion_script_is_registered_in_zsh(home: "Home", path: str) -> None:
    script = """
        autoload -Uz compinit && compinit -u -D
        eval "$(notifier completion zsh)"
        print ${_comps[notifier]}
    """
    assert run_in_shell("zsh", script, path, home.folder) == "_notifier_completion\n"


def test_completion_script_works_in_fish(home: "Home", path: str) -> None:
    script = 'notifier completion fish | source; complete --do-complete "notifier disable "'
    assert run_in_shell("fish", script, path, home.folder) == "hr\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed_without_the_shell_installed(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    said = call("completion", shell)
    assert (said.code, said.err) == (0, "")
    assert f"_NOTIFIER_COMPLETE={shell}_complete" in said.out
