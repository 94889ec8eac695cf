"""The program `notifier`: which commands there are, each imported only when it is used."""

import io
import os
import sys
from importlib import import_module
from types import MappingProxyType
from typing import Final

import click
from click.shell_completion import CompletionItem

from notifier import __version__
from notifier.cli.failures import ExitCode
from notifier.cli.given import common_options
from notifier.cli.help import examples

COMMANDS: Final = MappingProxyType(
    {
        "run": "Watch, and tell: the daemon.",
        "demo": "Show the whole pipeline with nothing to set up.",
        "sandbox": "Serve the simulated API only.",
        "init": "Ask a few questions and write a commented configuration.",
        "check": "Validate the configuration; online, try every token.",
        "test": "Send one sample event to DESTINATION and show the answer.",
        "status": "Show how sources and destinations are doing.",
        "events": "Show what was detected.",
        "deliveries": "Show what was sent, tried, given up.",
        "explain": "Show a record's life: how it was found, what was sent where.",
        "retry": "Put deliveries back into the queue.",
        "replay": "Send past events again, under their old ids.",
        "enable": "Resume DESTINATION.",
        "disable": "Park DESTINATION; what goes there is kept.",
        "poll": "Look for new completions of SOURCE now.",
        "sweep": "Read the whole list of SOURCE now.",
        "backup": "Copy the state file to FILE, while the daemon runs or not.",
        "restore": "Put a backup into the state file's place.",
        "reload": "Let the running daemon read its configuration again.",
        "install-service": "Install a hardened systemd service that runs this program.",
        "monitoring": "Write alert rules for Prometheus and a dashboard for Grafana.",
        "schema": "Print the JSON Schema of the configuration or of an event.",
        "completion": "Print what lets a shell complete commands, options and names.",
        "man": "Show the manual page.",
    }
)
"""Each command's help in a line, by its name; a file of `notifier.cli.commands` (`_` for `-`) holds the command."""


COMPLETE: Final = "_NOTIFIER_COMPLETE"
"""The variable by which a shell asks for completions."""


class Program(click.Group):
    """A group whose commands stand in a table until one is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        """Import a command; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"notifier.cli.commands.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was asked for; the nearest one is suggested when there is none."""
        if args[0] not in COMMANDS:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's interface
        """Write the list of commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command, without importing one, or of an option."""
        commands = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("notifier demo", "notifier check --online", "notifier run"),
)
@common_options
@click.version_option(__version__, prog_name="notifier", message="%(prog)s %(version)s")
def program() -> None:
    """Tell Slack and HTTP endpoints who completed which training in KPA Flex."""


def main() -> int:
    """Run what this process's arguments ask for and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end the program.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        exit_code = program.main(prog_name="notifier", complete_var=COMPLETE, standalone_mode=False)
    except SystemExit as end:
        # So click ends where a shell has asked for completions, and otherwise where the reader has seen enough.
        return ExitCode.FAILED if end.code and COMPLETE in os.environ else ExitCode.DONE
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as failure:
        failure.show()
        return failure.exit_code
    except Exception as fault:  # noqa: BLE001 - shown, without what may be secret in it
        # What most runs never need.
        from notifier.cli.faults import own_up  # noqa: PLC0415

        own_up(fault)
        return ExitCode.FAILED
    return exit_code or ExitCode.DONE
