"""Remembers the records that recent answers have changed: a late answer to an earlier request cannot undo a change."""

from array import array
from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence

from msgspec import Struct


class _Batch(Struct, frozen=True):
    """The changes of one answer: when it was requested (monotonic seconds), and hashes of the records' keys."""

    requested_at: float
    hashes: "array[int]"


class RecentChanges:
    """The records that recent answers have changed.

    Each record is kept as a hash of eight bytes, because a first sweep changes millions of records in a minute. An
    unchanged record with the same hash as a changed one has to wait for the next answer, which does no harm.
    """

    def __init__(self) -> None:
        self._batches: list[_Batch] = []

    def note(self, keys: Iterable[str], requested_at: float) -> None:
        """Remember that an answer requested at `requested_at` has changed these records."""
        if hashes := array("q", map(hash, keys)):
            insort(self._batches, _Batch(requested_at, hashes), key=_requested_at)

    def forget_until(self, moment: float) -> None:
        """Forget the changes from requests that were sent at or before `moment` (monotonic seconds)."""
        del self._batches[: bisect_right(self._batches, moment, key=_requested_at)]

    def changed_after(self, requested_at: float, keys: Sequence[str]) -> dict[str, float]:
        """Return the keys of records that a later answer has changed, each with the time of that answer's request.

        An answer is later if it was requested after `requested_at`. Times are monotonic seconds.
        """
        later: dict[str, float] = {}
        for batch in self._batches[bisect_right(self._batches, requested_at, key=_requested_at) :]:
            hashes = {*batch.hashes}
            later.update((key, batch.requested_at) for key in keys if hash(key) in hashes)
        return later


def _requested_at(batch: _Batch) -> float:
    return batch.requested_at
