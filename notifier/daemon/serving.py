"""Runs the daemon for as long as signals let it."""

import asyncio
import faulthandler
import logging
import os
from typing import Any

from notifier.config import Settings
from notifier.daemon.configuration import Configuration
from notifier.daemon.daemon import Daemon
from notifier.daemon.service_manager import ServiceManager
from notifier.daemon.signals import reload_on_signal, stop_on_signal
from notifier.daemon.supervision import Supervision, time_to_start
from notifier.ledger.errors import LedgerError
from notifier.web.server import ListenError

_log = logging.getLogger(__name__)


async def serve(settings: Settings, configuration: Configuration) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP lets it read its configuration again.

    Raises what `Daemon.start` raises, and LedgerError when the state file is found to be damaged: the next start sets
    it aside and saves what can be read of it.
    """
    manager = ServiceManager.from_environment(os.environ, os.getpid())
    if manager.watchdog is not None:
        # When the watchdog ends this process, with SIGABRT, the log shows where it stood.
        faulthandler.enable()
    with stop_on_signal() as stop, reload_on_signal() as reload:
        daemon = Daemon(settings, configuration=configuration, manager=manager)
        try:
            with time_to_start(manager):
                await daemon.start()
        except (LedgerError, ListenError) as error:
            manager.status(str(error))
            raise
        beside = [
            asyncio.create_task(_reload_when_asked(daemon, reload), name="reload"),
            asyncio.create_task(Supervision(daemon, manager).run(), name="supervision"),
        ]
        for task in beside:
            task.add_done_callback(_report_fault)
        damage = asyncio.create_task(daemon.damage(), name="damage")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([stopped, damage], return_when=asyncio.FIRST_COMPLETED)
        finally:
            manager.stopping()
            await _cancelled(stopped, *beside)
            await daemon.stop()
            await _cancelled(damage)
    if not damage.cancelled():
        raise damage.result()


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _report_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        _log.critical("a task failed by a fault of the program", extra={"task": task.get_name()}, exc_info=fault)


async def _reload_when_asked(daemon: Daemon, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        await daemon.reload()
