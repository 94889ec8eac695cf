"""A simulated receiver with rate limits, events that it cannot process, random failures, slowness and outages.

It takes the place of a destination in the worker, and records every request.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from notifier.destinations.base import Grouping
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.store.tables.outbox import Delivery

DELIVERED = Outcome(AttemptResult.DELIVERED, 200)
THROTTLED = Outcome(AttemptResult.THROTTLED, 429)
UNAVAILABLE = Outcome(AttemptResult.SERVER_ERROR, 503)
BROKEN = Outcome(AttemptResult.SERVER_ERROR, 500)
REFUSED = Outcome(AttemptResult.REFUSED, 422)
NOT_FOUND = Outcome(AttemptResult.REFUSED, 404)
TOO_LARGE = Outcome(AttemptResult.REFUSED, 413)
UNREACHABLE = Outcome(AttemptResult.CONNECT_FAILED, detail="connection refused")
TIMED_OUT = Outcome(AttemptResult.TIMEOUT)


@dataclass(frozen=True, slots=True)
class Outage:
    """A time, from `begin` to `end` (seconds), in which every request has the outcome `outcome`."""

    begin: float
    end: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it began and ended (seconds), its deliveries, its outcome, and whether the receiver took it.

    `active` is the number of requests in progress when it began, including itself.
    """

    began: float
    ended: float
    deliveries: tuple[Delivery, ...]
    outcome: Outcome
    taken: bool
    active: int

    @property
    def sequences(self) -> tuple[int, ...]:
        return tuple(it.event.sequence for it in self.deliveries)

    @property
    def subjects(self) -> tuple[str, ...]:
        return tuple(it.event.subject for it in self.deliveries)


@dataclass
class SimulatedReceiver:
    """Answers requests according to its fields.

    It takes one request each `every` seconds, and at most `a_minute` in any minute (0: no limit). If `says_when`, its
    refusals say when it takes the next request. A request with a `poisonous` delivery has the outcome `poison`, a share
    `flapping` of all requests the outcome `flap`, and a request with more than `limit` events the outcome `too_many`.
    Each event takes `an_event` seconds. After `mended` seconds, only `outages` cause failures.
    """

    chance: random.Random = field(default_factory=lambda: random.Random(0))
    every: float = 0.0
    a_minute: int = 0
    says_when: bool = True
    poisonous: Callable[[Delivery], bool] = lambda _delivery: False
    poison: Outcome = BROKEN
    flapping: float = 0.0
    flap: Outcome = BROKEN
    an_event: float = 0.0
    limit: int = 10**9
    too_many: Outcome = TOO_LARGE
    outages: Sequence[Outage] = ()
    mended: float = float("inf")
    latency: float = 0.05
    timeout: float = 15.0
    grouping: Grouping = field(default_factory=Grouping)
    name: str = "hr"
    requests: list[Request] = field(default_factory=list)
    active: int = 0
    _free_at: float = 0.0
    _accepted_last_minute: deque[float] = field(default_factory=deque)

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        began = _now()
        self.active += 1
        active = self.active
        seconds, outcome, taken = self._answer(began, deliveries)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.active -= 1
            self.requests.append(Request(began, _now(), tuple(deliveries), outcome, taken, active))
        return outcome

    def _answer(self, now: float, deliveries: Sequence[Delivery]) -> tuple[float, Outcome, bool]:
        for outage in self.outages:
            if outage.begin <= now < outage.end:
                timed_out = outage.outcome.reason is AttemptResult.TIMEOUT
                return (self.timeout if timed_out else self.latency), outage.outcome, False
        if now >= self.mended:
            return self.latency, DELIVERED, True
        if (wait := self._wait(now)) > 1e-9:
            return self.latency, Outcome(AttemptResult.THROTTLED, 429, wait if self.says_when else None), False
        if len(deliveries) > self.limit:
            return self.latency, self.too_many, False
        if self.chance.random() < self.flapping:
            return self.latency, self.flap, False
        if any(map(self.poisonous, deliveries)):
            return self.latency, self.poison, False
        self._free_at = now + self.every
        self._accepted_last_minute.append(now)
        seconds = self.latency + self.an_event * len(deliveries)
        return (seconds, DELIVERED, True) if seconds < self.timeout else (self.timeout, TIMED_OUT, True)

    def _wait(self, now: float) -> float:
        while self._accepted_last_minute and self._accepted_last_minute[0] <= now - 60:
            self._accepted_last_minute.popleft()
        full = self.a_minute and len(self._accepted_last_minute) >= self.a_minute
        return max(self._free_at - now, self._accepted_last_minute[0] + 60 - now if full else 0.0, 0.0)

    # -- results ------------------------------------------------------------------------------------------

    @property
    def accepted(self) -> list[Request]:
        return [request for request in self.requests if request.taken]

    @property
    def refused(self) -> list[Request]:
        return [request for request in self.requests if not request.taken]

    def first_accepted_seconds(self) -> dict[int, float]:
        """Return the time at which each event was first accepted, by its sequence number."""
        found: dict[int, float] = {}
        for request in self.accepted:
            for sequence in request.sequences:
                found.setdefault(sequence, request.ended)
        return found

    def count_duplicates(self) -> int:
        """Return the number of deliveries of events that had been accepted before."""
        return sum(len(request.sequences) for request in self.accepted) - len(self.first_accepted_seconds())


def _now() -> float:
    return asyncio.get_running_loop().time()
