"""How many requests a source may send: smoothly, the urgent ones first, and not at all during a silence.

The pool of requests belongs to all integrations of a customer, so the budget also learns how much of it is left.
"""

import asyncio
import heapq
import itertools
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

from notifier.clock import Clock

_MINUTE: Final = 60
_HEAD_RESERVE: Final = 1.0
_SMALLEST_PART: Final = 1 / 16
_SMALLEST_RATE: Final = 1.0
_CLIMB_SECONDS: Final = 60.0
_CLIMB_PART: Final = 1 / 100

HEADS_IN_A_ROW: Final = 6
"""So many head polls pass while others wait, then one of those.

The bucket gains nineteen twentieths of the rate. Six of seven of these are the four fifths of the rate up to which the
configuration's polls cause no warning: so these are never late for the others' sake, however many wait.
"""


class Urgency(IntEnum):
    """What a request is for; of several that wait, the lowest goes first."""

    HEAD = 0
    LOCATION = 1
    SWEEP = 2
    NAMES = 3


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of what is `configured` a source allows itself, in requests a minute; times are monotonic seconds.

    It is `reduced_to` so much until `climbs_from`, and climbs back from then on: each minute by a hundredth of what is
    configured, so that the others who use the pool are not soon met again.
    """

    configured: float
    reduced_to: float
    climbs_from: float = 0.0

    @classmethod
    def whole(cls, configured: float) -> "Allowance":
        """Return the allowance of a source that has met no trouble."""
        return cls(configured, configured)

    @property
    def floor(self) -> float:
        """What is allowed at least: a sixteenth, but one a minute if so many are configured."""
        return min(self.configured, max(self.configured * _SMALLEST_PART, _SMALLEST_RATE))

    def at(self, now: float) -> float:
        """Return what is allowed now."""
        if self.reduced_to == self.configured:
            return self.configured
        climbed = max(0.0, now - self.climbs_from) // _CLIMB_SECONDS * _CLIMB_PART
        return min(self.configured, self.reduced_to + climbed * self.configured)

    def limited(self, now: float, silent_until: float) -> "Allowance":
        """Return the allowance after `rate_limit_exceeded`: half of what it was, from the end of the silence on.

        Requests that were under way together are refused together: what is told during the silence that the first of
        them began halves nothing more.
        """
        heard_already = now < self.climbs_from
        reduced_to = self.reduced_to if heard_already else max(self.floor, self.at(now) / 2)
        return replace(self, reduced_to=reduced_to, climbs_from=max(self.climbs_from, silent_until))


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket as a value; times are monotonic seconds.

    It holds at most `capacity` tokens (1 or more), gains one every `interval` seconds, and is full at `full_at`.
    """

    capacity: float
    interval: float
    full_at: float = 0.0

    @classmethod
    def for_rate(cls, per_minute: float) -> "Bucket":
        """Return a full bucket that lets no more than `per_minute` requests pass in any 60 seconds, bursts included.

        A twentieth of them may pass at once, and the bucket gains as much less in a minute, for these two add up.
        """
        burst = per_minute / 20
        return cls(1 + burst, _MINUTE / (per_minute - burst))

    def at_rate(self, per_minute: float, now: float) -> "Bucket":
        """Return the bucket for another rate that holds the tokens of this one, or as many of them as it can hold."""
        other = Bucket.for_rate(per_minute)
        tokens = self.capacity - max(0.0, self.full_at - now) / self.interval
        return replace(other, full_at=now + (other.capacity - tokens) * other.interval)

    def opens_at(self, reserve: float) -> float:
        """Return the moment from which a request may pass that leaves `reserve` tokens, if it holds so many, behind."""
        to_spare = max(0.0, self.capacity - 1 - reserve)
        return self.full_at - to_spare * self.interval

    def taken(self, now: float) -> "Bucket":
        """Return the bucket with one token less."""
        return Bucket(self.capacity, self.interval, max(self.full_at, now) + self.interval)

    def given_back(self) -> "Bucket":
        """Return the bucket with one token more."""
        return Bucket(self.capacity, self.interval, self.full_at - self.interval)


@dataclass(slots=True)
class LastMinute:
    """Counts what happened in the last 60 seconds, each second by itself: its size does not depend on how much did."""

    _counts: list[int] = field(default_factory=lambda: [0] * _MINUTE)
    _newest: int = 0

    def add(self, moment: float, number: int) -> None:
        """Count so many more (negative: less) at a moment in monotonic seconds."""
        second = int(moment)
        self._advance(second)
        if second > self._newest - _MINUTE:
            self._counts[second % _MINUTE] += number

    def total(self, now: float) -> int:
        """Return the sum; the second that `now` is in counts as one of the 60."""
        self._advance(int(now))
        return sum(self._counts)

    def _advance(self, second: int) -> None:
        if second > self._newest:
            for begun in range(max(self._newest, second - _MINUTE) + 1, second + 1):
                self._counts[begun % _MINUTE] = 0
            self._newest = second


