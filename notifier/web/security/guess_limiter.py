"""Limits guessing of the token: wrong tokens are logged, and their sender must wait longer and longer."""

import asyncio
import logging
import math
from collections import OrderedDict
from typing import Final

from aiohttp import hdrs, web
from msgspec import Struct

from notifier.clock import Clock
from notifier.web.listening.connections import connection_of
from notifier.web.responses import error_answer

FREE_GUESSES: Final = 5
"""The number of wrong tokens that a peer may send before it must wait."""

LONGEST_WAIT_SECONDS: Final = 60.0
"""The longest wait in seconds. Up to this limit, each further wrong token doubles the wait."""

_FORGET_AFTER_SECONDS: Final = 3600.0
_MAX_PEERS: Final = 1000
_log = logging.getLogger(__name__)
LONGEST_DELAY_SECONDS: Final = 5.0
"""The longest delay, in seconds, of an answer to a wrong token. The answer may ask the peer to wait longer."""


class _WrongTokens(Struct, frozen=True):
    count: int
    latest: float

    @property
    def wait_seconds(self) -> float:
        """The seconds that the peer must wait, counted from its latest wrong token."""
        excess = self.count - FREE_GUESSES
        return 0.0 if excess < 0 else min(LONGEST_WAIT_SECONDS, 2.0 ** min(excess, 10))


class GuessLimiter:
    """Counts the wrong tokens of each peer (see `peer_key_of`), and computes how long the peer must wait.

    A request with the right token is neither counted nor delayed: all clients behind a proxy are one peer, and a wrong
    token of one client must not delay the others.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, _WrongTokens] = OrderedDict()

    def wait_seconds(self, peer: str) -> float:
        """Return the seconds that a peer must wait before its next try; 0 if it may try now."""
        wrong = self._wrong.get(peer)
        return 0.0 if wrong is None else max(0.0, wrong.latest + wrong.wait_seconds - self._clock.monotonic())

    def count_wrong_token(self, peer: str) -> int:
        """Count one more wrong token of a peer, and return the number of its recent wrong tokens."""
        now = self._clock.monotonic()
        before = self._wrong.pop(peer, None)
        is_old = before is None or now - before.latest >= _FORGET_AFTER_SECONDS
        noted = _WrongTokens(1 if is_old or before is None else before.count + 1, now)
        self._wrong[peer] = noted
        while len(self._wrong) > _MAX_PEERS:
            self._wrong.popitem(last=False)
        return noted.count


async def delay_wrong_token(request: web.Request, guess_limiter: GuessLimiter) -> int:
    """Count and log a wrong token, then sleep to slow down guessing.

    Return 0 if the peer was allowed to try. If its previous wait was not over yet, return its new wait in seconds.
    """
    connection = connection_of(request)
    wait_seconds_before = guess_limiter.wait_seconds(connection.peer_key)
    count = guess_limiter.count_wrong_token(connection.peer_key)
    # One peer must not flood the log.
    if count <= FREE_GUESSES or count & (count - 1) == 0:
        _log.warning(
            "a wrong token was given",
            extra={"address": connection.peer, "transport": connection.listener_kind.value, "guesses": count},
        )
    wait_seconds = guess_limiter.wait_seconds(connection.peer_key)
    # During the delay, a new connection may replace this one.
    connection.has_delayed_refusal = True
    try:
        await asyncio.sleep(min(wait_seconds, LONGEST_DELAY_SECONDS))
    finally:
        connection.has_delayed_refusal = False
    return math.ceil(wait_seconds) if wait_seconds_before else 0


async def refuse_wrong_token(request: web.Request, guess_limiter: GuessLimiter) -> web.Response:
    """Return the delayed answer to a request with a wrong token."""
    wait_seconds = await delay_wrong_token(request, guess_limiter)
    if not wait_seconds:
        return error_answer(401, "token_required", "that is not the [http] token")
    answer = error_answer(
        429, "too_many_guesses", f"too many wrong tokens were sent from your address: try again in {wait_seconds} s"
    )
    answer.headers[hdrs.RETRY_AFTER] = str(wait_seconds)
    return answer
