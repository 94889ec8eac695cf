"""`notifier run`."""

import asyncio
import logging

import click

from notifier import logs
from notifier.cli.configuration import read_settings
from notifier.cli.failures import told
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.config import Settings
from notifier.daemon.daemon import serve
from notifier.daemon.signals import stop_on_signal
from notifier.ledger.errors import LedgerError
from notifier.web.server import ListenError

_log = logging.getLogger(__name__)


@click.command(epilog=examples("notifier run", "notifier run --config /etc/notifier/config.toml --verbose"))
@takes_given
def run(given: Given) -> None:
    """Watch, and tell: the daemon.

    Runs until SIGTERM or Ctrl-C, and then leaves within five seconds without losing anything.
    """
    settings = read_settings(given)
    logs.set_up(given.log_level(settings.log.level), settings.log.format)
    for warning in settings.warnings():
        _log.warning("%s", warning)
    with told(LedgerError, ListenError):
        asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    with stop_on_signal() as stop:
        await serve(settings, stop)
