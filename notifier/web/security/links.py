"""Sign-in links, each valid for one use. Clients of the owner's socket can request them."""

import hashlib
import secrets
from collections import OrderedDict
from typing import Final

from notifier.clock import Clock

VALID_SECONDS: Final = 600.0
"""Seconds for which a link is valid."""

_MAX_LINKS: Final = 20


class SignInLinks:
    """Creates and checks sign-in links. Links are kept in memory, each as a digest of its secret."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made_at: OrderedDict[bytes, float] = OrderedDict()

    def make(self) -> str:
        """Create a link, and return its secret, which cannot be guessed."""
        secret = secrets.token_urlsafe(32)
        self._made_at[_digest(secret)] = self._clock.monotonic()
        while len(self._made_at) > _MAX_LINKS:
            self._made_at.popitem(last=False)
        return secret

    def use(self, secret: str) -> bool:
        """Invalidate the link with this secret, and return whether it was valid."""
        made_at = self._made_at.pop(_digest(secret), None)
        return made_at is not None and self._clock.monotonic() - made_at < VALID_SECONDS


def _digest(secret: str) -> bytes:
    # Bytes that are not UTF-8 arrive as surrogates.
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()
