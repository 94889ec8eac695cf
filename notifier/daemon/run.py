"""Runs the daemon in this process until a signal stops it."""

import asyncio
import faulthandler
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.daemon.configuration import ReloadHooks, RunningConfiguration, with_store_location_of
from notifier.daemon.daemon import Daemon
from notifier.daemon.descriptors import raise_descriptor_limit
from notifier.daemon.signals import daemon_signals
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.daemon.systemd.watchdog import Watchdog, extend_start_timeout
from notifier.store.errors import StoreError, StoreReason
from notifier.store.opening import make_postgres_store, uses_postgres
from notifier.watch.background_tasks import cancel_and_wait
from notifier.web.listening.sockets import ListenError, take_systemd_sockets

if TYPE_CHECKING:
    from notifier.daemon.standby_reload import StandbyReloader
    from notifier.store.postgres.store import PostgresStore

_log = logging.getLogger(__name__)

_STANDBY_REASONS: Final = frozenset({StoreReason.HELD_ELSEWHERE, StoreReason.UNREACHABLE})
"""Errors of a database after which this process stands by again instead of ending."""

STOP_SECONDS: Final = 1.0
"""Seconds that an interrupted start may take to close its files and sockets."""

LONGEST_STOP_SECONDS: Final = 9.0
"""The time limit of a stop in seconds. A stop takes longer only if a disk or a database does not answer.

systemd allows 10 seconds.
"""


class StoppedDuringStart(Exception):  # noqa: N818 - no error
    """A signal stopped the daemon before its start was complete.

    The process should end without waiting for its threads. A thread may still be using the state file, but killing that
    thread does not damage the file.
    """


async def serve(settings: Settings, reload_hooks: ReloadHooks, on_stop_signal: Callable[[], None]) -> None:
    """Run the daemon until SIGTERM or SIGINT; on SIGHUP, reload the configuration.

    `on_stop_signal` is called when a signal requests the stop. `serve` should return within LONGEST_STOP_SECONDS after
    this call; otherwise the caller should end the process. If the store is in a database, this process stands by while
    another process holds the store.

    Raises StoppedDuringStart, and the errors of `Daemon.start`. Raises StoreError if the state file becomes unusable
    while the daemon runs; the next start rebuilds a damaged file.
    """
    manager = SystemdNotifier.from_environment(os.environ, os.getpid())
    if manager.watchdog_seconds is not None:
        # Writes a stack trace to the log if the watchdog kills this process with SIGABRT.
        faulthandler.enable()
    raise_descriptor_limit()
    with daemon_signals() as signals:
        stopped = asyncio.create_task(signals.stop.wait(), name="stop")
        stopped.add_done_callback(lambda task: None if task.cancelled() else on_stop_signal())
        sockets = take_systemd_sockets(os.environ)
        try:
            if not uses_postgres(settings.store):
                daemon = Daemon(settings, reload_hooks=reload_hooks, manager=manager, systemd_sockets=sockets)
                await _start(daemon, manager, stopped)
                store_error = await _run_until_stopped(daemon, manager, stopped, signals.reload)
                if store_error is not None:
                    raise store_error
            else:
                await _serve_from_database(settings, reload_hooks, manager, stopped, signals.reload, sockets)
        finally:
            await cancel_and_wait([stopped])


async def _serve_from_database(
    settings: Settings,
    reload_hooks: ReloadHooks,
    manager: SystemdNotifier,
    stopped: asyncio.Task[Any],
    reload_requested: asyncio.Event,
    sockets: Sequence[socket.socket],
) -> None:
    """Repeat until stopped: wait for the store in the database, then run the daemon until it loses the store.

    Raises StoreError if the daemon loses the store for a reason outside _STANDBY_REASONS.
    """
    configuration = RunningConfiguration(settings, reload_hooks)
    while not stopped.done():
        store = make_postgres_store(settings.store, SystemClock().now_ms)
        try:
            if not await _stand_by(store, configuration, manager, stopped, reload_requested, sockets):
                return
            daemon = Daemon(
                configuration.settings,
                reload_hooks=reload_hooks,
                manager=manager,
                systemd_sockets=[listener.dup() for listener in sockets],
                store=store,
                configuration_problem=configuration.reload_problem,
            )
            try:
                await _start(daemon, manager, stopped)
            except StoreError as error:
                if error.reason not in _STANDBY_REASONS:
                    raise
                _log.warning(error.message, extra={"reason": error.reason})
                continue
            store_error = await _run_until_stopped(daemon, manager, stopped, reload_requested)
        finally:
            await store.close()
        if store_error is None:
            return
        if store_error.reason not in _STANDBY_REASONS:
            raise store_error
        _log.warning(store_error.message, extra={"reason": store_error.reason})
        configuration.settings = with_store_location_of(settings, daemon.settings)
        configuration.reload_problem = daemon.configuration_problem
    manager.report_stopping()


