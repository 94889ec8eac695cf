"""The sessions of signed-in browsers, which cannot send the token with each request.

Sessions are kept in memory, so a restart signs every browser out.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from msgspec import Struct, field

from notifier.clock import Clock

IDLE_SECONDS: Final = 12 * 3600.0
"""Seconds without any request or stream after which a session ends."""

LONGEST_SECONDS: Final = 7 * 86_400.0
"""Seconds after which a session ends even if it is in use."""

MAX_SESSIONS: Final = 100
"""Maximum number of open sessions. A new session beyond the maximum ends the session that has been idle longest."""

SECURE_COOKIE: Final = "__Host-notifier_session"
"""The name of the session cookie if TLS is used. Because of the prefix, browsers accept and send it only over TLS."""

_PLAIN_COOKIE: Final = "notifier_session"


class _Session(Struct):
    origin: str
    is_secure: bool
    begun_at: float
    used_at: float
    on_end: set[Callable[[], None]] = field(default_factory=set)


class Sessions:
    """The open sessions.

    Only digests of session ids are kept, so that the time of a lookup reveals nothing about an id. A session is valid
    only for the host and port at which it began (the `Host` header). Browsers send cookies to all ports of a host,
    where other programs may listen.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: OrderedDict[bytes, _Session] = OrderedDict()

    def begin(self, origin: str, *, is_secure: bool = False) -> str:
        """Open a session for the host and port `origin`, and return its secret id. `is_secure` means TLS."""
        session, now = secrets.token_urlsafe(32), self._clock.monotonic()
        self._open[_digest(session)] = _Session(origin.lower(), is_secure, now, now)
        while len(self._open) > MAX_SESSIONS:
            self._end(next(iter(self._open)))
        return session

    def extend(self, session: str, origin: str, *, is_secure: bool = False) -> bool:
        """If the session is open for this origin, restart its idle time and return True. Otherwise, return False."""
        self.end_expired()
        digest = _digest(session)
        found = self._open.get(digest)
        if found is None or found.origin != origin.lower() or found.is_secure is not is_secure:
            return False
        found.used_at = self._clock.monotonic()
        self._open.move_to_end(digest)
        return True

    def end(self, session: str) -> None:
        """Close a session, if it is open."""
        self._end(_digest(session))

    def end_expired(self) -> None:
        """Close the sessions that were idle for IDLE_SECONDS, or are older than LONGEST_SECONDS."""
        now = self._clock.monotonic()
        for digest, session in tuple(self._open.items()):
            is_idle = not session.on_end and now - session.used_at >= IDLE_SECONDS
            if is_idle or now - session.begun_at >= LONGEST_SECONDS:
                self._end(digest)

    def call_on_end(self, session: str, on_end: Callable[[], None]) -> Callable[[], None]:
        """Register `on_end`, which is called when the session ends.

        If the session has ended, call `on_end` at once. Returns a function that removes `on_end`. The session does not
        count as idle while `on_end` is registered.
        """
        found = self._open.get(_digest(session))
        if found is None:
            on_end()
            return lambda: None
        found.on_end.add(on_end)

        def stop() -> None:
            found.on_end.discard(on_end)
            found.used_at = self._clock.monotonic()

        return stop

    def _end(self, digest: bytes) -> None:
        session = self._open.pop(digest, None)
        if session is not None:
            for on_end in tuple(session.on_end):
                on_end()


def cookie_name(host: str, *, is_secure: bool) -> str:
    """Return the session cookie's name. Without TLS, it contains the port, because a host's ports share cookies."""
    if is_secure:
        return SECURE_COOKIE
    port = host.rpartition(":")[2]
    return f"{_PLAIN_COOKIE}_{port}" if port.isdecimal() and port.isascii() else _PLAIN_COOKIE


def _digest(session: str) -> bytes:
    # Bytes that are not UTF-8 arrive as surrogates.
    return hashlib.sha256(session.encode(errors="surrogateescape")).digest()
