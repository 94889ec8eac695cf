"""The second looks of one source: records whose change a later request has to confirm, and how long each has waited."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from notifier.clock import Clock
from notifier.store.store import Store
from notifier.store.tables import second_looks
from notifier.store.tables.second_looks import LookKind, SecondLook
from notifier.watch.limits import DetectionLimits

_FORMS_SHARE: Final = 0.01
"""Earlier contents of records are deleted at intervals of this share of `form_seconds`."""


class SecondLooks:
    """The stored second looks; their waits are measured with the monotonic clock.

    The wall clock may be set during a wait, so it is used only across a restart, where nothing else is available.
    """

    def __init__(self, source: str, store: Store, clock: Clock, confirm_after_seconds: float) -> None:
        self._source = source
        self._store = store
        self._clock = clock
        self._confirm_after = confirm_after_seconds
        self._looks: dict[str, SecondLook] = {}
        self._due_at: dict[str, float] = {}
        self._forms_not_before = 0.0

    @property
    def by_key(self) -> Mapping[str, SecondLook]:
        """All second looks, by the record's key."""
        return MappingProxyType(self._looks)

    async def recall(self) -> None:
        """Load the second looks of the previous run. Raises StoreError."""
        self._looks = await self._store.run(second_looks.of_source, self._source)
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        self._due_at = {
            key: now + max(0.0, self._confirm_after - max(0, now_ms - look.since_ms) / 1000)
            for key, look in self._looks.items()
            if look.since_ms is not None
        }

    def due(self) -> frozenset[str]:
        """Return the keys of the second looks whose wait is over."""
        now = self._clock.monotonic()
        return frozenset(key for key, at in self._due_at.items() if now >= at)

    def waiting(self, kind: LookKind) -> list[SecondLook]:
        """Return the second looks of this kind that wait or are due, but not those that an answer has contradicted."""
        return [look for look in self._looks.values() if look.kind is kind and look.since_ms is not None]

    def counts(self) -> dict[LookKind, int]:
        """Return how many second looks wait or are due, by kind."""
        return {kind: len(self.waiting(kind)) for kind in LookKind}

    def note(self, looks: Iterable[SecondLook], ended: Iterable[str]) -> None:
        """Update the second looks in memory: `looks` were stored, and those with the keys in `ended` were deleted."""
        for key in ended:
            self._looks.pop(key, None)
            self._due_at.pop(key, None)
        for look in looks:
            self._looks[look.key] = look
            if look.since_ms is None:
                self._due_at.pop(look.key, None)
            else:
                self._due_at[look.key] = self._clock.monotonic() + self._confirm_after

    def contradicted(self, min_flips: int, within_ms: int) -> list[SecondLook]:
        """Return the second looks that at least `min_flips` answers have contradicted.

        The last contradiction must be at most `within_ms` ago.
        """
        now_ms = self._clock.now_ms()
        return [
            look
            for look in self._looks.values()
            if look.flips >= min_flips and look.flipped_ms is not None and now_ms - look.flipped_ms <= within_ms
        ]

    async def forget_old(self, limits: DetectionLimits) -> None:
        """Delete old data: contradicted second looks, and earlier contents of records. Raises StoreError."""
        now_ms = self._clock.now_ms()
        longest_ms = round(limits.flips_seconds * 1000)
        old = [
            look.key
            for look in self._looks.values()
            if look.since_ms is None and look.flipped_ms is not None and not 0 <= now_ms - look.flipped_ms <= longest_ms
        ]
        if old:
            await self._store.run(second_looks.delete, self._source, old)
            self.note((), old)
        if self._clock.monotonic() >= self._forms_not_before:
            await self._store.run(second_looks.delete_old_forms, now_ms - round(limits.form_seconds * 1000))
            self._forms_not_before = self._clock.monotonic() + limits.form_seconds * _FORMS_SHARE
