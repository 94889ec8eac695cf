"""`notifier init`, with a user at a terminal and in a script."""

import asyncio
import os
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook

from notifier.config import load
from tests.support.command_line import CommandOutput, call
from tests.support.terminal import Terminal, at_terminal

if TYPE_CHECKING:
    from tests.support.command_line import Api

TOKEN = "tokenOfTheAccount"
SLACK = "https://hooks.slack.com/services/T0/B0/secretPart"
HTTP = "https://hr.example.com/hooks/training"


def run_init(*arguments: str) -> CommandOutput:
    """Run `notifier init` without a terminal, so that it cannot ask questions."""
    return call("init", *arguments)


def file_mode(file: Path) -> int:
    return file.stat().st_mode & 0o777


def parse_file(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text())


# A user at a terminal


async def test_init_on_a_terminal_repeats_questions_and_tries_the_token(tmp_path: Path, api: "Api") -> None:
    person = await asyncio.to_thread(answer_all_questions, tmp_path, api.url)
    for hidden in ("two words", "sandbox", "secretPart"):
        assert hidden not in person.screen
    assert "Traceback" not in person.screen
    file = tmp_path / "config.toml"
    settings = load(file, environ={})
    assert file_mode(file) == 0o600
    assert settings.sources["acme"].token.get_secret_value() == "sandbox"
    assert list(settings.destinations) == ["safety", "webhook"]
    assert settings.store.path == tmp_path / "state" / "notifier.db"
    assert not settings.store.path.exists()
    secret = parse_file(file)["destinations"]["webhook"]["secret"]
    assert person.screen.count(secret) == 1
    assert Webhook(secret).sign("msg_1", datetime.now(UTC), "{}").startswith("v1,")


def answer_all_questions(folder: Path, api_url: str) -> Terminal:
    with at_terminal("init", cwd=folder) as person:
        person.answer("A name for the account [kpa]:", "Acme Inc")
        person.see("That cannot be used: ")
        person.answer("A name for the account [kpa]:", "acme")
        person.answer("readable only by you? [Y/n]:", "")
        person.answer("Its API token (not shown):", "")
        person.answer("That cannot be used: must not be empty\nIts API token (not shown):", "two words")
        person.see("That cannot be used: must be one word of visible ASCII characters")
        person.answer("Its API token (not shown):", "sandbox")
        person.answer("The API's address [https://api.kpaehs.com/v1]:", "api.kpaehs.com")
        person.see("That cannot be used: ")
        person.answer("The API's address [https://api.kpaehs.com/v1]:", api_url)
        person.answer("Slack channel (Enter: none, not shown):", "hooks.slack.com/x")
        person.see("That cannot be used: ")
        person.answer("Slack channel (Enter: none, not shown):", SLACK)
        person.answer("A name for it [slack]:", "safety")
        person.answer("HTTP endpoint (Enter: none):", HTTP)
        person.answer("A name for it [webhook]:", "safety")
        person.see("That cannot be used: the Slack channel already has this name")
        person.answer("A name for it [webhook]:", "")
        person.answer("(Enter: its usual place):", "state/notifier.db")
        person.see(f"Written: {folder / 'config.toml'}")
        person.see("whsec_")
        person.see("notifier check --online")
        person.answer("Try the token now? Nothing is stored or sent [Y/n]:", "y")
        person.see("acme")
        assert person.leave() == 0
    return person


def test_init_ended_by_ctrl_c_or_ctrl_d_writes_nothing(tmp_path: Path) -> None:
    for key in ("\x03", "\x04"):
        with at_terminal("init", cwd=tmp_path) as person:
            person.answer("A name for the account", "acme")
            person.answer("readable only by you?", "y")
            person.see("Its API token (not shown):")
            person.type(key)
            assert person.leave() == 130
        assert person.screen.rstrip().endswith("nothing was written")
        assert list(tmp_path.iterdir()) == []


def test_init_asks_no_question_that_an_option_answers(tmp_path: Path) -> None:
    options = (
        "--source",
        "acme",
        "--token",
        TOKEN,
        "--no-slack",
        "--http-url",
        HTTP,
        "--http-name",
        "hr",
        "--no-check",
    )
    with at_terminal("init", *options, cwd=tmp_path) as person:
        person.answer("readable only by you?", "n")
        person.answer("The API's address", "")
        person.answer("its usual place", "")
        assert person.leave() == 0
    assert "Slack" not in person.screen
    assert TOKEN not in (tmp_path / "config.toml").read_text()
    assert "NOTIFIER_SOURCES__ACME__TOKEN" in person.screen


