"""The click group `notifier`. The module of a command is imported only when the command is used."""

import io
import os
import sys
from importlib import import_module
from types import MappingProxyType
from typing import Final

import click
from click.shell_completion import CompletionItem

from notifier import __version__, process
from notifier.cli.errors import ExitCode
from notifier.cli.global_options import add_global_options
from notifier.cli.help_text import examples

COMMANDS: Final = MappingProxyType(
    {
        "run": "Run the daemon: watch the sources and deliver events.",
        "demo": "Show the whole pipeline; needs no set-up.",
        "sandbox": "Serve the simulated API, and nothing else.",
        "init": "Ask a few questions and write a commented configuration.",
        "check": "Validate the configuration; --online tries each token.",
        "test": "Send one sample event to DESTINATION and show the answer.",
        "status": "Show the state of sources and destinations.",
        "health": "For health checks: exit with 0 if the daemon works.",
        "dashboard": "Print a one-time link that signs in to the dashboard.",
        "events": "Show detected events.",
        "listen": "Follow the events of the running daemon, and forward them.",
        "receive": "Run a local receiver that prints what a destination sends.",
        "deliveries": "Show deliveries: what was sent, retried or given up.",
        "explain": "Show a record's history and what was sent where.",
        "retry": "Put deliveries back into the queue.",
        "replay": "Send past events again, under their old ids.",
        "enable": "Send to DESTINATION again.",
        "disable": "Stop sending to DESTINATION; its events are kept.",
        "poll": "Check SOURCE for new completions now.",
        "sweep": "Read the whole list of SOURCE now.",
        "release": "Report what SOURCE holds back, or accept it silently.",
        "forget": "Erase a person's data from the notifier's state file.",
        "backup": "Copy the state file to FILE.",
        "restore": "Replace the state file with a backup.",
        "reload": "Make the running daemon read its configuration again.",
        "install-service": "Install a hardened systemd service that runs this program.",
        "monitoring": "Write alert rules for Prometheus and a dashboard for Grafana.",
        "schema": "Print the JSON Schema of the configuration or of an event.",
        "completion": "Print a completion script for your shell.",
        "help": "Show a page of the documentation, or the list of topics.",
        "man": "Show the manual page.",
    }
)
"""One line of help for each command, by name. Each command has a module in `notifier.cli.commands`."""


COMPLETION_VARIABLE: Final = "_NOTIFIER_COMPLETE"
"""The environment variable that a shell sets to request completions for a command line."""


class LazyGroup(click.Group):
    """A click group that imports a command only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        """Import and return the command with this name, or return None if no such command exists."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"notifier.cli.commands.{name}"), name)
        process.resume_garbage_collection()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args[0]` names. If there is none, raise NoSuchCommand with suggestions."""
        if args[0] not in COMMANDS:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's interface
        """Write the list of commands into the help text, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin with `incomplete`, without importing a command."""
        commands = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("notifier demo", "notifier check --online", "notifier run"),
)
@add_global_options
@click.version_option(__version__, prog_name="notifier", message="%(prog)s %(version)s")
def program() -> None:
    """Tell Slack and HTTP endpoints who completed which training in KPA Flex."""


def main() -> int:
    """Run the command line of this process, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # Without this, a character that the terminal's encoding lacks would end the program.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        exit_code = program.main(prog_name="notifier", complete_var=COMPLETION_VARIABLE, standalone_mode=False)
    except SystemExit as end:
        # click raises SystemExit after it has printed shell completions, and when the reader has closed the pipe.
        return ExitCode.FAILED if end.code and COMPLETION_VARIABLE in os.environ else ExitCode.DONE
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as failure:
        failure.show()
        return failure.exit_code
    except Exception as fault:  # noqa: BLE001 - shown, without secrets
        # Imported only here, because most runs never need it.
        from notifier.cli.errors import report_internal_error  # noqa: PLC0415

        report_internal_error(fault)
        return ExitCode.FAILED
    finally:
        _discard_unwritable_output()
    return exit_code or ExitCode.DONE


def _discard_unwritable_output() -> None:
    """If standard output cannot be written, discard what is left in its buffer.

    The failure has already been reported. Without this function, Python would try to write again at exit, print a
    second error, and exit with 120.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
