"""How many requests a source may send: smoothly, the urgent ones first, and not at all during a silence."""

import asyncio
import heapq
import itertools
from dataclasses import dataclass, replace
from enum import IntEnum

from notifier.clock import Clock

_MINUTE = 60.0
_HEAD_RESERVE = 1.0


class Urgency(IntEnum):
    """What a request is for; of several that wait, the lowest goes first."""

    HEAD = 0
    LOCATION = 1
    SWEEP = 2
    NAMES = 3


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

    def opens_at(self, reserve: float) -> float:
        """Return the moment from which a request may pass that leaves `reserve` tokens, if it holds so many, behind."""
        to_spare = max(0.0, self.capacity - 1 - reserve)
        return self.full_at - to_spare * self.interval

    def taken(self, now: float) -> "Bucket":
        """Return the bucket with one token less."""
        return replace(self, full_at=max(self.full_at, now) + self.interval)

    def given_back(self) -> "Bucket":
        """Return the bucket with one token more."""
        return replace(self, full_at=self.full_at - self.interval)


class RequestBudget:
    """The requests of one source, each of which takes its turn here before it is sent.

    All but a head poll leave a token behind, so that the next head poll need not wait for what a sweep used up.
    """

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._clock = clock
        self._bucket = Bucket.for_rate(per_minute)
        self._silent_until = 0.0
        self._requests = 0
        self._arrivals = itertools.count()
        self._waiting: list[tuple[Urgency, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def requests(self) -> int:
        """How many have passed so far."""
        return self._requests

    def silence(self, seconds: float) -> None:
        """Let nobody pass for so long; a longer silence that is on already goes on."""
        self._silent_until = max(self._silent_until, self._clock.monotonic() + seconds)

    def silent_for(self) -> float:
        """Return how many seconds of silence are left."""
        return max(0.0, self._silent_until - self._clock.monotonic())

    async def take(self, urgency: Urgency) -> None:
        """Return when one request may be sent; cancelled while it waits, it has used nothing."""
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (urgency, next(self._arrivals), turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._bucket = self._bucket.given_back()
                self._requests -= 1
            self._serve()
            raise

    def _serve(self) -> None:
        """Let pass who may, and come back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            urgency, _, turn = self._waiting[0]
            if not turn.cancelled():
                now = self._clock.monotonic()
                wait = self._opens_at(urgency) - now
                if wait > 0:
                    self._timer = turn.get_loop().call_later(wait, self._serve)
                    return
                self._bucket = self._bucket.taken(now)
                self._requests += 1
                turn.set_result(None)
            heapq.heappop(self._waiting)

    def _opens_at(self, urgency: Urgency) -> float:
        reserve = 0 if urgency is Urgency.HEAD else _HEAD_RESERVE
        return max(self._bucket.opens_at(reserve), self._silent_until)
