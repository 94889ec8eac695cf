"""Runs a poll, a sweep or a release in this process, for commands when no daemon is running."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from notifier.cli.errors import CommandError, as_command_error
from notifier.cli.progress import ShowSweep
from notifier.config import Settings
from notifier.daemon.api.status import sweep_status
from notifier.daemon.offline import exclusive_watcher
from notifier.daemon.sources import held_figures
from notifier.store.errors import StoreError
from notifier.watch.detection.holds import Direction
from notifier.watch.rounds import RoundResult
from notifier.watch.source_health import SourceState
from notifier.watch.watcher import Watcher

if TYPE_CHECKING:
    from notifier.events import Event

_REFRESH_SECONDS: Final = 0.2


def poll_offline(settings: Settings, source: str) -> int:
    """Poll a source, and return the number of new events.

    The poll includes the count check and, if the count differs, the search for the difference. Raises CommandError.
    """
    new_events: list[Event] = []

    async def poll() -> int:
        async with exclusive_watcher(settings, source, new_events.extend) as watcher:
            await _poll_or_fail(watcher)
            return len(new_events)

    with as_command_error(StoreError):
        return asyncio.run(poll())


def sweep_offline(settings: Settings, source: str, show_progress: ShowSweep) -> Mapping[str, Any]:
    """Run a sweep of a source, and return its last progress. Raises CommandError.

    The progress has the keys of the object `sweep` in `/v1/status`. Here, `changes` includes the new events of the poll
    before the sweep.
    """
    new_events: list[Event] = []

    async def sweep() -> Mapping[str, Any]:
        async with exclusive_watcher(settings, source, new_events.extend) as watcher:
            # A source's first sweep begins with a head poll anyway. Before a later sweep, this finds new records fast.
            await _poll_or_fail(watcher)
            await watcher.begin_sweep()
            return {**await _wait_for_sweep(watcher, show_progress), "changes": len(new_events)}

    with as_command_error(StoreError):
        return asyncio.run(sweep())


def release_offline(
    settings: Settings, source: str, direction: Direction, *, silently: bool, show_progress: ShowSweep
) -> int:
    """Report held changes or, with `silently`, accept them without events.

    Returns the number of released records. Held removals and changes require a sweep, whose progress is shown. Raises
    CommandError.
    """

    async def release() -> int:
        async with exclusive_watcher(settings, source, lambda _events: None) as watcher:
            if direction is not Direction.ARRIVALS and held_figures(watcher.memory)[direction]:
                # If the API has undone the changes, this poll ends the hold.
                await _poll_or_fail(watcher)
            released = await watcher.release(direction, silently=silently)
            if watcher.is_sweeping:
                await _wait_for_sweep(watcher, show_progress)
            return released

    with as_command_error(StoreError):
        return asyncio.run(release())


async def _wait_for_sweep(watcher: Watcher, show_progress: ShowSweep) -> Mapping[str, Any]:
    """Show a sweep's progress until the sweep ends, and return the last progress.

    Raises CommandError if the sweep was interrupted.
    """
    while True:
        running = watcher.is_sweeping
        progress: Mapping[str, Any] = sweep_status(await watcher.latest_sweep(), running=running) or {}
        show_progress(progress)
        if not running:
            break
        await asyncio.sleep(_REFRESH_SECONDS)
    if progress["finished_at"] is None:
        raise _source_error(watcher, "the sweep was interrupted")
    return progress


async def _poll_or_fail(watcher: Watcher) -> None:
    done = await watcher.poll(by_hand=True)
    if done.result is not RoundResult.DONE:
        raise CommandError(f"{watcher.name}: {done.message}")
    await watcher.wait_for_search()
    if watcher.state is not SourceState.OK:
        raise _source_error(watcher, "the search for changes below the newest page was interrupted")


def _source_error(watcher: Watcher, default_message: str) -> CommandError:
    error = watcher.memory.error
    return CommandError(f"{watcher.name}: {error.message if error else default_message}")
