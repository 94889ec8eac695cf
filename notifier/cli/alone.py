"""A round or a sweep by the command itself, when no daemon runs."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from notifier.cli.failures import Failure, told
from notifier.config import Settings
from notifier.daemon.once import lone_watcher
from notifier.daemon.status import sweep_status
from notifier.ledger.errors import LedgerError
from notifier.watch.watcher import RoundResult, Watcher

_LOOK: Final = 0.2


def poll_alone(settings: Settings, source: str) -> int:
    """Look for new completions and return how many events came of it. Raises Failure."""

    async def look() -> int:
        async with lone_watcher(settings, source) as watcher:
            return await _poll(watcher)

    with told(LedgerError):
        return asyncio.run(look())


def sweep_alone(settings: Settings, source: str, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Read the whole list, showing how far it has come, and return what came of it. Raises Failure."""

    async def read() -> dict[str, Any]:
        async with lone_watcher(settings, source) as watcher:
            # A first sweep begins with a head poll anyway; by itself, what it finds can be counted.
            found = await _poll(watcher)
            await watcher.begin_sweep()
            while True:
                running = watcher.is_sweeping
                progress = sweep_status(await watcher.latest_sweep(), running=running) or {}
                show(progress)
                if not running:
                    break
                await asyncio.sleep(_LOOK)
            if progress["finished_at"] is None:
                error = watcher.memory.error
                raise Failure(f"{source}: {error.message if error else 'the sweep was cut off'}")
            return {**progress, "changes": progress["changes"] + found}

    with told(LedgerError):
        return asyncio.run(read())


async def _poll(watcher: Watcher) -> int:
    done = await watcher.poll(by_hand=True)
    if done.result is not RoundResult.DONE:
        raise Failure(f"{watcher.name}: {done.message}")
    return done.events
