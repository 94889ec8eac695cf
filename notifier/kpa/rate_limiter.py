"""Limits the requests of a source: spreads them evenly, and sends urgent ones first.

All integrations of a customer share the API's rate limit. When the API says that it is exceeded, the limiter sends
nothing for a while (a *silence*), and is slower afterwards.
"""

import asyncio
import heapq
import itertools
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from notifier.clock import Clock

_MINUTE: Final = 60
_HEAD_RESERVE: Final = 1.0
_LOWEST_SHARE: Final = 1 / 16
_LOWEST_RATE: Final = 1.0
_RISE_SECONDS: Final = 60.0
_RISE_SHARE: Final = 1 / 100

HEADS_IN_A_ROW: Final = 6
"""The maximum number of head polls in a row while a request of another kind waits.

So head polls can get six of seven requests. That is enough: if polls need more than four fifths of the configured
rate, the user gets a warning about the configuration.
"""


class Priority(IntEnum):
    """The purpose of a request. The waiting request with the lowest value goes first (exception: HEADS_IN_A_ROW)."""

    HEAD = 0
    COUNT = 1
    CONFIRM = 2
    SEARCH = 3
    SWEEP = 4
    NAMES = 5

    @property
    def label(self) -> str:
        """The name of the purpose in status and metrics."""
        return self.name.lower()


class Allowance(Struct, frozen=True):
    """How much of the `configured` rate a source may use, in requests a minute; times are monotonic seconds.

    Until the moment `rises_from`, the rate is `reduced_to`. Then it rises by a hundredth of the configured rate each
    minute. This is slow, so that the shared limit is not soon exceeded again.
    """

    configured: float
    reduced_to: float
    rises_from: float = 0.0

    @classmethod
    def full(cls, configured: float) -> "Allowance":
        """Return the allowance of a source that the API has not rate-limited: the full `configured` rate."""
        return cls(configured, configured)

    @property
    def floor(self) -> float:
        """The lowest rate: a sixteenth of the configured rate, but at least one request a minute.

        If less than one a minute is configured, it is the configured rate.
        """
        return min(self.configured, max(self.configured * _LOWEST_SHARE, _LOWEST_RATE))

    def rate_at(self, now: float) -> float:
        """Return the allowed rate at a moment."""
        if self.reduced_to == self.configured:
            return self.configured
        risen = max(0.0, now - self.rises_from) // _RISE_SECONDS * _RISE_SHARE
        return min(self.configured, self.reduced_to + risen * self.configured)

    def halved(self, now: float, silent_until: float) -> "Allowance":
        """Return the allowance after `rate_limit_exceeded`: half the rate, from the end of the silence on.

        If several requests under way are refused, only the first refusal halves the rate. The others arrive during the
        silence.
        """
        is_reported_already = now < self.rises_from
        reduced_to = self.reduced_to if is_reported_already else max(self.floor, self.rate_at(now) / 2)
        return replace(self, reduced_to=reduced_to, rises_from=max(self.rises_from, silent_until))


class Bucket(Struct, frozen=True):
    """A token bucket as an immutable value; times are monotonic seconds.

    It holds at most `capacity` tokens (1 or more), gains one every `interval` seconds, and is full from `full_at` on.
    """

    capacity: float
    interval: float
    full_at: float = 0.0

    @classmethod
    def for_rate(cls, per_minute: float) -> "Bucket":
        """Return a full bucket that allows at most `per_minute` requests in any 60 seconds, bursts included.

        A twentieth of these requests can come in a burst. The tokens gained in 60 seconds allow the rest.
        """
        burst = per_minute / 20
        return cls(1 + burst, _MINUTE / (per_minute - burst))

    def at_rate(self, per_minute: float, now: float) -> "Bucket":
        """Return a bucket for another rate. The new bucket takes over this bucket's tokens, up to its own capacity."""
        other = Bucket.for_rate(per_minute)
        tokens = self.capacity - max(0.0, self.full_at - now) / self.interval
        return replace(other, full_at=now + (other.capacity - tokens) * other.interval)

    def available_at(self, reserve: float) -> float:
        """Return the earliest time when a request can leave `reserve` tokens (at most capacity - 1) in the bucket."""
        to_spare = max(0.0, self.capacity - 1 - reserve)
        return self.full_at - to_spare * self.interval

    def with_token_taken(self, now: float) -> "Bucket":
        """Return the bucket with one token less, taken at `now`."""
        return Bucket(self.capacity, self.interval, max(self.full_at, now) + self.interval)

    def with_token_returned(self) -> "Bucket":
        """Return the bucket with one token more."""
        return Bucket(self.capacity, self.interval, self.full_at - self.interval)


