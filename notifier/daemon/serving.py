"""Runs the daemon for as long as signals let it."""

import asyncio

from notifier.config import Settings
from notifier.daemon.configuration import Configuration
from notifier.daemon.daemon import Daemon
from notifier.daemon.signals import reload_on_signal, stop_on_signal


async def serve(settings: Settings, configuration: Configuration) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP lets it read its configuration again.

    Raises what `Daemon.start` raises.
    """
    with stop_on_signal() as stop, reload_on_signal() as reload:
        daemon = Daemon(settings, configuration=configuration)
        await daemon.start()
        reloading = asyncio.create_task(_reload_when_asked(daemon, reload), name="reload")
        try:
            await stop.wait()
        finally:
            reloading.cancel()
            await asyncio.wait([reloading])
            await daemon.stop()


async def _reload_when_asked(daemon: Daemon, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        await daemon.reload()