# A script


def test_init_in_a_script_takes_every_answer_from_options(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    said = run_init(str(file), "--token", TOKEN, "--slack-url", SLACK, "--http-url", HTTP, "--api", "v1")
    assert said.code == 0
    assert said.err == ""
    assert said.lines[0] == f"Written: {file}"
    assert (TOKEN in said.out, SLACK in said.out) == (False, False)
    settings = load(file, environ={})
    assert settings.warnings() == ()
    assert (file_mode(file), settings.sources["kpa"].api, [*settings.destinations]) == (
        0o600,
        "v1",
        ["slack", "webhook"],
    )
    assert parse_file(file)["destinations"]["webhook"]["secret"] in said.out


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ((), "--token (or --no-secrets), --slack-url or --no-slack, --http-url or --no-http"),
        (("--token", TOKEN, "--no-slack"), "also give --http-url or --no-http"),
        (("--no-secrets", "--no-http"), "also give --slack-url or --no-slack"),
    ],
)
def test_init_without_a_terminal_names_missing_options(tmp_path: Path, given: tuple[str, ...], missing: str) -> None:
    said = run_init(str(tmp_path / "config.toml"), *given)
    assert said.code == 2
    assert "there is no terminal to ask questions on" in said.err
    assert missing in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--token", "a b"), "--token: must be one word"),
        (("--token", ""), "--token: must not be empty"),
        (("--token", TOKEN, "--source", "Acme"), "--source: "),
        (("--token", TOKEN, "--api", "v3"), "--api: must be"),
        (("--token", TOKEN, "--base-url", "ftp://x"), "--base-url: "),
        (("--token", TOKEN, "--slack-url", "http://hooks.slack.com/x"), "--slack-url: "),
        (("--token", TOKEN, "--http-url", "nowhere"), "--http-url: "),
        (("--token", TOKEN, "--http-url", HTTP, "--http-name", "h r"), "--http-name: "),
        (("--token", TOKEN, "--slack-url", SLACK, "--http-url", HTTP, "--http-name", "slack"), "already has this name"),
        (("--token", TOKEN, "--no-slack", "--slack-url", SLACK), "cannot be combined"),
    ],
)
def test_init_rejects_invalid_options_and_hides_a_slack_url(tmp_path: Path, given: tuple[str, ...], told: str) -> None:
    there = {option for option in given if option.startswith("--")}
    rest = [f"--no-{kind}" for kind in ("slack", "http") if not {f"--{kind}-url", f"--no-{kind}"} & there]
    said = run_init(str(tmp_path / "config.toml"), *given, *rest)
    assert said.code == 2
    assert told in said.err
    assert "hooks.slack.com/x" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_init_overwrites_an_existing_file_only_with_force(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("mine")
    file.chmod(0o644)
    options = ("--token", TOKEN, "--no-slack", "--no-http")
    said = run_init(str(file), *options)
    assert (said.code, file.read_text()) == (1, "mine")
    assert f"{file} already exists: name another PATH, or use --force to overwrite it" in said.err
    assert run_init(str(file), *options, "--force").code == 0
    assert (file_mode(file), [*load(file, environ={}).sources]) == (0o600, ["kpa"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_init_never_replaces_a_named_pipe(tmp_path: Path, options: tuple[str, ...]) -> None:
    pipe = tmp_path / "config.toml"
    os.mkfifo(pipe)
    said = run_init(str(pipe), "--token", TOKEN, "--no-slack", "--no-http", *options)
    assert (said.code, said.err) == (1, f"Error: {pipe} is not a regular file: name another PATH\n")
    assert pipe.is_fifo()


def test_init_keeps_a_user_file_named_config_toml_new(tmp_path: Path) -> None:
    file, draft = tmp_path / "config.toml", tmp_path / "config.toml.new"
    for path in (file, draft):
        path.write_text("mine")
    assert run_init(str(file), "--token", TOKEN, "--no-slack", "--no-http", "--force").code == 0
    assert draft.read_text() == "mine"


def test_init_treats_a_dangling_link_as_an_existing_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").symlink_to(tmp_path / "nowhere")
    assert run_init(str(tmp_path / "config.toml"), "--token", TOKEN, "--no-slack", "--no-http").code == 1
    assert not (tmp_path / "nowhere").exists()


def test_init_reports_a_deleted_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    said = run_init("--token", TOKEN, "--no-slack", "--no-http")
    assert said.code == 1
    assert "the working directory no longer exists" in said.err


@pytest.mark.parametrize(("place", "told"), [("missing/config.toml", "there is no folder"), (".", "already exists")])
def test_init_reports_a_path_that_it_cannot_write(tmp_path: Path, place: str, told: str) -> None:
    said = run_init(str(tmp_path / place), "--token", TOKEN, "--no-slack", "--no-http")
    assert said.code == 1
    assert told in said.err


def test_init_with_force_refuses_to_overwrite_a_folder(tmp_path: Path) -> None:
    said = run_init(str(tmp_path), "--force", "--token", TOKEN, "--no-slack", "--no-http")
    assert (said.code, said.err) == (1, f"Error: {tmp_path} is a folder: name a file in it\n")


def test_init_writes_to_the_path_given_with_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--token", TOKEN, "--no-slack", "--no-http")
    assert call("--config", "a.toml", "init", *options).code == 0
    assert call("init", *options, "--config", "b.toml").code == 0
    assert run_init(*options).code == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.toml", "b.toml", "config.toml"]


def test_init_reads_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "slack").write_text(f"{SLACK}\n")
    file = tmp_path / "config.toml"
    options = ("--token", f"@{tmp_path / 'token'}", "--slack-url", f"@{tmp_path / 'slack'}", "--no-http")
    assert run_init(str(file), *options).code == 0
    assert load(file, environ={}).sources["kpa"].token.get_secret_value() == TOKEN
    assert run_init(str(tmp_path / "other.toml"), "--token", "@missing", "--no-slack", "--no-http").code == 1


def test_init_no_secrets_leaves_secrets_out_and_names_their_variables(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    said = run_init(str(file), "--no-secrets", "--slack-url", SLACK, "--http-url", HTTP, "--http-name", "hr-system")
    assert said.code == 0
    names = [
        "NOTIFIER_SOURCES__KPA__TOKEN",
        "NOTIFIER_DESTINATIONS__SLACK__URL",
        "NOTIFIER_DESTINATIONS__HR_SYSTEM__SECRET",
    ]
    assert [line.strip() for line in said.lines if line.startswith("  NOTIFIER_")] == names
    text = file.read_text()
    assert (SLACK in text, HTTP in text) == (False, True)
    assert all(f"in the credential file or variable {name}" in text for name in names)


@pytest.mark.parametrize("url", ["https://u:pass@hr.example.com/", "https://hr.example.com/?key=pass"])
def test_init_no_secrets_leaves_out_a_url_that_contains_a_secret(tmp_path: Path, url: str) -> None:
    file = tmp_path / "config.toml"
    assert run_init(str(file), "--no-secrets", "--no-slack", "--http-url", url).code == 0
    assert url not in file.read_text()
    assert "NOTIFIER_DESTINATIONS__WEBHOOK__URL" in file.read_text()


def test_init_writes_secrets_into_private_credential_files(tmp_path: Path) -> None:
    file, folder = tmp_path / "config.toml", tmp_path / "secrets"
    said = run_init(str(file), "--token", TOKEN, "--slack-url", SLACK, "--no-http", "--secrets-dir", str(folder))
    assert said.code == 0
    assert (file_mode(folder), {file_mode(secret) for secret in folder.iterdir()}) == (0o700, {0o600})
    settings = load(file, environ={}, secrets_dir=folder)
    assert settings.sources["kpa"].token.get_secret_value() == TOKEN
    assert (TOKEN in file.read_text(), SLACK in file.read_text()) == (False, False)


def test_init_overwrites_credential_files_only_with_force(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    options = ("--slack-url", SLACK, "--no-http", "--secrets-dir", str(folder))
    assert run_init(str(first), "--token", TOKEN, *options).code == 0
    before = {file: file.read_bytes() for file in folder.iterdir()}
    said = run_init(str(second), "--token", "another-token", *options)
    assert said.code == 1
    assert "already exists: name another --secrets-dir or --source, or use --force" in said.err
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    assert not second.exists()
    assert run_init(str(second), "--token", "another-token", "--force", *options).code == 0
    assert load(second, environ={}, secrets_dir=folder).sources["kpa"].token.get_secret_value() == "another-token"


async def test_init_check_reports_a_refused_token_and_keeps_the_file(tmp_path: Path, api: "Api") -> None:
    file = tmp_path / "config.toml"
    options = ("--token", "wrong", "--base-url", api.url, "--no-slack", "--no-http", "--check")
    said = await asyncio.to_thread(run_init, str(file), *options)
    assert said.code == 1
    assert "Error: 1 problem found online:\n  kpa: " in said.err
    assert file.exists()
