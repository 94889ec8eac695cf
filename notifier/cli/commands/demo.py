"""The command `notifier demo`, which shows the whole pipeline with a simulated account."""

import asyncio
import sys
from typing import Final

import click

from notifier import log
from notifier.cli.errors import as_command_error
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.parameter_types import LISTEN, Address
from notifier.config import ConfigError
from notifier.demo import run_demo
from notifier.store.errors import StoreError
from notifier.web.listening.sockets import ListenError

_STAY: Final = 30.0


@click.command(epilog=examples("notifier demo", "notifier demo --events 100 --listen 127.0.0.1:8787"))
@click.option(
    "--events",
    type=click.IntRange(min=1),
    metavar="N",
    default=10,
    show_default=True,
    help="How many completions to report.",
)
@click.option("--listen", type=LISTEN, metavar="ADDR", help="Where the dashboard listens; by default on a free port.")
@pass_global_options
def demo(global_options: GlobalOptions, events: int, listen: Address | None) -> None:
    """Show the whole pipeline; needs no set-up.

    Runs a simulated account, the real daemon with its dashboard, and receivers for webhooks and Slack messages in one
    process, with the state in a temporary folder. The demonstration ends by itself; on a terminal, it first keeps the
    dashboard available for half a minute.
    """
    log.setup(global_options.log_level(default="error"), "text")
    with as_command_error(ConfigError, StoreError, ListenError):
        stay = _STAY if sys.stdout.isatty() else 0.0
        asyncio.run(run_demo(events, None if listen is None else str(listen), sys.stdout, stay_seconds=stay))
