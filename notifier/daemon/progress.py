"""Whether the daemon truly gets on with its work: from what was seen of its parts to which of them are stuck. Pure.

Each part shows signs of life: a job of the schedule begins, ends, and does things in between; the ledger's thread
answers. A part is stuck when it has shown none for longer than it may. Time counts here as far as the daemon lived
through it: neither a jump of the wall clock, nor a suspended or frozen machine, nor a starved processor is anybody's
fault.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

LONG_ROUND = 3600.0
"""Seconds that a job may run without a sign of life: far more than any wait for a turn in the request budget."""

LONG_TRANSACTION = 600.0
"""Seconds that the ledger's thread may need for what is before it: a transaction over the whole file on a slow disk."""

LEAST_PATIENCE = 10.0
"""Seconds by which any part may be late; a jump of the wall clock is noticed within five."""

LEDGER = "the ledger's thread"
"""The name of the part that is no job."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What can be seen of one job of the schedule.

    `interval` and `step`, the longest that it may wait for one answer, are in seconds; `born` tells it from an earlier
    job of the same name; `begun` and `ended` count its runs, `signs` changes with what it does while it runs;
    `begun_at` is when the latest run began, in monotonic seconds.
    """

    name: str
    interval: float
    step: float = 0.0
    born: int = 0
    begun: int = 0
    ended: int = 0
    signs: Hashable = None
    begun_at: float = 0.0

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self.begun > self.ended

    def is_attempted(self, now: float) -> bool:
        """Tell whether a first run is over, or has had the time that one answer may take."""
        return self.ended > 0 or (self.begun > 0 and now - self.begun_at >= self.step)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the daemon: its `mark` changes with each sign of life, at least once in `allowed` seconds."""

    name: str
    mark: Hashable
    allowed: float


@dataclass(frozen=True, slots=True)
class Still:
    """For how many seconds, as far as they were lived through, a part's mark has been the same."""

    mark: Hashable
    seconds: float = 0.0


def parts(pulses: Iterable[Pulse], ledger_answers: int, patience: float) -> tuple[Part, ...]:
    """Say of each part by what it shows life, and how long it may show none; `patience` is in seconds."""
    patience = max(patience, LEAST_PATIENCE)
    return (Part(LEDGER, ledger_answers, LONG_TRANSACTION + patience), *(_job(pulse, patience) for pulse in pulses))


def _job(pulse: Pulse, patience: float) -> Part:
    longest = max(pulse.interval, pulse.step, LONG_ROUND) if pulse.is_running else pulse.interval
    return Part(pulse.name, (pulse.born, pulse.begun, pulse.ended, pulse.signs), longest + patience)


def lived(gap: float, tick: float) -> float:
    """Return the part of the seconds between two looks that the daemon lived through, when they should be `tick`."""
    return min(max(gap, 0.0), 2 * tick)


def observe(before: Mapping[str, Still], now: Iterable[Part], seconds: float) -> dict[str, Still]:
    """Take a look: `seconds` were lived through since the last one, which left `before`. What is gone is forgotten."""
    return {part.name: _looked_at(before.get(part.name), part, seconds) for part in now}


def _looked_at(before: Still | None, part: Part, seconds: float) -> Still:
    if before is None or before.mark != part.mark:
        return Still(part.mark)
    return Still(part.mark, before.seconds + seconds)


def stuck(seen: Mapping[str, Still], now: Iterable[Part]) -> dict[str, float]:
    """Return the parts that are stuck, each with the seconds for which it has shown no life."""
    return {part.name: seen[part.name].seconds for part in now if seen[part.name].seconds > part.allowed}
