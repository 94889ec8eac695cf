"""Observations of a source's watcher about its own work, from which the source's conditions are derived."""

from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct, field
from msgspec.structs import replace

from notifier.config import SourceSettings
from notifier.kpa.errors import Remedy
from notifier.kpa.rate_limiter import Usage
from notifier.store.tables.second_looks import SecondLook
from notifier.store.tables.sources import SourceMemory
from notifier.watch.patience import Patience

_NEARLY_ALL = 0.75


class RequestCategory(StrEnum):
    """The kinds of requests to the API; each can fail independently."""

    HEAD = "head"
    COUNT = "count"
    SEARCH = "search"
    SCAN = "scan"
    NAMES = "names"


class RequestFailure(Struct, frozen=True):
    """Why a kind of request fails, for how many seconds it has failed in this process, and the remedy."""

    reason: str
    message: str
    failing_seconds: float
    remedy: Remedy = Remedy.WAIT


class PollHistory(Struct, frozen=True):
    """The polls of a source since this process started.

    `seconds_without_success` is the number of seconds since the last successful poll, or since the start if there was
    none. `is_failing` means that the last answered poll failed. `blocked_task` is the task that an internal error has
    blocked for the longest time, `blocked_seconds` for how many seconds.
    """

    seconds_without_success: float
    any_succeeded: bool
    is_failing: bool = False
    blocked_task: str | None = None
    blocked_seconds: float = 0.0


class Observations(Struct):
    """Observations of this process about the detection of changes in one source; moments are monotonic seconds.

    Searches have ended at their page limit since `gave_up_searching_at`. The list has not been sorted since
    `unsorted_since`. Each is None if that is not so now. `has_incomplete_pages` means that the last sweep could not get
    every page complete. `is_budget_exhausted` means that for most of the last minutes the request budget was used up
    and requests had to wait (those of sweeps and for names do not count). `used_by` is how many requests of each
    purpose have used the budget in the last minute.
    """

    gave_up_searching_at: float | None = None
    unsorted_since: float | None = None
    has_incomplete_pages: bool = False
    is_budget_exhausted: bool = False
    used_by: Mapping[str, int] = field(default_factory=dict)
    contradicted: Sequence[SecondLook] = field(default_factory=tuple)
    waiting: Sequence[SecondLook] = field(default_factory=tuple)
    _busy: deque[tuple[float, bool]] = field(default_factory=deque)

    def note_budget(self, usage: Usage, *, searching: bool, now: float, seconds: float) -> None:
        """Record whether requests wait because the budget is used up, now and during most of the last `seconds`.

        If only few requests a minute are allowed, each request waits for its turn; that alone does not count.
        """
        is_busy = (usage.longest_wait_seconds > 0 or searching) and usage.used >= usage.allowed * _NEARLY_ALL
        self._busy.append((now, is_busy))
        while self._busy[-1][0] - self._busy[0][0] > seconds:
            self._busy.popleft()
        lasted = now - self._busy[0][0] >= seconds * _NEARLY_ALL
        self.is_budget_exhausted = lasted and 2 * sum(busy for _, busy in self._busy) > len(self._busy)
        self.used_by = {label: used for label, used in usage.by.items() if used}

    def with_looks(self, contradicted: Sequence[SecondLook], waiting: Sequence[SecondLook]) -> "Observations":
        """Return these observations with the second looks replaced by the current ones."""
        return replace(self, contradicted=contradicted, waiting=waiting)


class SourceReport(Struct, frozen=True):
    """The state of one source at one moment, for the rules of its conditions.

    `troubles` are the kinds of requests that fail, `untried` those not sent since this process started.
    """

    memory: SourceMemory
    settings: SourceSettings
    patience: Patience
    polls: PollHistory
    seen: Observations
    troubles: Mapping[RequestCategory, RequestFailure] = field(default_factory=dict)
    untried: frozenset[RequestCategory] = frozenset()
