"""A round or a sweep by the command itself, when no daemon runs."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from notifier.cli.failures import Failure, told
from notifier.config import Settings
from notifier.daemon.once import lone_watcher
from notifier.daemon.status import sweep_status
from notifier.ledger.errors import LedgerError
from notifier.watch.health import SourceState
from notifier.watch.watcher import RoundResult, Watcher

if TYPE_CHECKING:
    from notifier.completions import Event

_LOOK: Final = 0.2


def poll_alone(settings: Settings, source: str) -> int:
    """Look for new completions, those that the count betrays too, and return how many events came of it.

    Raises Failure.
    """
    found: list[Event] = []

    async def look() -> int:
        async with lone_watcher(settings, source, found.extend) as watcher:
            await _poll(watcher)
            return len(found)

    with told(LedgerError):
        return asyncio.run(look())


def sweep_alone(settings: Settings, source: str, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Read the whole list, showing how far it has come, and return what came of it. Raises Failure."""
    found: list[Event] = []

    async def read() -> dict[str, Any]:
        async with lone_watcher(settings, source, found.extend) as watcher:
            # A first sweep begins with a head poll anyway; a later one is not to find what a poll finds at once.
            await _poll(watcher)
            await watcher.begin_sweep()
            while True:
                running = watcher.is_sweeping
                progress = sweep_status(await watcher.latest_sweep(), running=running) or {}
                show(progress)
                if not running:
                    break
                await asyncio.sleep(_LOOK)
            if progress["finished_at"] is None:
                raise _failure(watcher, "the sweep was cut off")
            return {**progress, "changes": len(found)}

    with told(LedgerError):
        return asyncio.run(read())


async def _poll(watcher: Watcher) -> None:
    done = await watcher.poll(by_hand=True)
    if done.result is not RoundResult.DONE:
        raise Failure(f"{watcher.name}: {done.message}")
    await watcher.searched()
    if watcher.state is not SourceState.OK:
        raise _failure(watcher, "the search for changes out of sight was cut off")


def _failure(watcher: Watcher, otherwise: str) -> Failure:
    error = watcher.memory.error
    return Failure(f"{watcher.name}: {error.message if error else otherwise}")
