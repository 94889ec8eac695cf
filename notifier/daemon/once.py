"""The state file without a daemon: what the command line does when none is running."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from notifier.clock import SystemClock
from notifier.completions import Event
from notifier.config import Settings
from notifier.daemon.wiring import make_watcher
from notifier.deliver.filters import subscriptions
from notifier.ledger.ledger import Ledger
from notifier.transport import new_session
from notifier.watch.watcher import Watcher


@asynccontextmanager
async def lone_ledger(settings: Settings) -> AsyncIterator[Ledger]:
    """Open the state file, alone. Raises LedgerError, IN_USE when a daemon runs."""
    ledger = Ledger(settings.store.path)
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.close()


@asynccontextmanager
async def lone_watcher(
    settings: Settings, source: str, on_events: Callable[[Sequence[Event]], None]
) -> AsyncIterator[Watcher]:
    """Open the state file, alone, and watch one of its sources by hand; what is found waits there to be delivered.

    `on_events` hears of it. Raises LedgerError, IN_USE when a daemon runs.
    """
    async with lone_ledger(settings) as ledger, new_session() as session:
        wanted = subscriptions(settings.destinations)
        watcher = make_watcher(settings, source, session, ledger, SystemClock(), lambda: wanted, on_events)
        await watcher.start()
        try:
            yield watcher
        finally:
            await watcher.stop()
