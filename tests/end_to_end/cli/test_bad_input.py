"""Invalid input to every command: the command prints a sentence and no traceback, and exits with a defined code."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from notifier.cli.app import COMMANDS
from tests.support.command_line import READS_CONFIGURATION, CommandOutput, call

if TYPE_CHECKING:
    from tests.support.command_line import Api, Home

NONSENSE = ("", " ", "-", "--", "\x01", "\x1b[31m", "\udcff", "..", "/", "évt", "0", "-1", "1e309", "x" * 5000, "a\nb")
"""Invalid values: empty, control characters, bytes that are not UTF-8, wrong numbers, too long."""

COMMAND_LINES = {
    "demo": ("--events {}", "--events 1 --listen {}"),
    "sandbox": ("--listen {}", "--records {}", "--rate {}"),
    "init": (
        "--no-secrets --no-slack --no-http {}",
        "--no-secrets --no-slack --no-http --force {}",
        "--no-slack --no-http --token @{} never/config.toml",
        "--no-slack --no-http --token {} never/config.toml",
        "--no-secrets --no-http --slack-url {} never/config.toml",
        "--no-secrets --no-slack --http-url {} never/config.toml",
        "--no-secrets --no-slack --no-http --source {} never/config.toml",
        "--no-secrets --no-slack --no-http --base-url {} never/config.toml",
        "--no-secrets --no-slack --no-http --state-file {} never/config.toml",
        "--no-secrets --no-slack --no-http --api {} never/config.toml",
        "--no-secrets --no-slack --http-url https://x.example.com --http-name {} never/config.toml",
    ),
    "test": ("{}", "hr --preview --events {}"),
    "events": ("--after {}",),
    "deliveries": ("--state {}", "--destination {}"),
    "explain": ("{}",),
    "retry": ("{}", "--destination {}", "--state {}", "evt_o5xz64gu32q36eieigh27fof3j {}"),
    "replay": (
        "--since {}",
        "--since 2026-11-21 --until {}",
        "--since 2026-11-21 --destination {}",
        "--since 2026-11-21 --source {}",
        "--since 2026-11-21 --type {}",
    ),
    "enable": ("{}",),
    "disable": ("{}",),
    "poll": ("{}",),
    "sweep": ("{}",),
    "release": ("{} removals", "acme {}"),
    "forget": ("{} --yes",),
    "schema": ("{}",),
    "backup": ("{}",),
    "restore": ("{}",),
    "install-service": ("--print --instance {}", "--print --program {}"),
    "completion": ("{}",),
    "help": ("{}",),
    "listen": ("--type {}", "--format {}", "--secret {}", "--forward {}", "--forward http://127.0.0.1:9 --secret {}"),
    "receive": ("--secret {}", "--secret @{}", "--answer 1 --answer {}", "--answer 1 --port {}"),
}
"""The arguments of each command; `{}` stands for the value under test, and the other values are valid."""

TAKES_EXTRA_ARGUMENTS = {"init", "retry"}
TAKES_NO_VALUE = {"dashboard", "run", "check", "health", "status", "reload", "man", "monitoring"}

REQUIRED_ARGUMENTS = {
    "test": ("hr",),
    "explain": ("0",),
    "replay": ("--since", "2026-11-21"),
    "enable": ("hr",),
    "disable": ("hr",),
    "poll": ("acme",),
    "sweep": ("acme",),
    "release": ("acme", "changes"),
    "forget": ("David Ball",),
    "schema": ("config",),
    "completion": ("bash",),
    "backup": ("copy.db",),
    "restore": ("copy.db",),
    "monitoring": ("here",),
    "retry": ("evt_x",),
}


def is_error_sentence(said: CommandOutput) -> bool:
    lines = said.err.splitlines()
    return (
        said.code in {1, 2, 78}
        and "Traceback" not in said.err
        and any(line.startswith("Error: ") and len(line) > len("Error: ") + 10 for line in lines)
        and not [character for character in said.err if not character.isprintable() and character != "\n"]
    )


def test_every_command_is_in_the_tables() -> None:
    assert set(COMMAND_LINES) | TAKES_NO_VALUE == set(COMMANDS)


@pytest.mark.parametrize("name", COMMAND_LINES)
async def test_nonsense_value_causes_no_traceback(home: "Home", monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(home.folder)
    await home.remember("David Ball")
    for words in COMMAND_LINES[name]:
        for nonsense in NONSENSE:
            arguments = [word if word != "{}" else nonsense for word in words.split()]
            said = await home.call(name, *arguments)
            assert said.code == 0 or is_error_sentence(said), (arguments, said)
            assert len(said.err) < 12_000
    assert not Path("never").exists()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("extra", ["--no-such-option", "--jsn", "one-too-many", "\udcff"])
async def test_command_rejects_unknown_options_and_extra_arguments(home: "Home", name: str, extra: str) -> None:
    if name in TAKES_EXTRA_ARGUMENTS and not extra.startswith("-"):
        return
    said = await home.call(name, *REQUIRED_ARGUMENTS.get(name, ()), extra)
    assert said.code == 2
    assert is_error_sentence(said)
    assert said.out == ""


async def test_program_with_a_running_daemon_rejects_non_utf8_arguments(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    program = (sys.executable, "-m", "notifier", "--config", str(home.config))
    async with home.daemon():
        for arguments in (("explain", b"\xff"), ("retry", b"\xff"), ("replay", "--since", b"\xff")):
            done = await asyncio.to_thread(_run, *program, *arguments)
            assert is_error_sentence(CommandOutput(done.returncode, done.stdout, done.stderr)), done


def _run(*command: str | bytes) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("name", READS_CONFIGURATION)
@pytest.mark.parametrize("place", ["", ".", "missing.toml", "/dev/null/config.toml", "binary", "\udcff", "n" * 300])
async def test_command_reports_an_unusable_configuration_and_exits_with_78(home: "Home", name: str, place: str) -> None:
    (home.folder / "binary").write_bytes(bytes(range(256)))
    path = str(home.folder / place) if place else ""
    for arguments in (
        ("--config", path, name, *REQUIRED_ARGUMENTS.get(name, ())),
        (name, *REQUIRED_ARGUMENTS.get(name, ()), "--config", path),
    ):
        said = call(*arguments)
        assert said.code == 78
        assert is_error_sentence(said)


@pytest.mark.parametrize("name", ["check", "run", "status"])
@pytest.mark.parametrize("place", ["missing", "config.toml", "\udcff"])
async def test_command_reports_an_unusable_secrets_dir_and_exits_with_78(home: "Home", name: str, place: str) -> None:
    said = await home.call("--secrets-dir", str(home.folder / place), name)
    assert said.code == 78
    assert is_error_sentence(said)
