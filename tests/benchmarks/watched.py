"""Watches a source in virtual time, for the benchmark of busy accounts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from notifier.alerts import source_rules
from notifier.clock import Clock, SystemClock
from notifier.config import Settings
from notifier.daemon.watcher_factory import build_watcher
from notifier.events import Event
from notifier.http.exchange import new_session
from notifier.store.file.store import FileStore
from notifier.watch.watcher import Watcher

SOURCE = "acme"
HEAD_PAGE = 100
POLL_SECONDS = 60.0

_SCAN_CHECK_SECONDS = 1.0


class Watched:
    """One source that is polled every minute, as by the daemon."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    async def poll_for_ever(self) -> None:
        """Run a round at every interval; if a round takes longer, the rounds due meanwhile are left out."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self.round()
            due += POLL_SECONDS * (1 + max(0.0, loop.time() - due) // POLL_SECONDS)
            await asyncio.sleep(due - loop.time())

    async def round(self) -> None:
        """Run one round."""
        done = await self._watcher.poll()
        if done.is_done:
            await self._watcher.run_followups()

    async def learn(self) -> None:
        """Run the first sweep."""
        await self.round()
        await self._watcher.begin_sweep()
        while self._watcher.is_sweeping:
            await asyncio.sleep(_SCAN_CHECK_SECONDS)
        assert self._watcher.memory.swept_at_ms is not None, self._watcher.memory.error

    def conditions(self) -> list[str]:
        """Return the names of the active conditions."""
        return [
            it.name
            for it in source_rules.conditions(self._watcher.name, self._watcher.report(), (), SystemClock().now_ms())
        ]


@asynccontextmanager
async def watching(
    url: str,
    state_file: Path,
    clock: Clock,
    requests_per_minute: int,
    on_events: Callable[[Sequence[Event]], None],
) -> AsyncIterator[Watched]:
    """Yield a watcher of the account at `url`; it does nothing until a round is requested."""
    settings = Settings.model_validate(
        {
            "store": {"path": str(state_file)},
            "sources": {
                SOURCE: {
                    "base_url": url,
                    "token": "sandbox",
                    "page_size": HEAD_PAGE,
                    "poll_interval": f"{POLL_SECONDS:.0f}s",
                    "requests_per_minute": requests_per_minute,
                    "names": False,
                }
            },
        }
    )
    store = FileStore(state_file)
    await store.open()
    async with new_session() as session:
        watcher = build_watcher(settings, SOURCE, session, store, clock, tuple, on_events)
        await watcher.start()
        try:
            yield Watched(watcher)
        finally:
            await watcher.stop()
    await store.close()
