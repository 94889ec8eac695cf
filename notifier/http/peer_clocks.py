"""Compares this machine's clock with the `Date` headers of its peers. No I/O."""

from statistics import median

from msgspec import Struct, field

from notifier.clock import Clock

_MAX_AGE_MS = 3_600_000
"""The maximum age of a reported time, in milliseconds; older ones are not used."""


class PeerClocks(Struct):
    """The latest time that each peer has reported, for comparison with this machine's clock.

    Each time is stored with the monotonic time of its arrival. So the offset is right as soon as this machine's clock
    is corrected.
    """

    clock: Clock
    _reported: dict[str, tuple[int, int]] = field(default_factory=dict)

    def record(self, peer: str, reported_ms: int | None) -> None:
        """Record the time (Unix ms) in an answer that has just arrived from a peer; None (no time) is ignored."""
        if reported_ms is not None:
            self._reported[peer] = (reported_ms, self._monotonic_ms())

    def offset_seconds(self) -> float | None:
        """Return how many seconds the peers' clocks are ahead, by their median (negative: behind; None: unknown)."""
        passed_ms = self._monotonic_ms()
        self._reported = {
            peer: report for peer, report in self._reported.items() if report[1] >= passed_ms - _MAX_AGE_MS
        }
        if not self._reported:
            return None
        theirs_ms = median(served_ms + passed_ms - received_ms for served_ms, received_ms in self._reported.values())
        return (theirs_ms - self.clock.now_ms()) / 1000

    def _monotonic_ms(self) -> int:
        return round(self.clock.monotonic() * 1000)

    @property
    def peer_count(self) -> int:
        """The number of peers whose time is known; call `offset_seconds` first, which removes outdated times."""
        return len(self._reported)
