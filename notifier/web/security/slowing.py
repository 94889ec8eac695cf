"""Answers a wrong token late, and logs it."""

import asyncio
import logging
import math
from typing import Final

from aiohttp import hdrs, web

from notifier.web.listening.connections import connection_of
from notifier.web.responses import error_answer
from notifier.web.security.guesses import FREE_GUESSES, Guesses

_log = logging.getLogger(__name__)

LONGEST_DELAY: Final = 5.0
"""The longest delay, in seconds, of the answer to a wrong token; the wait that the answer asks for may be longer."""


async def slow_down(request: web.Request, guesses: Guesses) -> int:
    """Count and log a wrong token, and delay the caller.

    Returns the seconds that the peer must now wait if it came before the end of its last wait, and otherwise 0.
    """
    connection = connection_of(request)
    wait_before = guesses.wait(connection.network)
    count = guesses.note_wrong(connection.network)
    # One peer must not flood the log.
    if count <= FREE_GUESSES or count & (count - 1) == 0:
        _log.warning(
            "a wrong token was given",
            extra={"address": connection.peer, "transport": connection.came_by.value, "guesses": count},
        )
    wait = guesses.wait(connection.network)
    # During the delay, the connection may be closed in favour of another one.
    connection.may_be_closed = True
    try:
        await asyncio.sleep(min(wait, LONGEST_DELAY))
    finally:
        connection.may_be_closed = False
    return math.ceil(wait) if wait_before else 0


async def refuse_guess(request: web.Request, guesses: Guesses) -> web.Response:
    """Return the delayed answer to a request with a wrong token."""
    wait = await slow_down(request, guesses)
    if not wait:
        return error_answer(401, "token_required", "that is not the [http] token")
    answer = error_answer(429, "too_many_guesses", f"too many wrong tokens came from here: try again in {wait} s")
    answer.headers[hdrs.RETRY_AFTER] = str(wait)
    return answer
