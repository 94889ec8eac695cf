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
from notifier.watch.limits import DetectionLimits

_NEARLY_ALL = 0.75


class RequestCategory(StrEnum):
    """The categories of requests to the API; each can fail independently."""

    HEAD = "head"
    COUNT = "count"
    SEARCH = "search"
    SCAN = "scan"
    NAMES = "names"


class RequestFailure(Struct, frozen=True):
    """The failure of a category of requests: its reason and remedy, and for how many seconds it has lasted.

    The time before the start of this process is not counted.
    """

    reason: str
    message: str
    failing_seconds: float
    remedy: Remedy = Remedy.WAIT


class PollHistory(Struct, frozen=True):
    """The polls of a source since this process started."""

    seconds_without_success: float
    """Seconds since the last successful poll, or since the start if there was none."""
    any_succeeded: bool
    is_failing: bool = False
    """Whether a poll has failed, or the rate limit was exceeded, since the last success."""
    blocked_task: str | None = None
    """The task that internal errors have blocked for the longest time; None if no task is blocked.

    It has been blocked for `blocked_seconds`.
    """
    blocked_seconds: float = 0.0


class Observations(Struct):
    """Observations of this process about the detection of changes in one source; moments in monotonic seconds."""

    gave_up_searching_at: float | None = None
    """When a search first gave up at its limit; None again after a sweep, or after a search that finds the cause."""
    unsorted_since: float | None = None
    """When the list was first found unsorted; None while it counts as sorted."""
    has_incomplete_pages: bool = False
    """Whether the last sweep could not get every page complete."""
    is_budget_exhausted: bool = False
    """Whether the request budget was used up for most of the last minutes (see `note_budget`)."""
    is_budget_known: bool = False
    """Whether the budget was observed for long enough to know whether it is exhausted."""
    has_read_list: bool = False
    """Whether a sweep or a search has ended."""
    used_by: Mapping[str, int] = field(default_factory=dict)
    """The number of requests in the last minute, by purpose."""
    contradicted: Sequence[SecondLook] = field(default_factory=tuple)
    """The changes that several later answers have contradicted."""
    waiting: Sequence[SecondLook] = field(default_factory=tuple)
    """The changes that wait for confirmation by a second look."""
    _busy: deque[tuple[float, bool]] = field(default_factory=deque)

    def note_budget(self, usage: Usage, *, searching: bool, now: float, seconds: float) -> None:
        """Record the present use of the request budget; update `is_budget_exhausted`, which covers the last `seconds`.

        The budget counts as used up if most of the allowed requests were sent and, in addition, a request waits or a
        search runs. A waiting request of a sweep, or for names, is ignored.
        """
        # Waiting alone proves nothing: with few requests a minute, each one waits for its turn.
        is_busy = (usage.longest_wait_seconds > 0 or searching) and usage.used >= usage.allowed * _NEARLY_ALL
        self._busy.append((now, is_busy))
        while self._busy[-1][0] - self._busy[0][0] > seconds:
            self._busy.popleft()
        self.is_budget_known = now - self._busy[0][0] >= seconds * _NEARLY_ALL
        self.is_budget_exhausted = self.is_budget_known and 2 * sum(busy for _, busy in self._busy) > len(self._busy)
        self.used_by = {label: used for label, used in usage.by.items() if used}

    def with_looks(self, contradicted: Sequence[SecondLook], waiting: Sequence[SecondLook]) -> "Observations":
        """Return a copy of these observations with the given second looks."""
        return replace(self, contradicted=contradicted, waiting=waiting)


class SourceReport(Struct, frozen=True):
    """The state of one source at one moment, from which the alert rules derive its conditions.

    `request_failures` has the categories of requests that fail. `untried` has the categories in which this process has
    not sent a request yet.
    """

    memory: SourceMemory
    settings: SourceSettings
    limits: DetectionLimits
    polls: PollHistory
    seen: Observations
    request_failures: Mapping[RequestCategory, RequestFailure] = field(default_factory=dict)
    untried: frozenset[RequestCategory] = frozenset()
