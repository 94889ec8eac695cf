"""The rule for a nearly full disk. A thread measures the free space, and pure functions compare it with the limit."""

import asyncio
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from msgspec import Struct

from notifier.alerts.conditions import STORE, Condition, ConditionKey, ConditionName
from notifier.store.errors import StoreError, StoreReason
from notifier.wording.sentences import Sentence

MIN_FREE_BYTES = 200_000_000
"""The free space below which the disk is nearly full. The first sweep of a large account may need this much."""

_MIN_FREE_SHARE = 0.1
"""The disk is nearly full below this share of the file system or below MIN_FREE_BYTES, whichever is less."""

_END_FACTOR = 2
"""The condition ends when the free space is this many times the limit, so that small changes cause no alerts."""


class FreeSpace(Struct, frozen=True):
    """The size of a file system, and the free space in it that this process's user may use."""

    path: Path
    free_bytes: int
    total_bytes: int


async def measure_free_space(state_file: Path) -> FreeSpace:
    """Return the free space on the file system that holds the state file. Raises StoreError."""
    try:
        usage = await asyncio.to_thread(shutil.disk_usage, state_file.parent)
    except OSError as error:
        raise StoreError(
            StoreReason.IO_ERROR,
            f"the free space in the folder of state file {state_file} cannot be read ({error.strerror}): check the"
            " folder",
        ) from error
    return FreeSpace(state_file.parent, usage.free, usage.total)


def conditions(space: FreeSpace, firing: Collection[ConditionKey]) -> Iterator[Condition]:
    """Yield `disk_nearly_full` if too little space is free. `firing` has the keys of conditions that fire already."""
    if is_nearly_full(space, is_firing=(ConditionName.DISK_NEARLY_FULL, STORE) in firing):
        yield Condition(
            ConditionName.DISK_NEARLY_FULL,
            STORE,
            Sentence(
                "disk_nearly_full.free",
                megabytes=_min_free_bytes(space) * _END_FACTOR // 1_000_000,
                folder=str(space.path),
            ),
        )


def is_nearly_full(space: FreeSpace, *, is_firing: bool) -> bool:
    """Return whether too little space is free. While the condition fires (`is_firing`), the limit is doubled."""
    return space.free_bytes < _min_free_bytes(space) * (_END_FACTOR if is_firing else 1)


def _min_free_bytes(space: FreeSpace) -> int:
    return min(MIN_FREE_BYTES, round(space.total_bytes * _MIN_FREE_SHARE))
