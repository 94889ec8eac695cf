"""Who has signed in with a browser, which cannot send the token with each request, and how often a token is guessed.

Both are kept in memory: a restart signs everybody out.
"""

import hashlib
import ipaddress
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from notifier.clock import Clock

COOKIE: Final = "notifier_session"
"""The name of the cookie that holds a session's id."""

IDLE: Final = 12 * 3600.0
"""Seconds without a request after which a session ends."""

MOST_SESSIONS: Final = 100
"""So many are open at once; one more ends the one that was idle longest."""

FREE_GUESSES: Final = 5
"""So many wrong tokens may come from an address before it has to wait."""

LONGEST_WAIT: Final = 60.0
"""Seconds; each wrong token more doubles the wait, up to this."""

_FORGOTTEN_AFTER: Final = 3600.0
_MOST_ADDRESSES: Final = 1000
_IPV6_NETWORK: Final = 64


class Sessions:
    """The open sessions. Only digests of their ids are kept, so that looking one up tells nothing of the others."""

    def __init__(self, clock: Clock) -> None:
        """Open none yet."""
        self._clock = clock
        self._used_at: OrderedDict[bytes, float] = OrderedDict()

    def begin(self) -> str:
        """Open a session and return its id, which nobody can guess."""
        session = secrets.token_urlsafe(32)
        self._used_at[_digest(session)] = self._clock.monotonic()
        while len(self._used_at) > MOST_SESSIONS:
            self._used_at.popitem(last=False)
        return session

    def is_open(self, session: str) -> bool:
        """Tell whether there is such a session, and let it go on."""
        digest, now = _digest(session), self._clock.monotonic()
        used_at = self._used_at.get(digest)
        if used_at is None:
            return False
        if now - used_at >= IDLE:
            del self._used_at[digest]
            return False
        self._used_at[digest] = now
        self._used_at.move_to_end(digest)
        return True

    def end(self, session: str) -> None:
        """Close a session, if it is open."""
        self._used_at.pop(_digest(session), None)


@dataclass(frozen=True, slots=True)
class _Wrong:
    guesses: int
    latest: float

    @property
    def wait(self) -> float:
        """Seconds before the next guess."""
        excess = self.guesses - FREE_GUESSES
        return 0.0 if excess < 0 else min(LONGEST_WAIT, 2.0 ** min(excess, 10))


class Guesses:
    """How many wrong tokens came from where. Who guesses has to wait, and does not make others wait."""

    def __init__(self, clock: Clock) -> None:
        """Nobody has guessed yet."""
        self._clock = clock
        self._wrong: OrderedDict[str, _Wrong] = OrderedDict()

    def wait(self, address: str | None) -> float:
        """Return for how many seconds nothing that comes from an address is looked at; 0: it may try."""
        wrong = self._wrong.get(_network(address))
        return 0.0 if wrong is None else max(0.0, wrong.latest + wrong.wait - self._clock.monotonic())

    def note_wrong(self, address: str | None) -> None:
        """Remember one more wrong token."""
        network, now = _network(address), self._clock.monotonic()
        before = self._wrong.pop(network, None)
        is_old = before is None or now - before.latest >= _FORGOTTEN_AFTER
        self._wrong[network] = _Wrong(1 if is_old or before is None else before.guesses + 1, now)
        while len(self._wrong) > _MOST_ADDRESSES:
            self._wrong.popitem(last=False)

    def note_right(self, address: str | None) -> None:
        """Forget the wrong ones: it was the operator."""
        self._wrong.pop(_network(address), None)


def _digest(session: str) -> bytes:
    # What is not UTF-8 arrives as surrogates.
    return hashlib.sha256(session.encode(errors="surrogateescape")).digest()


def _network(address: str | None) -> str:
    """Return who is meant by an address: of IPv6, everybody has a whole network to come from."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if ip.version == 4:  # noqa: PLR2004 - the version itself
        return str(ip)
    return str(ipaddress.ip_network((ip, _IPV6_NETWORK), strict=False))
