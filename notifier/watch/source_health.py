"""The health of one source, and the silences in which it gets no requests; shared by all of its tasks."""

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial

from msgspec.structs import replace

from notifier.clock import Clock
from notifier.config import SourceSettings
from notifier.kpa.errors import ApiError, ApiErrorReason, Remedy
from notifier.kpa.rate_limiter import RateLimiter
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.tables import sources
from notifier.store.tables.names import NameList
from notifier.store.tables.sources import RoundSuccess, SourceError, SourceMemory
from notifier.watch.limits import DetectionLimits
from notifier.watch.observations import PollHistory, RequestCategory, RequestFailure
from notifier.watch.timing import pause_after, silence_left

_log = logging.getLogger(__name__)

FAULT = "program_fault"
"""The reason that is recorded for an internal error of the notifier."""

_STORE_RETRY_SECONDS = 1.0
_STORED_EVERY_MS = 30_000
_UNREADY_INTERVALS = 3


class SourceState(StrEnum):
    """The state of a source, as `/v1/status` shows it."""

    STARTING = "starting"
    OK = "ok"
    FAILING = "failing"
    RATE_LIMITED = "rate_limited"


class SourceHealth:
    """The health of one source: its stored state, the results of its last requests, and its silences."""

    def __init__(
        self,
        source: str,
        settings: SourceSettings,
        budget: RateLimiter,
        store: Store,
        clock: Clock,
        limits: DetectionLimits,
        on_failure: Callable[[str, str], None],
    ) -> None:
        """Initialise with shared objects; `on_failure` gets the source's name and the reason of each failure."""
        self._source = source
        self._settings = settings
        self._budget = budget
        self._store = store
        self._clock = clock
        self._limits = limits
        self._memory = SourceMemory()
        self._stored_success_ms: int | None = None
        self._state = SourceState.STARTING
        self._begun_at = clock.monotonic()
        self._succeeded_at: float | None = None
        self._silent_until = 0.0
        self._silence_is_binding = False
        self._faults: dict[str, float] = {}
        self._on_failure = on_failure
        self._request_failures: dict[RequestCategory, tuple[RequestFailure, float]] = {}
        self._sent_categories: set[RequestCategory] = set()

    @property
    def state(self) -> SourceState:
        """The current state of the source."""
        return SourceState.FAILING if self._faults and self._state is SourceState.OK else self._state

    @property
    def is_answering(self) -> bool:
        """Whether the API responds, even if an internal error of the notifier prevents the use of the response."""
        return self._state is SourceState.OK

    @property
    def memory(self) -> SourceMemory:
        """The source's stored state, cached here. The cached last success may be newer than the stored one."""
        return self._memory

    async def recall(self) -> None:
        """Load the state of the previous run. A pause that a rate limit caused is continued. Raises StoreError."""
        await self.refresh()
        longest = max(self._settings.rate_limit_pause, self._limits.operator_pause_seconds)
        left = silence_left(self._memory.silent_until_ms, longest, self._clock.now_ms())
        # A restart usually follows a corrected configuration, so only the pause of a rate limit is kept.
        if left and self._memory.silent_reason == ApiErrorReason.RATE_LIMIT_EXCEEDED:
            self._budget.silence(left)
            self._state = SourceState.RATE_LIMITED

    async def refresh(self) -> SourceMemory:
        """Read the source's state from the store again, and return it. Raises StoreError."""
        self.remember(await self._store.run(sources.read_or_create, self._source))
        return self._memory

    def remember(self, memory: SourceMemory) -> None:
        """Replace the cached state of the source with the stored one.

        If the cached last success is not stored yet, that success is kept.
        """
        if memory.last_success_ms == self._stored_success_ms != self._memory.last_success_ms:
            memory = replace(memory, last_success_ms=self._memory.last_success_ms)
        else:
            self._stored_success_ms = memory.last_success_ms
        self._memory = memory

    async def write(self, **values: str | int | None) -> None:
        """Store these values of the source; each name is a field of SourceMemory. Raises StoreError."""
        self.remember(await self._store.run(partial(sources.update, **values), self._source))

    def unready(self) -> str | None:
        """Return why the source is not ready, or None if a poll succeeded within the last three intervals."""
        limit = _UNREADY_INTERVALS * self._settings.poll_interval
        if self._succeeded_at is not None and self._clock.monotonic() - self._succeeded_at <= limit:
            return None
        error = self._memory.error
        is_news = error is not None and error.at_ms > (self._memory.last_success_ms or 0)
        if error is not None and is_news and self._state is not SourceState.STARTING:
            return f"{error.reason}: {error.message}"
        return (
            "not polled successfully yet"
            if self._succeeded_at is None
            else "no successful poll for three intervals; the API has not answered in that time"
        )

    def wake(self, slept: float) -> None:
        """Exclude the `slept` seconds, in which the machine was asleep, from the time without success."""
        self._begun_at += slept
        if self._succeeded_at is not None:
            self._succeeded_at += slept

    def polls(self) -> PollHistory:
        """Return the state of the polls of this process."""
        succeeded = self._succeeded_at is not None
        since = self._begun_at if self._succeeded_at is None else self._succeeded_at
        is_failing = self._state in (SourceState.FAILING, SourceState.RATE_LIMITED)
        now = self._clock.monotonic()
        blocked_task = min(self._faults, key=lambda work: self._faults[work], default=None)
        return PollHistory(
            now - since,
            any_succeeded=succeeded,
            is_failing=is_failing,
            blocked_task=blocked_task,
            blocked_seconds=0.0 if blocked_task is None else now - self._faults[blocked_task],
        )

    def request_failures(self) -> Mapping[RequestCategory, RequestFailure]:
        """Return the categories of requests that fail, with the reasons."""
        now = self._clock.monotonic()
        return {
            category: replace(problem, failing_seconds=now - since)
            for category, (problem, since) in self._request_failures.items()
        }

    def unsent_categories(self) -> frozenset[RequestCategory]:
        """Return the categories of requests that this process has not sent yet."""
        return frozenset(RequestCategory) - self._sent_categories

    def record_answer(self, category: RequestCategory) -> None:
        """Record that a request of this category was answered properly."""
        self._sent_categories.add(category)
        if self._request_failures.pop(category, None) is not None and category is not RequestCategory.HEAD:
            _log.warning("the API answers again", extra={"source": self._source, "asked_for": category})

    def silence_seconds(self) -> float:
        """Return for how many more seconds the source gets no requests."""
        return max(0.0, self._silent_until - self._clock.monotonic(), self._budget.silent_for())

    def silence_reason(self) -> str | None:
        """Return why requests have to wait now; None if they may be sent."""
        quiet = self.silence_seconds()
        return f"no requests are sent for {quiet:.0f} more seconds" if quiet else None

    def binding_silence_reason(self) -> str | None:
        """Return why even an operator's request has to wait; None if it may be sent."""
        return self.silence_reason() if self._silence_is_binding or self._budget.silent_for() else None

    def success_to_store(self, longest_outage_seconds: float) -> RoundSuccess:
        """Return the values to store for a round that succeeds now.

        If the last successful round is more than `longest_outage_seconds` ago, a gap is recorded.
        """
        # A sweep that runs at the same time may have started a silence.
        silent = self.binding_silence_reason() is not None
        now_ms = self._clock.now_ms()
        return RoundSuccess(now_ms, not silent, round(longest_outage_seconds * 1000), self._is_due(now_ms))

    def _is_due(self, now_ms: int) -> bool:
        """Return whether a success at `now_ms` has to be stored at once.

        A success is stored at once if it ends a failure, a silence or an interrupted poll. Any other success is stored
        later, because storing has to wait for the disk. It is stored with the next change that a head poll finds, after
        30 seconds, or when the polls stop. Until then, the stored moment is up to 30 seconds too early. That does
        little harm:

        - After a change of filters, some more records may be announced (`detection/view`).
        - After a comparison with the essentials, some more events may be sent, with the same ids
          (`store/recovery/compare`).
        - A gap may be recorded although the outage was up to 30 seconds too short for one. The next sweep ends the gap.
        """
        memory, stored_ms = self._memory, self._stored_success_ms
        if stored_ms is None or not 0 <= now_ms - stored_ms < _STORED_EVERY_MS:
            return True
        is_news = memory.error is not None and memory.error.at_ms >= stored_ms
        return is_news or memory.silent_until_ms is not None or memory.head_key is not None

    def note_unstored_success(self, success: RoundSuccess) -> None:
        """Note the moment of a success in memory only, because it need not be stored yet."""
        self._memory = replace(self._memory, last_success_ms=success.now_ms)

    async def stop(self) -> None:
        """Store the last success, if it is not stored yet."""
        if self._memory.last_success_ms == self._stored_success_ms:
            return
        try:
            await self.write(last_success_ms=self._memory.last_success_ms)
        except StoreError as error:
            # The failure of the store is reported elsewhere, once for all sources.
            _log.debug(error.message, extra={"source": self._source, "reason": error.reason})

    async def record_success(self, longest_outage_seconds: float) -> None:
        """Store that a round has succeeded, and mark the source as working. Raises StoreError."""
        success = self.success_to_store(longest_outage_seconds)
        stored = partial(
            sources.record_success, ends_silence=success.ends_silence, longest_outage_ms=success.longest_outage_ms
        )
        self.remember(await self._store.run(stored, self._source, success.now_ms))
        self.note_success()

    def note_success(self) -> None:
        """Mark the source as working, after a round whose success was stored or noted."""
        self._succeeded_at = self._clock.monotonic()
        self.record_answer(RequestCategory.HEAD)
        if self.binding_silence_reason() is not None:
            return
        self._silent_until = 0.0
        if self._state in (SourceState.FAILING, SourceState.RATE_LIMITED):
            _log.warning("source works again", extra={"source": self._source})
        self._state = SourceState.OK

    async def record_failure(self, failure: ApiError, category: RequestCategory = RequestCategory.HEAD) -> None:
        """Record a failed request, and pause the requests to the source for as long as the failure requires.

        Only a failed head poll or an exceeded rate limit makes the source itself fail. After any other failure, head
        polls continue. If the whole source is affected, the head polls fail as well.
        """
        self._on_failure(self._source, failure.reason)
        pause = self._pause_after(failure, category)
        now = self._clock.monotonic()
        before = self._request_failures.get(category)
        problem = RequestFailure(failure.reason, failure.message, 0.0, failure.remedy)
        self._request_failures[category] = problem, now if before is None else before[1]
        self._sent_categories.add(category)
        if category is not RequestCategory.HEAD and failure.reason is not ApiErrorReason.RATE_LIMIT_EXCEEDED:
            if pause and failure.remedy is not Remedy.OPERATOR:
                self._extend_silence(pause, binding=True)
            if before is None or before[0].reason != failure.reason:
                facts = {"source": self._source, "reason": failure.reason, "asked_for": category}
                _log.warning(failure.message, extra=facts)
            return
        limited = failure.reason is ApiErrorReason.RATE_LIMIT_EXCEEDED
        if pause:
            self._extend_silence(pause, binding=failure.remedy is not Remedy.OPERATOR)
        if not self._already_fails_for(failure.reason):
            level = logging.ERROR if failure.remedy is not Remedy.WAIT else logging.WARNING
            _log.log(level, failure.message, extra={"source": self._source, "reason": failure.reason})
        self._state = SourceState.RATE_LIMITED if limited else SourceState.FAILING
        now_ms = self._clock.now_ms()
        error = SourceError(failure.reason, failure.message, now_ms)
        silent_until_ms = now_ms + round(pause * 1000) if pause else None
        try:
            self.remember(await self._store.run(sources.record_failure, self._source, error, silent_until_ms))
        except StoreError as error:
            self.record_store_failure(error)

    def _pause_after(self, failure: ApiError, category: RequestCategory) -> float:
        """Return for how many seconds to pause.

        The first failure that only an operator can solve causes no pause (0.0), because it may be temporary.
        """
        pause = pause_after(failure, self._settings.rate_limit_pause, self._limits.operator_pause_seconds)
        before = self._request_failures.get(category)
        is_first = before is None or before[0].remedy is not Remedy.OPERATOR
        return 0.0 if failure.remedy is Remedy.OPERATOR and is_first else pause

    def record_store_failure(self, error: StoreError) -> None:
        """Record a failure of the store. As nothing was written, the next round finds everything again."""
        self._on_failure(self._source, error.reason)
        if not self._already_fails_for(error.reason):
            _log.error(error.message, extra={"source": self._source, "reason": error.reason})
        self._state = SourceState.FAILING
        self._memory = replace(self._memory, error=SourceError(error.reason, error.message, self._clock.now_ms()))
        self._extend_silence(_STORE_RETRY_SECONDS, binding=False)

    async def record_internal_error(self, work: str, error: Exception) -> None:
        """Record an internal error in a task (`work`): log it the first time, and show it in the status."""
        self._on_failure(self._source, FAULT)
        if work not in self._faults:
            self._faults[work] = self._clock.monotonic()
            _log.error(
                "an internal error of the notifier; the source is polled again after a pause",
                extra={"source": self._source, "work": work},
                exc_info=error,
            )
        message = (
            f"an internal error of the notifier in its {work} ({type(error).__name__}), which is tried again after a"
            " pause: please report it with the traceback in the log"
        )
        problem = SourceError(FAULT, message, self._clock.now_ms())
        try:
            self.remember(await self._store.run(sources.record_failure, self._source, problem, None))
        except StoreError as unwritten:
            self.record_store_failure(unwritten)

    async def note_names(self, names: NameList, fault: Exception | None) -> None:
        """Record that fetching a list of names has ended; `fault` is an internal error, or None."""
        work = f"fetching of the names of {names}"
        if fault is None:
            self.clear_internal_error(work)
        else:
            await self.record_internal_error(work, fault)

    def clear_internal_error(self, work: str) -> None:
        """Record that a task (`work`) was done without an internal error."""
        if self._faults.pop(work, None) is not None:
            _log.info(
                "work that had failed with an internal error succeeds again",
                extra={"source": self._source, "work": work},
            )

    def begin_silence(self, seconds: float) -> None:
        """Send no requests for `seconds`, except those of an operator."""
        self._extend_silence(seconds, binding=False)

    def _already_fails_for(self, reason: str) -> bool:
        """Return whether the source already fails for this reason. If so, the reason was logged before."""
        is_failing = self._state in (SourceState.FAILING, SourceState.RATE_LIMITED)
        return is_failing and self._memory.error is not None and self._memory.error.reason == reason

    def _extend_silence(self, seconds: float, *, binding: bool) -> None:
        """Send no requests for `seconds`; if `binding` is True, not even those of an operator.

        If a current pause ends later, that pause stays unchanged.
        """
        until = self._clock.monotonic() + seconds
        if until >= self._silent_until:
            self._silent_until = until
            self._silence_is_binding = binding
