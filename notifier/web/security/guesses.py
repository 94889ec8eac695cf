"""Limits guessing of the token: a peer that sends wrong tokens must wait longer and longer."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from notifier.clock import Clock

FREE_GUESSES: Final = 5
"""The number of wrong tokens that a peer may send before it must wait."""

LONGEST_WAIT: Final = 60.0
"""The longest wait in seconds; each further wrong token doubles the wait up to this."""

_FORGOTTEN_AFTER: Final = 3600.0
_MOST_PEERS: Final = 1000


@dataclass(frozen=True, slots=True)
class _Wrong:
    guesses: int
    latest: float

    @property
    def wait(self) -> float:
        """The seconds to wait before the next guess."""
        excess = self.guesses - FREE_GUESSES
        return 0.0 if excess < 0 else min(LONGEST_WAIT, 2.0 ** min(excess, 10))


class Guesses:
    """Counts wrong tokens by peer (see `network_of`), so that only the peer that guesses must wait.

    The right token is not counted and does not wait, because all clients behind a proxy are one peer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, _Wrong] = OrderedDict()

    def wait(self, peer: str) -> float:
        """Return the seconds that a peer must wait before its next try; 0 if it may try now."""
        wrong = self._wrong.get(peer)
        return 0.0 if wrong is None else max(0.0, wrong.latest + wrong.wait - self._clock.monotonic())

    def note_wrong(self, peer: str) -> int:
        """Count one more wrong token of a peer, and return their number."""
        now = self._clock.monotonic()
        before = self._wrong.pop(peer, None)
        is_old = before is None or now - before.latest >= _FORGOTTEN_AFTER
        noted = _Wrong(1 if is_old or before is None else before.guesses + 1, now)
        self._wrong[peer] = noted
        while len(self._wrong) > _MOST_PEERS:
            self._wrong.popitem(last=False)
        return noted.guesses
