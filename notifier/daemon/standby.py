"""Waits while another process holds the store in the database, and takes over when that process is gone."""

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from notifier.config import Settings
from notifier.daemon.configuration import RunningConfiguration
from notifier.daemon.standby_reload import StandbyReloader
from notifier.daemon.standby_server import StandbyServer, StandbyState
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.daemon.systemd.watchdog import extend_start_timeout
from notifier.store.errors import StoreError, StoreReason

if TYPE_CHECKING:
    from notifier.store.postgres.holders import Holder
    from notifier.store.postgres.store import PostgresStore

_log = logging.getLogger(__name__)

TRY_EVERY_SECONDS: Final = 0.5
"""Seconds between two attempts to take the lock of the store from the database."""

SILENT_AFTER_SECONDS: Final = 10.0
"""If the database does not answer for this many seconds, it is reported as unusable. The request is not aborted."""

_TEMPORARY_REASONS: Final = frozenset(
    {StoreReason.UNREACHABLE, StoreReason.READ_ONLY, StoreReason.BUSY, StoreReason.LOCKED}
)
"""Database errors that may be temporary. If one of these occurs when the process starts, the process stands by."""

_PERMANENT_REASONS: Final = frozenset({StoreReason.NEWER_VERSION, StoreReason.NOT_A_STATE_FILE})
"""Database errors that waiting cannot resolve. With one of these, the process ends."""


async def wait_for_store(
    store: "PostgresStore",
    configuration: RunningConfiguration,
    reloader: StandbyReloader,
    manager: SystemdNotifier,
    stopped: asyncio.Task[Any],
    systemd_sockets: Sequence[socket.socket],
) -> bool:
    """Wait until this process holds the store, and return True. If `stopped` ends first, return False.

    Meanwhile, an HTTP server reports the state of this process. Raises ListenError. Raises StoreError if the first
    attempt fails for a reason that is not in _TEMPORARY_REASONS, or if a later attempt fails for a reason that is in
    _PERMANENT_REASONS.
    """
    _create_socket_folder(configuration.settings)
    state = StandbyState()
    with extend_start_timeout(manager):
        if await _try_to_take_store(store, state):
            return True
    if state.error is not None and state.error.reason not in _TEMPORARY_REASONS:
        raise state.error
    server = StandbyServer(state, configuration, reloader, systemd_sockets)
    await server.start()
    try:
        manager.report_ready()
        while not stopped.done():
            manager.report_status(state.sentence())
            manager.reset_watchdog()
            await asyncio.wait([stopped], timeout=TRY_EVERY_SECONDS)
            await server.apply_settings()
            # An update of the tables, after a takeover from an older version, can take minutes.
            with extend_start_timeout(manager, "standing by: waiting for an answer of the database"):
                if not stopped.done() and await _try_to_take_store(store, state):
                    return True
            if state.error is not None and state.error.reason in _PERMANENT_REASONS:
                raise state.error
    finally:
        await server.stop()
    return False


def _create_socket_folder(settings: Settings) -> None:
    """Create the folder of the Unix socket for commands. Raises StoreError."""
    folder = settings.store.path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            StoreReason.NOT_WRITABLE,
            f"the folder {folder} for the commands' socket cannot be created ({error.strerror}): name a folder in"
            " $STATE_DIRECTORY that this user may write to",
        ) from error


async def _try_to_take_store(store: "PostgresStore", state: StandbyState) -> bool:
    """Try to become the holder of the store, and return whether that succeeded. If not, set the reason in `state`."""
    before = state.sentence()
    state.asked_at = time.monotonic()
    attempt = asyncio.create_task(store.try_open(), name="take the store")
    await asyncio.wait([attempt], timeout=SILENT_AFTER_SECONDS)
    if not attempt.done() and state.error is None:
        # Without an answer on an open connection, the attempt may never end: a stalled server, a pooler without one.
        state.error = StoreError(
            StoreReason.UNREACHABLE,
            f"{store.location}: there has been no answer for {SILENT_AFTER_SECONDS:g} seconds: check the server",
        )
        _log.warning(state.error.message, extra={"reason": state.error.reason})
        before = state.sentence()
    try:
        holder: Holder | None = await attempt
    except StoreError as error:
        state.error = error
        if state.sentence() != before:
            _log.warning(error.message, extra={"reason": error.reason})
        return False
    finally:
        state.asked_at = None
    state.error = None
    if holder is None:
        return True
    state.holder, state.since_ms = holder.name, holder.since_ms
    if state.sentence() != before:
        _log.info("standing by", extra={"holder": holder.name, "database": str(store.location)})
    return False
