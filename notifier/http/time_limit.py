"""Sets the same time limit for many requests, with one timer for all of them.

`asyncio.timeout(seconds)` would set a separate timer for each request. Such a timer takes about a fifth of the
processor time of an exchange.
"""

import asyncio


class TimeLimit:
    """Ends `async with asyncio.timeout(None)` blocks after a time limit that is the same for all of them.

    The blocks may run at the same time. Each must be registered with `begin`.
    """

    def __init__(self, seconds: float) -> None:
        """Initialise with the limit in seconds."""
        self._seconds = seconds
        self._ends_at: dict[asyncio.Timeout, float] = {}
        """The deadline of each running block, in the event loop's seconds; the earliest comes first."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, timeout: asyncio.Timeout) -> float:
        """Begin the time limit of a block; return its deadline, in the event loop's seconds."""
        loop = asyncio.get_running_loop()
        ends_at = self._ends_at[timeout] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(ends_at, self._expire_overdue)
        return ends_at

    def end(self, timeout: asyncio.Timeout) -> None:
        """End the time limit of a block. Must be called inside the block, just before the block ends."""
        self._ends_at.pop(timeout, None)

    def _expire_overdue(self) -> None:
        """Expire all blocks whose deadline has passed, and set the timer for the next deadline."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._ends_at:
            timeout, ends_at = next(iter(self._ends_at.items()))
            if ends_at > now:
                self._timer = loop.call_at(ends_at, self._expire_overdue)
                return
            del self._ends_at[timeout]
            timeout.reschedule(now)
