"""The difference between this machine's clock and that of the database's server.

The machine that uses the store decides by its own clock when retries and scheduled sends are due. If a machine whose
clock differs takes over, these are sent earlier or later.
"""

from collections.abc import Callable
from typing import Final

from notifier.store.database import Database

DIFFERS_MS: Final = 2_000
"""The smallest difference in milliseconds that is reported."""

AGREES_MS: Final = 1_000
"""The difference in milliseconds below which the clocks agree again."""


def server_clock_ahead_ms(db: Database, now_ms: Callable[[], int]) -> int:
    """Return how many milliseconds the server's clock is ahead of this machine's; negative if it is behind.

    The result is 0 if the server's time lies between the beginning and the end of the request. Otherwise, the result is
    the distance from the server's time to the beginning or the end, whichever is nearer.
    """
    before_ms = now_ms()
    row = db.execute("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)").fetchone()
    after_ms = now_ms()
    theirs_ms = int(row[0])
    return theirs_ms - max(before_ms, min(theirs_ms, after_ms))


def difference_sentence(ahead_ms: int) -> str | None:
    """Return a sentence about the difference between the two clocks; None if it is too small to report. Pure."""
    if abs(ahead_ms) < DIFFERS_MS:
        return None
    which = "behind" if ahead_ms > 0 else "ahead of"
    return (
        f"this machine's clock is {abs(ahead_ms) / 1000:.0f} seconds {which} that of the database's server; when"
        " another machine takes over, retries and scheduled sends come earlier or later: synchronise the clocks of all"
        " machines (NTP)"
    )
