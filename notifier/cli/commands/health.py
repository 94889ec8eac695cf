"""The command `notifier health`, which tells health checks whether the daemon works."""

import os
import time
from pathlib import Path
from typing import Final

import click

from notifier.cli import daemon_client
from notifier.cli.context import locate_daemon
from notifier.cli.errors import CommandError
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo

LONGEST_START_SECONDS: Final = 4 * 3600.0
"""The longest time for a daemon to open its state file. The systemd service allows the same time."""


@click.command(epilog=examples("notifier health"))
@pass_global_options
def health(global_options: GlobalOptions) -> None:
    """For health checks: exit with 0 if the daemon works.

    The exit code is 1 if only a restart helps: no daemon is running, the daemon does not answer, or a part of it makes
    no progress. The exit code is 0 while the daemon is starting. It is also 0 if the daemon cannot poll a source or
    reach a destination; `notifier status --exit-code` reports such failures.
    """
    state_file, config_error = locate_daemon(global_options)
    answer = daemon_client.request(state_file, "GET", "/healthz")
    if answer is not None and answer.done:
        echo("The daemon works.")
    elif answer is not None:
        raise daemon_client.hang_error(answer)
    elif config_error is not None:
        raise config_error
    else:
        _require_starting(state_file)
        echo("The daemon is starting.")


def _require_starting(state_file: Path) -> None:
    """Raise CommandError if the daemon cannot be starting.

    A daemon may be starting if a process uses the state file and is at most LONGEST_START_SECONDS old.
    """
    pid = daemon_client.lock_holder_pid(state_file)
    if pid is None:
        raise CommandError(f"no daemon uses the state file {state_file}: start it with `notifier run`")
    if _process_age_seconds(pid) > LONGEST_START_SECONDS:
        raise CommandError(f"process {pid} uses the state file {state_file} and does not answer: restart it")


def _process_age_seconds(pid: int) -> float:
    """Return the seconds since a process started, or 0 if the process has ended."""
    try:
        # The command's name may contain spaces and parentheses; the 22nd field is the start in ticks since the boot.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