@dataclass(frozen=True, slots=True)
class Usage:
    """What a source may send and sends.

    `configured` and `allowed` (now, or after the silence that is on) are requests a minute. `used` counts the requests
    of the last 60 seconds, `total` all so far, `waiting` those that wait for their turn.
    """

    configured: float
    allowed: float
    used: int
    waiting: int
    total: int


_Waiting = tuple[Urgency, int, asyncio.Future[float]]
"""Who waits: how urgently, the how manyth to come, and a future of the moment at which the turn comes."""


class RequestBudget:
    """The requests of one source, each of which takes its turn here before it is sent.

    All but a head poll leave a token behind, so that the next head poll need not wait for what a sweep used up. Head
    polls that take everything still let one of the others pass after every HEADS_IN_A_ROW of their own.

    What is allowed is looked at only when somebody wants to pass: a budget at rest costs nothing.
    """

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._clock = clock
        self._allowance = Allowance.whole(per_minute)
        self._rate = per_minute
        self._bucket = Bucket.for_rate(per_minute)
        self._silent_until = 0.0
        self._requests = 0
        self._last_minute = LastMinute()
        self._arrivals = itertools.count()
        self._heads: list[_Waiting] = []
        self._others: list[_Waiting] = []
        self._heads_in_a_row = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def requests(self) -> int:
        """How many have passed so far."""
        return self._requests

    def usage(self) -> Usage:
        """Return what may be used and is used."""
        now = self._clock.monotonic()
        return Usage(
            configured=self._allowance.configured,
            allowed=self._allowance.at(now),
            used=self._last_minute.total(now),
            waiting=sum(not turn.cancelled() for *_, turn in (*self._heads, *self._others)),
            total=self._requests,
        )

    def rate_limited(self, pause: float) -> None:
        """Heed `rate_limit_exceeded`: a silence of `pause` seconds, then half the rate, then slowly more."""
        now = self._clock.monotonic()
        self.silence(pause)
        self._allowance = self._allowance.limited(now, self._silent_until)

    def silence(self, seconds: float) -> None:
        """Let nobody pass for so long; a longer silence that is on already goes on."""
        self._silent_until = max(self._silent_until, self._clock.monotonic() + seconds)

    def silent_for(self) -> float:
        """Return how many seconds of silence are left."""
        return max(0.0, self._silent_until - self._clock.monotonic())

    def wake(self) -> None:
        """Look at the clock again, after the machine has slept and the timer that was to do it stood still."""
        self._serve()

    async def take(self, urgency: Urgency) -> None:
        """Return when one request may be sent; cancelled while it waits, it has used nothing."""
        turn = asyncio.get_running_loop().create_future()
        crowd = self._heads if urgency is Urgency.HEAD else self._others
        heapq.heappush(crowd, (urgency, next(self._arrivals), turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._give_back(turn.result())
            self._serve()
            raise

    def _serve(self) -> None:
        """Let pass who may, and come back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while crowd := self._next_crowd():
            now = self._clock.monotonic()
            self._keep_to_the_allowance(now)
            wait = self._opens_at(crowd) - now
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(wait, self._serve)
                return
            self._let_pass(crowd, now)

    def _next_crowd(self) -> list[_Waiting]:
        """Return the crowd whose first one is next; an empty one when nobody waits."""
        for crowd in (self._heads, self._others):
            while crowd and crowd[0][2].cancelled():
                heapq.heappop(crowd)
        if self._heads and self._others:
            return self._others if self._others_are_due() else self._heads
        return self._heads or self._others

    def _others_are_due(self) -> bool:
        return self._heads_in_a_row >= HEADS_IN_A_ROW

    def _keep_to_the_allowance(self, now: float) -> None:
        allowed = self._allowance.at(now)
        if allowed != self._rate:
            self._rate = allowed
            self._bucket = self._bucket.at_rate(allowed, now)

    def _opens_at(self, crowd: list[_Waiting]) -> float:
        reserve = 0.0 if crowd is self._heads or self._others_are_due() else _HEAD_RESERVE
        return max(self._bucket.opens_at(reserve), self._silent_until)

    def _let_pass(self, crowd: list[_Waiting], now: float) -> None:
        *_, turn = heapq.heappop(crowd)
        overtaking = crowd is self._heads and bool(self._others)
        self._heads_in_a_row = self._heads_in_a_row + 1 if overtaking else 0
        self._bucket = self._bucket.taken(now)
        self._requests += 1
        self._last_minute.add(now, 1)
        turn.set_result(now)

    def _give_back(self, moment: float) -> None:
        """Take back that somebody passed at a moment."""
        self._bucket = self._bucket.given_back()
        self._requests -= 1
        self._last_minute.add(moment, -1)
