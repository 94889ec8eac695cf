"""Gives many requests the same time limit, with one timer for all of them.

A separate timer for each request, as `asyncio.timeout` sets it, takes about a fifth of the time of an exchange.
"""

import asyncio


class TimeLimit:
    """The same time limit, in seconds, for many parts of tasks; the parts may run at the same time.

    Each part is an `asyncio.timeout(None)` block, and this class makes it expire.
    """

    def __init__(self, seconds: float) -> None:
        """Initialize with the limit."""
        self._seconds = seconds
        self._ends_at: dict[asyncio.Timeout, float] = {}
        """When the time of each running part is up, in the event loop's seconds; the earliest comes first."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, timeout: asyncio.Timeout) -> float:
        """Note that a part begins; return when its time is up, in the event loop's seconds."""
        loop = asyncio.get_running_loop()
        ends_at = self._ends_at[timeout] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(ends_at, self._expire_overdue)
        return ends_at

    def end(self, timeout: asyncio.Timeout) -> None:
        """Note that a part has ended; this must be called within its block."""
        self._ends_at.pop(timeout, None)

    def _expire_overdue(self) -> None:
        """Let the parts expire whose time is up, and set the timer for the next one."""
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