class SlidingWindow(Struct):
    """Counts the events of the last 60 seconds, with one counter for each second that has events, oldest first."""

    _counts: dict[int, int] = field(default_factory=dict)

    def add(self, moment: float, number: int) -> None:
        """Add a number (negative to subtract) at a moment in monotonic seconds."""
        second = int(moment)
        if number < 0 and second not in self._counts:
            return
        self._forget(second)
        self._counts[second] = self._counts.get(second, 0) + number

    def total(self, now: float) -> int:
        """Return the sum of the numbers of the last 60 seconds, including the second that contains `now`."""
        self._forget(int(now))
        return sum(self._counts.values())

    def _forget(self, second: int) -> None:
        while self._counts and (oldest := next(iter(self._counts))) <= second - _MINUTE:
            del self._counts[oldest]


class Usage(Struct, frozen=True):
    """The request budget of a source and its use."""

    configured: float
    """The configured limit in requests a minute."""
    allowed: float
    """The present limit in requests a minute; during a silence, the limit that will apply after the silence."""
    used: int
    """The number of requests in the last 60 seconds."""
    waiting: int
    """The number of requests that wait for their turn."""
    total: int
    """The number of all requests so far."""
    by: Mapping[str, int] = field(default_factory=dict)
    """The number of requests in the last 60 seconds for each purpose."""
    longest_wait_seconds: float = 0.0
    """How long the oldest waiting request has waited. Requests of sweeps and requests for names are ignored."""


_Waiting = tuple[Priority, int, float, asyncio.Future[float]]
"""A waiting request: priority, serial number, start of the wait, and a future that gets the moment of its turn."""


