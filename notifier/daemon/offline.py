"""Opens the store for commands that run while no daemon runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.daemon.file_upkeep import SNAPSHOT_NOT_WRITTEN
from notifier.daemon.watcher_factory import build_watcher
from notifier.delivery.subscriptions import subscriptions_of
from notifier.events import Event
from notifier.http.exchange import new_session
from notifier.store.file.store import FileStore
from notifier.store.opening import make_store
from notifier.store.recovery import essentials, snapshot
from notifier.store.store import Store
from notifier.watch.watcher import Watcher

_log = logging.getLogger(__name__)


@asynccontextmanager
async def exclusive_store(settings: Settings) -> AsyncIterator[Store]:
    """Open the store exclusively, yield it, and close it.

    A state file's essentials are written before closing. Raises StoreError; its reason is IN_USE if a daemon is
    running.
    """
    clock = SystemClock()
    store = make_store(settings.store, clock.now_ms)
    await store.open()
    try:
        yield store
        try:
            await write_essentials(store)
        except OSError as error:
            _log.error(SNAPSHOT_NOT_WRITTEN, extra={"detail": error.strerror})
    finally:
        await store.close()


async def write_essentials(store: Store) -> None:
    """Write the essentials beside a state file; do nothing for a database. Raises StoreError, OSError."""
    if isinstance(store, FileStore):
        content = await store.run(snapshot.take_snapshot, SystemClock().now_ms())
        await asyncio.to_thread(essentials.write, store.path, content)


@asynccontextmanager
async def exclusive_watcher(
    settings: Settings, source: str, on_events: Callable[[Sequence[Event]], None]
) -> AsyncIterator[Watcher]:
    """Open the store exclusively, and yield the watcher of one source.

    The watcher stores new events, and then calls `on_events` with the events. The next daemon delivers the events.
    Raises StoreError; its reason is IN_USE if a daemon is running.
    """
    async with exclusive_store(settings) as store, new_session() as session:
        filters = subscriptions_of(settings.destinations)
        watcher = build_watcher(settings, source, session, store, SystemClock(), lambda: filters, on_events)
        await watcher.start()
        try:
            yield watcher
        finally:
            await watcher.stop()
