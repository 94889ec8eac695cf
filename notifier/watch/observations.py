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


class Question(StrEnum):
    """The kinds of requests to the API; each can fail independently."""

    HEAD = "head"
    COUNT = "count"
    SEARCH = "search"
    SCAN = "scan"
    NAMES = "names"


class Trouble(Struct, frozen=True):
    """Why a kind of request fails, for how many seconds it has failed in this process, and the remedy."""

    reason: str
    message: str
    lasts: float
    remedy: Remedy = Remedy.WAIT


class Polls(Struct, frozen=True):
    """The polls of a source since this process started.

    `without_success` is the number of seconds since the last successful poll, or since the start if there was none.
    `is_failing` means that the last answered poll failed. `faulty` is the task that an internal error has blocked for
    the longest time, `faulty_for` for how many seconds.
    """

    without_success: float
    any_succeeded: bool
    is_failing: bool = False
    faulty: str | None = None
    faulty_for: float = 0.0


class Observations(Struct):
    """Observations of this process about the detection of changes in one source; moments are monotonic seconds.

    Searches have ended at their page limit since `search_gave_up`. The list has not been sorted since
    `unsearchable_since`. Each is None if that is not so now. `broken_pages` means that the last sweep could not get
    every page complete. `exhausted` means that for most of the last minutes the request budget was used up and requests
    had to wait (those of sweeps and for names do not count). `used_by` is how many requests of each purpose have used
    the budget in the last minute.
    """

    search_gave_up: float | None = None
    unsearchable_since: float | None = None
    broken_pages: bool = False
    exhausted: bool = False
    used_by: Mapping[str, int] = field(default_factory=dict)
    disagreeing: Sequence[SecondLook] = field(default_factory=tuple)
    waiting: Sequence[SecondLook] = field(default_factory=tuple)
    _busy: deque[tuple[float, bool]] = field(default_factory=deque)

    def note_budget(self, usage: Usage, *, searching: bool, now: float, seconds: float) -> None:
        """Record whether requests wait because the budget is used up, now and during most of the last `seconds`.

        If only few requests a minute are allowed, each request waits for its turn; that alone does not count.
        """
        is_busy = (usage.starved_for > 0 or searching) and usage.used >= usage.allowed * _NEARLY_ALL
        self._busy.append((now, is_busy))
        while self._busy[-1][0] - self._busy[0][0] > seconds:
            self._busy.popleft()
        lasted = now - self._busy[0][0] >= seconds * _NEARLY_ALL
        self.exhausted = lasted and 2 * sum(busy for _, busy in self._busy) > len(self._busy)
        self.used_by = {label: used for label, used in usage.by.items() if used}

    def with_looks(self, disagreeing: Sequence[SecondLook], waiting: Sequence[SecondLook]) -> "Observations":
        """Return these observations with the second looks replaced by the current ones."""
        return replace(self, disagreeing=disagreeing, waiting=waiting)


class SourceReport(Struct, frozen=True):
    """The state of one source at one moment, for the rules of its conditions.

    `troubles` are the kinds of requests that fail, `untried` those not sent since this process started.
    """

    memory: SourceMemory
    settings: SourceSettings
    patience: Patience
    polls: Polls
    seen: Observations
    troubles: Mapping[Question, Trouble] = field(default_factory=dict)
    untried: frozenset[Question] = frozenset()
