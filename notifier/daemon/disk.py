"""The room that is left for the state file: looked at in a thread, judged by a pure decision."""

import asyncio
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from notifier.conditions import STORE, Condition, ConditionName, Key
from notifier.ledger.errors import LedgerError, LedgerReason

LEAST_FREE = 200_000_000
"""Bytes; with less the disk counts as nearly full. A first sweep of a large account may write as much."""

_LEAST_SHARE = 0.1
"""Of a small file system, one on which LEAST_FREE is more than this share, the share counts."""

_ENOUGH = 2
"""There must be so many times as much before it is over: files come and go, and notices must not."""


@dataclass(frozen=True, slots=True)
class Room:
    """A file system as the one who asks may use it; in bytes."""

    path: Path
    free: int
    total: int


async def room_beside(state_file: Path) -> Room:
    """Return the room on the file system that holds the state file. Raises LedgerError."""
    try:
        usage = await asyncio.to_thread(shutil.disk_usage, state_file.parent)
    except OSError as error:
        raise LedgerError(
            LedgerReason.IO_ERROR,
            f"the folder of state file {state_file} does not say how much room is left ({error.strerror}): check it",
        ) from error
    return Room(state_file.parent, usage.free, usage.total)


def conditions(room: Room, firing: Collection[Key]) -> Iterator[Condition]:
    """Yield `disk_nearly_full` where there is too little room; `firing` is what was wrong until now. Pure."""
    if is_nearly_full(room, stands=(ConditionName.DISK_NEARLY_FULL, STORE) in firing):
        yield Condition(
            ConditionName.DISK_NEARLY_FULL,
            STORE,
            f"less than {_least(room) * _ENOUGH // 1_000_000:,} MB are free in {room.path}, where the state file is;"
            " make room: when the disk is full, nothing more is detected or delivered until there is some",
        )


def is_nearly_full(room: Room, *, stands: bool) -> bool:
    """Tell whether too little is free; what has begun (`stands`) is over when there is twice as much. Pure."""
    return room.free < _least(room) * (_ENOUGH if stands else 1)


def _least(room: Room) -> int:
    return min(LEAST_FREE, round(room.total * _LEAST_SHARE))