async def _stand_by(
    store: "PostgresStore",
    configuration: RunningConfiguration,
    manager: SystemdNotifier,
    stopped: asyncio.Task[Any],
    reload_requested: asyncio.Event,
    sockets: Sequence[socket.socket],
) -> bool:
    """Stand by, and reload on SIGHUP. Return True when this process holds the store; False if it is stopped."""
    # Imported here, because only a daemon whose store is in a database stands by.
    from notifier.daemon.standby import wait_for_store  # noqa: PLC0415
    from notifier.daemon.standby_reload import StandbyReloader  # noqa: PLC0415

    reloader = StandbyReloader(configuration, manager)
    reload_task = asyncio.create_task(_reload_on_request(reloader, reload_requested), name="reload")
    reload_task.add_done_callback(_log_internal_error)
    try:
        return await wait_for_store(store, configuration, reloader, manager, stopped, sockets)
    finally:
        await cancel_and_wait([reload_task])


async def _run_until_stopped(
    daemon: Daemon, manager: SystemdNotifier, stopped: asyncio.Task[Any], reload_requested: asyncio.Event
) -> StoreError | None:
    """Wait until the process is stopped or the daemon loses its store, then stop the daemon.

    Return the error of a lost store, otherwise None.
    """
    background = [
        asyncio.create_task(_reload_on_request(daemon, reload_requested), name="reload"),
        asyncio.create_task(Watchdog(daemon.operations, manager).run(), name="supervision"),
    ]
    for task in background:
        task.add_done_callback(_log_internal_error)
    store_loss = asyncio.create_task(daemon.wait_for_store_loss(), name="end of the store")
    try:
        await asyncio.wait([stopped, store_loss], return_when=asyncio.FIRST_COMPLETED)
    finally:
        will_stand_by = (
            store_loss.done() and not store_loss.cancelled() and store_loss.result().reason in _STANDBY_REASONS
        )
        if stopped.done() or not will_stand_by:
            manager.report_stopping()
        await cancel_and_wait(background)
        await daemon.stop()
        await cancel_and_wait([store_loss])
    if store_loss.cancelled() or (will_stand_by and stopped.done()):
        return None
    return store_loss.result()


async def _start(daemon: Daemon, manager: SystemdNotifier, stopped: asyncio.Task[Any]) -> None:
    """Start the daemon. Raises the errors of `Daemon.start`, and StoppedDuringStart if a signal interrupts it."""
    start = asyncio.create_task(daemon.start(), name="start")
    with extend_start_timeout(manager):
        await asyncio.wait([start, stopped], return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        manager.report_stopping()
        start.cancel()
        await asyncio.wait([start], timeout=STOP_SECONDS)
        _log.info("stopped before it was started")
        raise StoppedDuringStart
    try:
        start.result()
    except (StoreError, ListenError) as error:
        manager.report_status(str(error))
        raise


def _log_internal_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        _log.critical("a task ended with an internal error", extra={"task": task.get_name()}, exc_info=fault)


async def _reload_on_request(reloader: "Daemon | StandbyReloader", requested: asyncio.Event) -> None:
    while True:
        await requested.wait()
        requested.clear()
        try:
            await reloader.reload()
        except asyncio.CancelledError:
            # The process now begins or ends standing by, and runs this function again with another reloader.
            requested.set()
            raise
        except Exception:  # noqa: BLE001 - logged
            # The next SIGHUP must still cause a reload.
            _log.exception("a reload failed with an internal error")
