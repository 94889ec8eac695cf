"""Runs the daemon for as long as signals let it."""

import asyncio
from typing import Any

from notifier.config import Settings
from notifier.daemon.configuration import Configuration
from notifier.daemon.daemon import Daemon
from notifier.daemon.signals import reload_on_signal, stop_on_signal


async def serve(settings: Settings, configuration: Configuration) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP lets it read its configuration again.

    Raises what `Daemon.start` raises, and LedgerError when the state file is found to be damaged: the next start sets
    it aside and saves what can be read of it.
    """
    with stop_on_signal() as stop, reload_on_signal() as reload:
        daemon = Daemon(settings, configuration=configuration)
        await daemon.start()
        reloading = asyncio.create_task(_reload_when_asked(daemon, reload), name="reload")
        damage = asyncio.create_task(daemon.damage(), name="damage")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([stopped, damage], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(reloading, stopped)
            await daemon.stop()
            await _cancelled(damage)
    if not damage.cancelled():
        raise damage.result()


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _reload_when_asked(daemon: Daemon, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        await daemon.reload()
