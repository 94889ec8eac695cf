"""`notifier demo`."""

import asyncio
import sys
from typing import Final

import click

from notifier import logs
from notifier.cli.failures import told
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import LISTEN, Address
from notifier.config import ConfigError
from notifier.demo import run_demo
from notifier.ledger.errors import LedgerError
from notifier.web.server import ListenError

_STAY: Final = 30.0


@click.command(epilog=examples("notifier demo", "notifier demo --events 100 --listen 127.0.0.1:8787"))
@click.option(
    "--events", type=click.IntRange(min=1), default=10, show_default=True, help="How many completions to tell of."
)
@click.option("--listen", type=LISTEN, metavar="ADDR", help="Where the dashboard listens; by default on a free port.")
@takes_given
def demo(given: Given, events: int, listen: Address | None) -> None:
    """Show the whole pipeline with nothing to set up.

    A simulated account, the real daemon with its dashboard, a receiver for webhooks and one for Slack messages, all in
    this process; its state is in a temporary folder. It ends by itself; on a terminal the dashboard stays for half a
    minute.
    """
    logs.set_up(given.log_level(otherwise="error"), "text")
    with told(ConfigError, LedgerError, ListenError):
        stay = _STAY if sys.stdout.isatty() else 0.0
        asyncio.run(run_demo(events, None if listen is None else str(listen), sys.stdout, stay=stay))
