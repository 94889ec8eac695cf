"""Runs a round, a sweep or a release in this process, for commands that run without a daemon."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from notifier.cli.errors import CommandError, as_command_error
from notifier.cli.progress import Show
from notifier.config import Settings
from notifier.daemon.api.status import sweep_status
from notifier.daemon.offline import lone_watcher
from notifier.daemon.sources import held_figures
from notifier.store.errors import StoreError
from notifier.watch.detection.holds import Direction
from notifier.watch.source_health import SourceState
from notifier.watch.watcher import RoundResult, Watcher

if TYPE_CHECKING:
    from notifier.events import Event

_LOOK: Final = 0.2


def poll_alone(settings: Settings, source: str) -> int:
    """Poll a source, also for older records that only the API's count reveals; return the number of new events.

    Raises CommandError.
    """
    found: list[Event] = []

    async def look() -> int:
        async with lone_watcher(settings, source, found.extend) as watcher:
            await _poll(watcher)
            return len(found)

    with as_command_error(StoreError):
        return asyncio.run(look())


def sweep_alone(settings: Settings, source: str, show: Show) -> Mapping[str, Any]:
    """Sweep the whole list, show the progress, and return the sweep's result. Raises CommandError."""
    found: list[Event] = []

    async def read() -> Mapping[str, Any]:
        async with lone_watcher(settings, source, found.extend) as watcher:
            # A first sweep begins with a head poll anyway. Before a later one, this poll finds new records quickly.
            await _poll(watcher)
            await watcher.begin_sweep()
            return {**await _end_of_sweep(watcher, show), "changes": len(found)}

    with as_command_error(StoreError):
        return asyncio.run(read())


def release_alone(settings: Settings, source: str, what: Direction, *, silently: bool, show: Show) -> int:
    """Report held-back changes, or accept them silently; return the number of their records.

    Removals and changes require a sweep, whose progress is shown. Raises CommandError.
    """

    async def release() -> int:
        async with lone_watcher(settings, source, lambda _events: None) as watcher:
            if what is not Direction.ARRIVALS and held_figures(watcher.memory)[what]:
                # If the records have come back by themselves, this poll ends the hold.
                await _poll(watcher)
            released = await watcher.release(what, silently=silently)
            if watcher.is_sweeping:
                await _end_of_sweep(watcher, show)
            return released

    with as_command_error(StoreError):
        return asyncio.run(release())


async def _end_of_sweep(watcher: Watcher, show: Show) -> Mapping[str, Any]:
    """Show a sweep's progress to its end, and return the result. Raises CommandError if the sweep was interrupted."""
    while True:
        running = watcher.is_sweeping
        progress: Mapping[str, Any] = sweep_status(await watcher.latest_sweep(), running=running) or {}
        show(progress)
        if not running:
            break
        await asyncio.sleep(_LOOK)
    if progress["finished_at"] is None:
        raise _failure(watcher, "the sweep was interrupted")
    return progress


async def _poll(watcher: Watcher) -> None:
    done = await watcher.poll(by_hand=True)
    if done.result is not RoundResult.DONE:
        raise CommandError(f"{watcher.name}: {done.message}")
    await watcher.wait_for_search()
    if watcher.state is not SourceState.OK:
        raise _failure(watcher, "the search for changes below the newest page was interrupted")


def _failure(watcher: Watcher, otherwise: str) -> CommandError:
    error = watcher.memory.error
    return CommandError(f"{watcher.name}: {error.message if error else otherwise}")
