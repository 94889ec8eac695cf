"""Runs the daemon until a signal stops it."""

import asyncio
import faulthandler
import logging
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.daemon.configuration import RunningConfiguration, SettingsSource, with_store_of
from notifier.daemon.daemon import Daemon
from notifier.daemon.descriptors import raise_limit
from notifier.daemon.signals import daemon_signals
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.daemon.systemd.watchdog import Watchdog, time_to_start
from notifier.store.errors import StoreError, StoreReason
from notifier.store.opening import make_postgres_store, uses_postgres
from notifier.web.listening.sockets import ListenError, take_systemd_sockets

if TYPE_CHECKING:
    from notifier.daemon.standby_reload import StandbyReloader
    from notifier.store.postgres.store import PostgresStore

_log = logging.getLogger(__name__)

_STAND_BY_AFTER: Final = frozenset({StoreReason.HELD_ELSEWHERE, StoreReason.UNREACHABLE})
"""The errors of a database after which this process does not end, but stands by again."""

STOP_SECONDS: Final = 1.0
"""Seconds that an interrupted start gets for closing the files and sockets that it has opened."""


class StoppedAtStart(Exception):  # noqa: N818 - no error
    """A signal stopped the daemon before its start was complete.

    The process should end without waiting for its threads. Some may still use the state file; to kill them does not
    damage it.
    """


async def serve(settings: Settings, configuration: SettingsSource) -> None:
    """Run the daemon until SIGTERM or SIGINT; on SIGHUP, read the configuration again.

    If the store is in a database that another process holds, this process stands by until it can take over. When it
    loses the database, it stands by again.

    Raises StoppedAtStart, and the errors of `Daemon.start`. Raises StoreError also if the state file is found to be
    damaged; the next start then sets the file aside and rebuilds it.
    """
    manager = SystemdNotifier.from_environment(os.environ, os.getpid())
    if manager.watchdog is not None:
        # If the watchdog kills this process with SIGABRT, this writes a stack trace to the log.
        faulthandler.enable()
    raise_limit()
    with daemon_signals() as signals:
        stopped = asyncio.create_task(signals.stop.wait(), name="stop")
        sockets = take_systemd_sockets(os.environ)
        try:
            if not uses_postgres(settings.store):
                daemon = Daemon(settings, settings_source=configuration, manager=manager, handed_over=sockets)
                await _start(daemon, manager, stopped)
                end = await _work(daemon, manager, stopped, signals.reload)
                if end is not None:
                    raise end
            else:
                await _take_turns(settings, configuration, manager, stopped, signals.reload, sockets)
        finally:
            await _cancelled(stopped)


async def _take_turns(
    settings: Settings,
    source: SettingsSource,
    manager: SystemdNotifier,
    stopped: asyncio.Task[Any],
    reload_asked: asyncio.Event,
    sockets: Sequence[socket.socket],
) -> None:
    """Stand by, run the daemon while this process holds the store, and repeat until stopped. Raises StoreError."""
    configuration = RunningConfiguration(settings, source)
    while not stopped.done():
        store = make_postgres_store(settings.store, SystemClock().now_ms)
        try:
            if not await _wait_for_turn(store, configuration, manager, stopped, reload_asked, sockets):
                return
            daemon = Daemon(
                configuration.settings,
                settings_source=source,
                manager=manager,
                handed_over=[listener.dup() for listener in sockets],
                store=store,
                configuration_problem=configuration.problem,
            )
            try:
                await _start(daemon, manager, stopped)
            except StoreError as error:
                if error.reason not in _STAND_BY_AFTER:
                    raise
                _log.warning(error.message, extra={"reason": error.reason})
                continue
            end = await _work(daemon, manager, stopped, reload_asked)
        finally:
            await store.close()
        if end is None:
            return
        if end.reason not in _STAND_BY_AFTER:
            raise end
        _log.warning(end.message, extra={"reason": end.reason})
        configuration.settings = with_store_of(settings, daemon.settings)
        configuration.problem = daemon.configuration_problem
    manager.stopping()


async def _wait_for_turn(
    store: "PostgresStore",
    configuration: RunningConfiguration,
    manager: SystemdNotifier,
    stopped: asyncio.Task[Any],
    reload_asked: asyncio.Event,
    sockets: Sequence[socket.socket],
) -> bool:
    """Stand by, and reload on SIGHUP. Return True when this process holds the store, False if it is stopped before."""
    # Imported here, because only a daemon whose store is in a database stands by.
    from notifier.daemon.standby import wait_for_turn  # noqa: PLC0415
    from notifier.daemon.standby_reload import StandbyReloader  # noqa: PLC0415

    reloader = StandbyReloader(configuration, manager)
    beside = asyncio.create_task(_reload_when_asked(reloader, reload_asked), name="reload")
    beside.add_done_callback(_report_fault)
    try:
        return await wait_for_turn(store, configuration, reloader, manager, stopped, sockets)
    finally:
        await _cancelled(beside)


async def _work(
    daemon: Daemon, manager: SystemdNotifier, stopped: asyncio.Task[Any], reload_asked: asyncio.Event
) -> StoreError | None:
    """Let a started daemon work until it is stopped or loses its store; return the error of the store, or None."""
    beside = [
        asyncio.create_task(_reload_when_asked(daemon, reload_asked), name="reload"),
        asyncio.create_task(Watchdog(daemon.operations, manager).run(), name="supervision"),
    ]
    for task in beside:
        task.add_done_callback(_report_fault)
    end = asyncio.create_task(daemon.store_end(), name="end of the store")
    try:
        await asyncio.wait([stopped, end], return_when=asyncio.FIRST_COMPLETED)
    finally:
        is_turn_over = end.done() and not end.cancelled() and end.result().reason in _STAND_BY_AFTER
        if stopped.done() or not is_turn_over:
            manager.stopping()
        await _cancelled(*beside)
        await daemon.stop()
        await _cancelled(end)
    if end.cancelled() or (is_turn_over and stopped.done()):
        return None
    return end.result()


async def _start(daemon: Daemon, manager: SystemdNotifier, stopped: asyncio.Task[Any]) -> None:
    """Start the daemon. Raises the errors of the start, and StoppedAtStart if the process is stopped during it."""
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


async def _reload_when_asked(reloader: "Daemon | StandbyReloader", asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        try:
            await reloader.reload()
        except asyncio.CancelledError:
            # This reloader is replaced when standing by begins or ends; the next one repeats the reload.
            asked.set()
            raise
        except Exception:  # noqa: BLE001 - logged
            # The next SIGHUP must still cause a reload.
            _log.exception("a reload failed with an internal error")
