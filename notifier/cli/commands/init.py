"""`notifier init`."""

import sys
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any, Final

import click

from notifier.cli import checking
from notifier.cli.beginning.answers import Answers, credential_files, written
from notifier.cli.beginning.files import UnwrittenError, write_private
from notifier.cli.beginning.interview import BASE_URL, Interview
from notifier.cli.configuration import read_settings
from notifier.cli.failures import Failure, told
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import say
from notifier.cli.text import harmless
from notifier.config.places import FILE_NAME, working_directory
from notifier.config.problems import ConfigError

_FROM_FILE: Final = "@"
_LONGEST_SECRET: Final = 65_536


@click.command(
    epilog=examples(
        "notifier init",
        "notifier init /etc/notifier/config.toml --force",
        "notifier init --token @token.txt --slack-url @slack.txt --no-http",
        "notifier init --no-secrets --http-url https://hr.example.com/hooks/training --no-slack",
    )
)
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option("--source", metavar="NAME", help="What the account is called here.  [default: kpa]")
@click.option("--token", metavar="TOKEN", help="The account's API token.")
@click.option("--api", metavar="VERSION", help="The API's version: v2, or v1.  [default: v2]")
@click.option("--base-url", metavar="URL", help=f"Where the API is.  [default: {BASE_URL}]")
@click.option("--slack-url", metavar="URL", help="The incoming webhook of a Slack channel.")
@click.option("--slack-name", metavar="NAME", help="What the channel is called here.  [default: slack]")
@click.option("--no-slack", is_flag=True, help="Tell no Slack channel.")
@click.option("--http-url", metavar="URL", help="An HTTP endpoint; a secret that signs its requests is made for it.")
@click.option("--http-name", metavar="NAME", help="What the endpoint is called here.  [default: webhook]")
@click.option("--no-http", is_flag=True, help="Tell no HTTP endpoint.")
@click.option("--state-file", metavar="PATH", help="Where the state file is to be; else in its usual place.")
@click.option(
    "--secrets/--no-secrets",
    "with_secrets",
    default=None,
    help="Write the token and other secrets into the file, or leave them out, for credential files.",
)
@click.option("--check/--no-check", "online", default=None, help="Try the token when the file is written, or do not.")
@takes_given
def init(given: Given, /, path: Path | None, **options: Any) -> None:
    """Ask a few questions and write a commented configuration.

    Into PATH, or where --config says, or ./config.toml, readable by its owner only; a file that is there is not written
    over. What an option answers is not asked, so that it also works where nobody can be asked. Of the token and
    the destinations' URLs `@FILE` reads a file and `@-` standard input: other users can see what stands in a command.
    With --secrets-dir the secrets go into credential files there.
    """
    file = _place(path or given.config or Path(FILE_NAME), force=options["force"])
    interview = Interview({name: _read(name, value) for name, value in options.items()}, given.secrets_dir)
    try:
        answers = interview.answers()
    except click.Abort:
        click.echo("nothing was written", err=True)
        raise
    _write(given, file, interview, answers, force=options["force"])
    if interview.wants_check():
        say("")
        sights = checking.seen(given, read_settings(replace(given, config=file)))
        checking.show(sights)
        checking.refuse(sights)


def _place(path: Path, *, force: bool) -> Path:
    """Return where the file is to be, absolutely. Raises Failure where it cannot be."""
    try:
        file = (working_directory() / path).absolute()
        if not (file.is_symlink() or file.exists()):
            if not file.parent.is_dir():
                raise Failure(f"there is no folder {file.parent}: make it first")
        elif not force:
            raise Failure(f"{file} is there already: name another PATH, or give --force to write over it")
        elif file.is_dir():
            raise Failure(f"{file} is a folder: name a file in it")
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from error
    except ConfigError as error:
        raise Failure(str(error)) from error
    return file


def _read(name: str, value: Any) -> Any:
    """Read what an option names a file for. Raises Failure."""
    if name not in ("token", "slack_url", "http_url") or not (value or "").startswith(_FROM_FILE):
        return value
    file = value.removeprefix(_FROM_FILE)
    try:
        if file == "-":
            return sys.stdin.readline(_LONGEST_SECRET).strip()
        return Path(file).read_text(encoding="utf-8")[:_LONGEST_SECRET].strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Failure(f"{file} cannot be read: {why}") from error


def _write(given: Given, file: Path, interview: Interview, answers: Answers, *, force: bool) -> None:
    """Write the files and say what has come of it. Raises Failure."""
    credentials = {} if interview.with_secrets else credential_files(answers)
    with told(UnwrittenError):
        if given.secrets_dir is not None:
            for name, value in credentials.items():
                write_private(given.secrets_dir / name, f"{value}\n", over=True)
        write_private(file, written(answers, with_secrets=interview.with_secrets), over=force)
    say(f"Written: {harmless(str(file))}")
    if given.secrets_dir is not None:
        say(f"Secrets: {', '.join(credentials)} in {harmless(str(given.secrets_dir))}")
    elif credentials:
        say(
            "The secrets are left out. Put each into a file of this name, and name their folder with --secrets-dir, or",
            "let systemd provide it (LoadCredential=):",
            *(f"  {name}" for name in credentials),
        )
    if answers.http is not None:
        say("", f"The secret that signs what goes to {answers.http.name}; whoever receives it needs it, and it is not")
        say("shown again:", f"  {answers.http.secret}")
    _say_what_next(given, file, answers)


def _say_what_next(given: Given, file: Path, answers: Answers) -> None:
    named = f"--config {quote(str(file))}"
    if given.secrets_dir is not None:
        named += f" --secrets-dir {quote(str(given.secrets_dir))}"
    destination = answers.slack or answers.http
    steps = [("check --online", "tries the token"), ("run", "watches, and tells")]
    if destination is not None:
        steps.insert(1, (f"test {destination.name}", "sends a sample"))
    width = max(len(command) for command, _ in steps)
    say("", "Next:", *(f"  notifier {command:<{width}} {harmless(named)}   {what}" for command, what in steps))
    say("", "As a service of systemd: `sudo notifier install-service` makes /etc/notifier and says what belongs there.")
