"""The command `notifier init`, which writes a first configuration."""

import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import click
from msgspec.structs import replace

from notifier.cli import online_check
from notifier.cli.context import read_settings
from notifier.cli.errors import CommandError, as_command_error
from notifier.cli.formatting import terminal_safe
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.init.credential_files import FileWriteError, write_private
from notifier.cli.init.draft import ConfigDraft, configuration_text, credential_files
from notifier.cli.init.interview import BASE_URL, Interview
from notifier.cli.output import echo
from notifier.cli.secret_option import read_secret
from notifier.config.errors import ConfigError
from notifier.config.paths import FILE_NAME, working_directory


@click.command(
    epilog=examples(
        "notifier init",
        "notifier init /etc/notifier/config.toml --force",
        "notifier init --token @token.txt --slack-url @slack.txt --no-http",
        "notifier init --no-secrets --http-url https://hr.example.com/hooks/training --no-slack",
    )
)
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--source", metavar="NAME", help="A name for the account.  [default: kpa]")
@click.option("--token", metavar="TOKEN", help="The account's API token.")
@click.option("--api", metavar="VERSION", help="The API's version: v2, or v1.  [default: v2]")
@click.option("--base-url", metavar="URL", help=f"The API's base URL.  [default: {BASE_URL}]")
@click.option("--slack-url", metavar="URL", help="The incoming webhook of a Slack channel.")
@click.option("--slack-name", metavar="NAME", help="A name for the channel.  [default: slack]")
@click.option("--no-slack", is_flag=True, help="Use no Slack channel.")
@click.option("--http-url", metavar="URL", help="An HTTP endpoint; a secret for its signature is generated.")
@click.option("--http-name", metavar="NAME", help="A name for the endpoint.  [default: webhook]")
@click.option("--no-http", is_flag=True, help="Use no HTTP endpoint.")
@click.option("--state-file", metavar="PATH", help="The path of the state file, if not the usual one.")
@click.option(
    "--secrets/--no-secrets",
    "with_secrets",
    default=None,
    help="Write the token and other secrets into the file, or leave them out for credential files.",
)
@click.option("--check/--no-check", "online", default=None, help="Try the token after the file is written, or do not.")
@pass_global_options
def init(global_options: GlobalOptions, /, path: Path | None, **options: Any) -> None:
    """Ask a few questions and write a commented configuration.

    Writes to PATH, or where --config says, or to ./config.toml, readable by its owner only; an existing file is not
    overwritten. Questions that an option answers are not asked, so it also works without a terminal. For the token and
    the destinations' URLs, `@FILE` reads a file and `@-` reads standard input, because other users of the machine can
    see command lines. With --secrets-dir, secrets are written into credential files there.
    """
    file = _target_file(path or global_options.config or Path(FILE_NAME), force=options["force"])
    interview = Interview(
        {name: _read_option(name, value) for name, value in options.items()}, global_options.secrets_dir
    )
    try:
        answers = interview.collect_answers()
    except click.Abort:
        click.echo("nothing was written", err=True)
        raise
    _write_files(global_options, file, interview, answers, force=options["force"])
    if interview.wants_online_check():
        echo("")
        probes = online_check.probe_sources(global_options, read_settings(replace(global_options, config=file)))
        online_check.show_probes(probes)
        online_check.raise_on_problems(probes)


def _target_file(path: Path, *, force: bool) -> Path:
    """Return the absolute path of the file to write. Raises CommandError if the file cannot be written."""
    try:
        file = (working_directory() / path).absolute()
        if not (file.is_symlink() or file.exists()):
            if not file.parent.is_dir():
                raise CommandError(f"there is no folder {file.parent}: create it first")
        elif file.exists() and not (file.is_file() or file.is_dir()):
            # Root could replace even /dev/null.
            raise CommandError(f"{file} is not a regular file: name another PATH")
        elif not force:
            raise CommandError(f"{file} already exists: name another PATH, or use --force to overwrite it")
        elif file.is_dir():
            raise CommandError(f"{file} is a folder: name a file in it")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
    except ConfigError as error:
        raise CommandError(str(error)) from error
    return file


def _read_option(name: str, value: Any) -> Any:
    """Return an option's value or, if the option takes `@FILE`, the content of that file. Raises CommandError."""
    return read_secret(value) if name in ("token", "slack_url", "http_url") else value


def _write_files(
    global_options: GlobalOptions, file: Path, interview: Interview, answers: ConfigDraft, *, force: bool
) -> None:
    """Write the configuration and credential files, and print their paths. Raises CommandError."""
    credentials = {} if interview.has_secrets_in_file else credential_files(answers)
    with as_command_error(FileWriteError):
        if global_options.secrets_dir is not None:
            _require_absent([] if force else [global_options.secrets_dir / name for name in credentials])
            for name, value in credentials.items():
                write_private(global_options.secrets_dir / name, f"{value}\n", overwrite=force)
        write_private(file, configuration_text(answers, with_secrets=interview.has_secrets_in_file), overwrite=force)
    echo(f"Written: {terminal_safe(str(file))}")
    if global_options.secrets_dir is not None:
        echo(f"Secrets: {', '.join(credentials)} in {terminal_safe(str(global_options.secrets_dir))}")
    elif credentials:
        echo(
            "The secrets are not in the file. Write each into a file with this name, and name their folder with"
            " --secrets-dir, or",
            "let systemd provide them (LoadCredential=):",
            *(f"  {name}" for name in credentials),
        )
    if answers.http is not None:
        echo("", f"The secret that signs requests to {answers.http.name}; the receiver needs it, and it will not be")
        echo("shown again:", f"  {answers.http.secret}")
    _print_next_steps(global_options, file, answers)


def _require_absent(files: Sequence[Path]) -> None:
    """Raise CommandError if one of these files exists: the file may hold the secret of another account."""
    if existing := [file for file in files if os.path.lexists(file)]:
        raise CommandError(
            f"{existing[0]} already exists: name another --secrets-dir or --source, or use --force to overwrite it"
        )


def _print_next_steps(global_options: GlobalOptions, file: Path, answers: ConfigDraft) -> None:
    options_text = f"--config {quote(str(file))}"
    if global_options.secrets_dir is not None:
        options_text += f" --secrets-dir {quote(str(global_options.secrets_dir))}"
    destination = answers.slack or answers.http
    steps = [("check --online", "tries the token"), ("run", "runs the daemon")]
    if destination is not None:
        steps.insert(1, (f"test {destination.name}", "sends a sample event"))
    width = max(len(command) for command, _ in steps)
    echo(
        "",
        "Next:",
        *(f"  notifier {command:<{width}} {terminal_safe(options_text)}   {what}" for command, what in steps),
    )
    echo(
        "",
        "No one is told yet if the notifier itself has a problem: set `destination` or `heartbeat_url` under [alerts].",
        "To run it as a systemd service, follow `notifier help service`.",
    )
