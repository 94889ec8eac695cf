"""A simulated receiver: rate limits, poison, flapping, slowness, shrinking limits and outages, all by a seed.

It stands where a destination type stands, knows nothing of the notifier but what it is sent, and notes every request.
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
    """From `begin` to `end` (seconds) every request is answered by `outcome`."""

    begin: float
    end: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was met: when it began and ended (seconds), what was in it, how it was answered, and whether
    the receiver has taken it in."""

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
    """Answers as its fields say.

    It takes one request each `every` seconds, and `a_minute` in any minute (0: no limit), and `says_when` it takes the
    next. Requests that carry what is `poisonous` are answered by `poison`, a share `flapping` of all by `flap`. One of
    more than `limit` events is answered by `too_many`. Taking in costs `an_event` seconds for each. At `mended` seconds
    all trouble is over.
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

    # -- what came of it ------------------------------------------------------------------------------------------

    @property
    def accepted(self) -> list[Request]:
        return [request for request in self.requests if request.taken]

    @property
    def refused(self) -> list[Request]:
        return [request for request in self.requests if not request.taken]

    def first_accepted_seconds(self) -> dict[int, float]:
        """Return when each event (by its number) was first taken in."""
        found: dict[int, float] = {}
        for request in self.accepted:
            for sequence in request.sequences:
                found.setdefault(sequence, request.ended)
        return found

    def count_duplicates(self) -> int:
        """Count the events that were taken in more than once."""
        return sum(len(request.sequences) for request in self.accepted) - len(self.first_accepted_seconds())


def _now() -> float:
    return asyncio.get_running_loop().time()