class RateLimiter:
    """The rate limiter of one source: every request waits here for its turn before it is sent.

    Every request except a head poll leaves at least one token in the bucket, so that no sweep delays the next head
    poll. After HEADS_IN_A_ROW head polls in a row, a waiting request of another kind is next, and may take the last
    token.
    """

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._clock = clock
        self._allowance = Allowance.full(per_minute)
        self._rate = per_minute
        self._bucket = Bucket.for_rate(per_minute)
        self._silent_until = 0.0
        self._requests = 0
        self._last_minute = {priority: SlidingWindow() for priority in Priority}
        self._arrivals = itertools.count()
        self._heads: list[_Waiting] = []
        self._others: list[_Waiting] = []
        self._heads_in_a_row = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def requests(self) -> int:
        """The number of requests that have passed so far."""
        return self._requests

    def usage(self) -> Usage:
        """Return the budget and its current use."""
        now = self._clock.monotonic()
        by = {priority.label: minute.total(now) for priority, minute in self._last_minute.items()}
        return Usage(
            configured=self._allowance.configured,
            allowed=self._allowance.rate_at(now),
            used=sum(by.values()),
            waiting=sum(not turn.cancelled() for *_, turn in (*self._heads, *self._others)),
            total=self._requests,
            by=by,
            longest_wait_seconds=max(
                (
                    now - since
                    for priority, _, since, turn in (*self._heads, *self._others)
                    if priority < Priority.SWEEP and not turn.cancelled()
                ),
                default=0.0,
            ),
        )

    def used_share(self) -> float:
        """Return the share of the allowed rate that the requests of the last minute have used."""
        now = self._clock.monotonic()
        return sum(minute.total(now) for minute in self._last_minute.values()) / self._allowance.rate_at(now)

    def reduce_rate(self, pause: float) -> None:
        """React to `rate_limit_exceeded`: send nothing for `pause` seconds, then start at half the rate.

        The rate rises slowly from there.
        """
        now = self._clock.monotonic()
        self.silence(pause)
        self._allowance = self._allowance.halved(now, self._silent_until)

    def silence(self, seconds: float) -> None:
        """Let no request pass for `seconds`; a longer silence that is already in force stays."""
        self._silent_until = max(self._silent_until, self._clock.monotonic() + seconds)

    def silent_for(self) -> float:
        """Return how many seconds of silence are left."""
        return max(0.0, self._silent_until - self._clock.monotonic())

    def wake(self) -> None:
        """Check the clock again after the machine has slept, because the limiter's timer stood still."""
        self._admit_due_requests()

    async def wait_for_turn(self, priority: Priority) -> None:
        """Wait until one request may be sent; a wait that is cancelled uses no budget."""
        if not self._heads and not self._others:
            now = self._clock.monotonic()
            self._apply_allowance(now)
            if self._available_at(is_head=priority is Priority.HEAD) <= now:
                self._heads_in_a_row = 0
                self._count(priority, now)
                return
        turn = asyncio.get_running_loop().create_future()
        queue = self._heads if priority is Priority.HEAD else self._others
        heapq.heappush(queue, (priority, next(self._arrivals), self._clock.monotonic(), turn))
        self._admit_due_requests()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._give_back(turn.result(), priority)
            self._admit_due_requests()
            raise

    def _admit_due_requests(self) -> None:
        """Let all due requests pass, and schedule the next call for the time when the next request is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while queue := self._next_queue():
            now = self._clock.monotonic()
            self._apply_allowance(now)
            wait = self._available_at(is_head=queue is self._heads) - now
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(wait, self._on_timer)
                return
            self._admit(queue, now)

    def _on_timer(self) -> None:
        self._timer = None
        self._admit_due_requests()

    def _next_queue(self) -> list[_Waiting]:
        """Return the queue that holds the next request; an empty one if no request waits."""
        for queue in (self._heads, self._others):
            while queue and queue[0][3].cancelled():
                heapq.heappop(queue)
        if self._heads and self._others:
            return self._others if self._is_turn_of_others() else self._heads
        return self._heads or self._others

    def _is_turn_of_others(self) -> bool:
        return self._heads_in_a_row >= HEADS_IN_A_ROW

    def _apply_allowance(self, now: float) -> None:
        allowed = self._allowance.rate_at(now)
        if allowed != self._rate:
            self._rate = allowed
            self._bucket = self._bucket.at_rate(allowed, now)

    def _available_at(self, *, is_head: bool) -> float:
        """Return when the next request may pass; `is_head` says whether it is a head poll."""
        reserve = 0.0 if is_head or self._is_turn_of_others() else _HEAD_RESERVE
        return max(self._bucket.available_at(reserve), self._silent_until)

    def _admit(self, queue: list[_Waiting], now: float) -> None:
        priority, *_, turn = heapq.heappop(queue)
        overtaking = queue is self._heads and bool(self._others)
        self._heads_in_a_row = self._heads_in_a_row + 1 if overtaking else 0
        self._count(priority, now)
        turn.set_result(now)

    def _count(self, priority: Priority, now: float) -> None:
        """Take a token for a request that passes now, and count the request."""
        self._bucket = self._bucket.with_token_taken(now)
        self._requests += 1
        self._last_minute[priority].add(now, 1)

    def _give_back(self, moment: float, priority: Priority) -> None:
        """Put back the token of a request that passed at `moment` but was not sent."""
        self._bucket = self._bucket.with_token_returned()
        self._requests -= 1
        self._last_minute[priority].add(moment, -1)
