"""The command `notifier run`, which runs the daemon."""

import asyncio
import logging
import os
import threading
from functools import partial
from typing import IO, Any

import click

from notifier import log
from notifier.cli.context import load_settings, read_settings
from notifier.cli.errors import CommandError, ExitCode
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.config import Settings, keys_from_systemd
from notifier.config.proxies import describe_proxies
from notifier.daemon.configuration import ReloadHooks
from notifier.daemon.other_daemons import warn_of_other_daemons
from notifier.daemon.run import LONGEST_STOP_SECONDS, STOP_SECONDS, StoppedDuringStart, serve
from notifier.store.errors import StoreError
from notifier.web.listening.sockets import ListenError

_log = logging.getLogger(__name__)


@click.command(epilog=examples("notifier run", "notifier run --config /etc/notifier/config.toml --verbose"))
@pass_global_options
def run(global_options: GlobalOptions) -> None:
    """Run the daemon: watch the sources and deliver events.

    It runs until SIGTERM or Ctrl-C, then exits within five seconds without losing anything. On SIGHUP or `notifier
    reload` it reads its configuration again.
    """
    settings = read_settings(global_options)
    configuration = ReloadHooks(
        partial(load_settings, global_options),
        partial(_set_up_log, global_options),
        None if global_options.secrets_dir else keys_from_systemd(os.environ),
    )
    _set_up_log(global_options, settings)
    warn_of_other_daemons(settings)
    # asyncio.Runner waits for all its threads, and a thread can hang in a file system that does not answer.
    exit_timer = threading.Timer(STOP_SECONDS, _end_process)
    stop_timer = threading.Timer(LONGEST_STOP_SECONDS, _end_hanging_process)
    exit_timer.daemon = stop_timer.daemon = True
    try:
        with asyncio.Runner() as runner:
            try:
                runner.run(serve(settings, configuration, stop_timer.start))
                exit_timer.start()
            except StoppedDuringStart:
                _end_process()
            except (StoreError, ListenError) as error:
                raise DaemonError(str(error)) from error
    finally:
        exit_timer.cancel()
        stop_timer.cancel()


def _end_process() -> None:
    """End the process at once, without Python's own clean-up. Call this only when nothing is left to do."""
    log.flush()
    os._exit(ExitCode.DONE)


def _end_hanging_process() -> None:
    _log.critical("the stop takes too long, because a disk or database does not answer: the process ends now")
    log.flush()
    os._exit(ExitCode.FAILED)


class DaemonError(CommandError):
    """The daemon cannot start, or cannot continue. The message is printed after the queued log lines."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message after the queued log lines."""
        super().show(file or log.final_stream())
        log.flush()


def _set_up_log(global_options: GlobalOptions, settings: Settings) -> None:
    """Set up logging as configured, and log warnings about settings that are probably mistakes."""
    log.setup(global_options.log_level(settings.log.level), settings.log.format, queued=True)
    for warning in settings.warnings():
        # With the key as a fact, many warnings about some settings do not suppress those about others.
        _log.warning("%s", warning, extra={"key": warning.key})
    for proxy in describe_proxies(settings):
        _log.info("a proxy is used", extra={"proxy": proxy})
