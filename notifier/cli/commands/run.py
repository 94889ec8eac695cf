"""`notifier run`."""

import asyncio
import logging
import os
from functools import partial

import click

from notifier import logs
from notifier.cli.configuration import load_settings, read_settings
from notifier.cli.failures import told
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.config import Settings, handed_over
from notifier.daemon.configuration import Configuration
from notifier.daemon.serving import serve
from notifier.ledger.errors import LedgerError
from notifier.web.server import ListenError

_log = logging.getLogger(__name__)


@click.command(epilog=examples("notifier run", "notifier run --config /etc/notifier/config.toml --verbose"))
@takes_given
def run(given: Given) -> None:
    """Watch, and tell: the daemon.

    Runs until SIGTERM or Ctrl-C, and then leaves within five seconds without losing anything. SIGHUP and
    `notifier reload` make it read its configuration again.
    """
    settings = read_settings(given)
    configuration = Configuration(
        partial(load_settings, given), partial(_heed, given), None if given.secrets_dir else handed_over(os.environ)
    )
    _heed(given, settings)
    with told(LedgerError, ListenError):
        asyncio.run(serve(settings, configuration))


def _heed(given: Given, settings: Settings) -> None:
    """Log as the settings want it, and say what they probably do not mean."""
    logs.set_up(given.log_level(settings.log.level), settings.log.format)
    for warning in settings.warnings():
        _log.warning("%s", warning)
