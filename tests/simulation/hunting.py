"""Searches for violations in one world after another, on several cores; lists the past faults that it must find."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from tests.simulation.profiles import PROFILES
from tests.simulation.world import Outcome, run_seed

CALM: Final = ("calm", "calm_anybody", "calm_total", "calm_moves", "calm_pairs", "far_pairs", "scheduled")
"""The profiles without faults of the API, the network and the machine."""


@dataclass(frozen=True, slots=True)
class FirstViolation:
    """The first violation of a kind: where it was found, and after how many seconds of the search."""

    kind: str
    profile: str
    seed: int
    seconds: float
    text: str


@dataclass(slots=True)
class Hunt:
    """The results of a search for violations."""

    worlds: Counter[str] = field(default_factory=Counter)
    violations: Counter[tuple[str, str]] = field(default_factory=Counter)
    """The number of worlds with a violation, by profile and kind."""
    finds: dict[tuple[str, str], FirstViolation] = field(default_factory=dict)
    simulated_seconds: float = 0.0
    requests: int = 0

    def add(self, profile: str, seed: int, outcome: Outcome, seconds: float) -> None:
        """Add the outcome of one world to the results."""
        self.worlds[profile] += 1
        self.simulated_seconds += outcome.seconds
        self.requests += outcome.requests
        for violation in outcome.violations:
            key = (profile, violation.kind)
            self.finds.setdefault(key, FirstViolation(violation.kind, profile, seed, seconds, violation.text))
        for kind in outcome.kinds:
            self.violations[profile, kind] += 1

    def merge(self, other: "Hunt") -> None:
        """Add the results of another core. Of two first violations of a kind, keep the earlier one."""
        self.worlds += other.worlds
        self.violations += other.violations
        self.simulated_seconds += other.simulated_seconds
        self.requests += other.requests
        for key, find in other.finds.items():
            if key not in self.finds or find.seconds < self.finds[key].seconds:
                self.finds[key] = find


def hunt(
    profiles: Sequence[str],
    seconds: float,
    *,
    first_seed: int = 0,
    stride: int = 1,
    kinds: frozenset[str] | None = None,
    stop: bool = False,
    most_worlds: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Hunt:
    """Run worlds of these profiles in turn for a number of seconds, and return the results.

    With `stop`, the search ends at the first violation (of `kinds`, if given). `most_worlds` limits the number of
    worlds. With `time.process_time` as the clock, only the work of this process counts.
    """
    begun = clock()
    found = Hunt()
    for profile, seed in _worlds_in_turn(profiles, first_seed, stride):
        outcome = run_seed(profile, seed)
        elapsed = clock() - begun
        found.add(profile, seed, outcome, elapsed)
        met = outcome.kinds if kinds is None else outcome.kinds & kinds
        if elapsed >= seconds or found.worlds.total() == most_worlds or (stop and met):
            return found
    raise AssertionError("the seeds do not end")


def hunt_on_cores(profiles: Sequence[str], seconds: float, cores: int, *, first_seed: int = 0) -> Hunt:
    """Run worlds on several cores, each of which uses different seeds."""
    found = Hunt()
    with ProcessPoolExecutor(cores) as pool:
        parts = [
            pool.submit(hunt, profiles, seconds, first_seed=first_seed + core, stride=cores) for core in range(cores)
        ]
        for part in parts:
            found.merge(part.result())
    return found


def _worlds_in_turn(profiles: Sequence[str], first_seed: int, stride: int) -> Iterator[tuple[str, int]]:
    for seed in count(first_seed, stride):
        for profile in profiles:
            yield profile, seed


@dataclass(frozen=True, slots=True)
class PastFault:
    """A fault of an earlier version of the program: a description, and the profile and the violations that show it."""

    number: str
    what: str
    profile: str
    kinds: frozenset[str]


def _past_fault(number: str, what: str, profile: str, *kinds: str) -> PastFault:
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile}")
    return PastFault(number, what, profile, frozenset(kinds))


PAST_FAULTS: Final = (
    _past_fault("1", "a slow page against a newer one", "ambush_edits", "safety/updated_old", "safety/created_again"),
    _past_fault("2", "a record moves during a scan", "ambush_moves", "safety/removed_false"),
    _past_fault("3", "a difference is taken to be for good", "ambush_behind", "voice/quiet", "liveness/late_missing"),
    _past_fault("4", "entered offline", "calm_offline", "liveness/silent"),
    _past_fault(
        "5", "v1: equal entries over the end of a page", "v1_twins", "liveness/missing", "liveness/late_missing"
    ),
    _past_fault(
        "6", "more records of one person than fit one answer", "precise_pages", "liveness/ghost", "liveness/late"
    ),
    _past_fault("7", "with `paging.total`, a pair that cancels out", "far_pairs_total", "liveness/late"),
    _past_fault("8", "a filter set on purpose", "view_filter", "cost/precise", "cost/rest"),
    _past_fault("9", "from v1 to v2", "view_api", "safety/created_again"),
    _past_fault("10", "a page lacks a record", "short_pages", "safety/removed_false"),
    _past_fault("11", "lists lack what the paging counts", "lacking", "safety/removed_false"),
    _past_fault("12", "all answers are minutes old", "old_answers", "safety/updated_old", "safety/removed_false"),
    _past_fault("13", "some answers are old", "replica_seconds", "safety/updated_old"),
    _past_fault(
        "13b", "every second answer is hours old", "replica_hours", "safety/updated_old", "safety/removed_false"
    ),
    _past_fault("14", "an empty list", "empty", "safety/removed_false"),
    _past_fault("15", "`paging.total` one too high", "total_high", "voice/quiet", "liveness/difference"),
    _past_fault("16", "page 1 for every page", "page_one", "voice/quiet", "liveness/late_missing"),
    _past_fault("17", "the first `Date` is a day ahead", "date_ahead", "liveness/silent"),
    _past_fault(
        "18", "ties in any order", "ties", "liveness/ghost", "liveness/late_ghost", "cost/precise", "cost/rest"
    ),
    _past_fault("19", "oldest first", "oldest_first", "voice/quiet", "liveness/late_missing"),
    _past_fault("19b", "pages are capped", "capped", "voice/quiet", "liveness/late_missing"),
    _past_fault("20", "`files` left out", "fields", "safety/updated_old", "safety/updated_false"),
    _past_fault("20b", "other ids", "renumbered", "safety/created_again", "safety/removed_false"),
    _past_fault("21", "unreadable records, and half a list", "half", "liveness/condition_late"),
    _past_fault("22", "an account in full use", "import_day", "voice/exhausted", "cost/changes", "liveness/difference"),
    _past_fault("23", "a deletion beside a move", "calm", "safety/removed_false"),
    _past_fault("24", "a search stops too early", "moves_and_deletions", "voice/quiet", "liveness/difference"),
    _past_fault("26", "our clock was ahead", "clock_ahead", "liveness/late", "liveness/ghost", "liveness/late_ghost"),
    _past_fault("27", "head polls are broken off", "head_only", "liveness/missing"),
    _past_fault("28", "four requests a minute", "tight", "voice/exhausted", "voice/quiet"),
)
"""The faults of earlier versions, by number. Number 25 is missing: it is a limit and no fault (see `far_pairs`)."""


def find_past_fault(row: PastFault, seconds: float) -> tuple[FirstViolation | None, int]:
    """Search for a past fault for at most `seconds`; return its first violation, and the number of worlds."""
    found = hunt((row.profile,), seconds, kinds=row.kinds, stop=True, clock=time.process_time)
    met = [find for (_, kind), find in found.finds.items() if kind in row.kinds]
    return min(met, key=lambda find: find.seconds, default=None), found.worlds.total()
