"""Runs the daemon until a signal stops it."""

import asyncio
import faulthandler
import logging
import os
from typing import Any, Final

from notifier.config import Settings
from notifier.daemon.configuration import SettingsSource
from notifier.daemon.daemon import Daemon
from notifier.daemon.descriptors import raise_limit
from notifier.daemon.signals import daemon_signals
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.daemon.systemd.watchdog import Watchdog, time_to_start
from notifier.store.errors import StoreError
from notifier.web.listening.sockets import ListenError, handed_over

_log = logging.getLogger(__name__)

STOP_SECONDS: Final = 1.0
"""Seconds in which a start that is interrupted may close the files and sockets that it has opened."""


class StoppedAtStart(Exception):  # noqa: N818 - no error
    """A signal stopped the daemon before it had started.

    Its threads may still use the state file. They can be killed at any moment, and waiting for them delays the end of
    the process.
    """


async def serve(settings: Settings, configuration: SettingsSource) -> None:
    """Run the daemon until SIGTERM or SIGINT; on SIGHUP, read the configuration again.

    Raises StoppedAtStart, whatever `Daemon.start` raises, and StoreError if the state file is found to be damaged. In
    that case the next start moves the file aside and rebuilds it.
    """
    manager = SystemdNotifier.from_environment(os.environ, os.getpid())
    if manager.watchdog is not None:
        # If the watchdog kills this process with SIGABRT, this writes a stack trace to the log.
        faulthandler.enable()
    raise_limit()
    with daemon_signals() as signals:
        daemon = Daemon(settings, settings_source=configuration, manager=manager, handed_over=handed_over(os.environ))
        stopped = asyncio.create_task(signals.stop.wait(), name="stop")
        await _start(daemon, manager, stopped)
        beside = [
            asyncio.create_task(_reload_when_asked(daemon, signals.reload), name="reload"),
            asyncio.create_task(Watchdog(daemon, manager).run(), name="supervision"),
        ]
        for task in beside:
            task.add_done_callback(_report_fault)
        end = asyncio.create_task(daemon.store_end(), name="end of the store")
        try:
            await asyncio.wait([stopped, end], return_when=asyncio.FIRST_COMPLETED)
        finally:
            manager.stopping()
            await _cancelled(stopped, *beside)
            await daemon.stop()
            await _cancelled(end)
    if not end.cancelled():
        raise end.result()


async def _start(daemon: Daemon, manager: SystemdNotifier, stopped: asyncio.Task[Any]) -> None:
    """Start the daemon. Raises StoppedAtStart if it is stopped before that, and whatever `Daemon.start` raises."""
    start = asyncio.create_task(daemon.start(), name="start")
    with time_to_start(manager):
        await asyncio.wait([start, stopped], return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        manager.stopping()
        start.cancel()
        await asyncio.wait([start], timeout=STOP_SECONDS)
        _log.info("stopped before it was started")
        raise StoppedAtStart
    try:
        start.result()
    except (StoreError, ListenError) as error:
        manager.status(str(error))
        raise


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _report_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        _log.critical("a task ended with an internal error", extra={"task": task.get_name()}, exc_info=fault)


async def _reload_when_asked(daemon: Daemon, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        try:
            await daemon.reload()
        except Exception:  # noqa: BLE001 - logged
            # The next SIGHUP must still cause a reload.
            _log.exception("a reload failed with an internal error")
