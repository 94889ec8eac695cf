"""How a source is doing, and when it has to be left alone: what all that is asked of it shares."""

import logging
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from notifier.clock import Clock
from notifier.config import SourceSettings
from notifier.kpa.budget import RequestBudget
from notifier.kpa.failures import ApiFailure, Reason, Remedy
from notifier.ledger import sources
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger
from notifier.ledger.sources import SourceError, SourceMemory
from notifier.watch.schedule import OPERATOR_PAUSE, pause_after, silence_left
from notifier.watch.troubles import Polls

_log = logging.getLogger(__name__)

_SOON = 1.0
_UNREADY_INTERVALS = 3


class SourceState(StrEnum):
    """How a source is doing, as `/v1/status` says it."""

    STARTING = "starting"
    OK = "ok"
    FAILING = "failing"
    RATE_LIMITED = "rate_limited"


class SourceHealth:
    """The state of one source: what is remembered of it, how its last requests went, its silences."""

    def __init__(
        self,
        source: str,
        settings: SourceSettings,
        budget: RequestBudget,
        ledger: Ledger,
        clock: Clock,
        on_failure: Callable[[str, str], None],
    ) -> None:
        """Take what the source shares; `on_failure` hears of each failure: the source's name, and the reason."""
        self._source = source
        self._settings = settings
        self._budget = budget
        self._ledger = ledger
        self._clock = clock
        self._memory = SourceMemory()
        self._state = SourceState.STARTING
        self._begun_at = clock.monotonic()
        self._succeeded_at: float | None = None
        self._quiet_until = 0.0
        self._quiet_is_binding = False
        self._on_failure = on_failure

    @property
    def state(self) -> SourceState:
        """How the source is doing."""
        return self._state

    @property
    def memory(self) -> SourceMemory:
        """What is remembered of the source, as far as this process has looked; `refresh` looks again."""
        return self._memory

    async def recall(self) -> None:
        """Take up where the last run stopped, a pause that the API had asked for included. Raises LedgerError."""
        await self.refresh()
        longest = max(self._settings.rate_limit_pause, OPERATOR_PAUSE)
        left = silence_left(self._memory.silent_until_ms, longest, self._clock.now_ms())
        # A restart is what follows a mended configuration: only the rate limit's pause outlives it.
        if left and self._memory.silent_reason == Reason.RATE_LIMIT_EXCEEDED:
            self._budget.silence(left)
            self._state = SourceState.RATE_LIMITED

    async def refresh(self) -> SourceMemory:
        """Look again at what the ledger remembers of the source. Raises LedgerError."""
        self._memory = await self._ledger.run(sources.recall, self._source)
        return self._memory

    def remember(self, memory: SourceMemory) -> None:
        """Take note of what the ledger remembers from now on."""
        self._memory = memory

    def unready(self) -> str | None:
        """Say why this source cannot be relied on now; None when it was polled successfully within three intervals."""
        limit = _UNREADY_INTERVALS * self._settings.poll_interval
        if self._succeeded_at is not None and self._clock.monotonic() - self._succeeded_at <= limit:
            return None
        if self._memory.error is not None and self._state is not SourceState.STARTING:
            return f"{self._memory.error.reason}: {self._memory.error.message}"
        return "not polled successfully yet" if self._succeeded_at is None else "no successful poll for three intervals"

    def wake(self, slept: float) -> None:
        """Let time in which the machine slept count neither as failing nor as working."""
        self._begun_at += slept
        if self._succeeded_at is not None:
            self._succeeded_at += slept

    def polls(self) -> Polls:
        """Return how the polls of this process have gone."""
        succeeded = self._succeeded_at is not None
        since = self._begun_at if self._succeeded_at is None else self._succeeded_at
        return Polls(self._clock.monotonic() - since, any_succeeded=succeeded)

    def quiet_for(self) -> float:
        """Return the seconds during which this source is still left alone."""
        return max(0.0, self._quiet_until - self._clock.monotonic(), self._budget.silent_for())

    def silence(self) -> str | None:
        """Say why no request is due now; None when one may be made."""
        quiet = self.quiet_for()
        return f"left alone for {quiet:.0f} more seconds" if quiet else None

    def binding_silence(self) -> str | None:
        """Say why not even an operator's wish may cause a request now; None when it may."""
        return self.silence() if self._quiet_is_binding or self._budget.silent_for() else None

    async def succeed(self, longest_outage: float) -> None:
        """Take note of a successful round. After more than `longest_outage` seconds without one there is a gap.

        Raises LedgerError.
        """
        # A sweep beside this round may have been told, meanwhile, to be silent.
        silent = self.binding_silence() is not None
        self._memory = await self._ledger.run(
            sources.succeed,
            self._source,
            self._clock.now_ms(),
            ends_silence=not silent,
            longest_outage_ms=round(longest_outage * 1000),
        )
        self._succeeded_at = self._clock.monotonic()
        if silent:
            return
        self._quiet_until = 0.0
        if self._state in (SourceState.FAILING, SourceState.RATE_LIMITED):
            _log.info("source works again", extra={"source": self._source})
        self._state = SourceState.OK

    async def fail(self, failure: ApiFailure) -> None:
        """Take note of a request that failed, and leave the source alone for as long as that calls for."""
        self._on_failure(self._source, failure.reason)
        pause = pause_after(failure, self._settings.rate_limit_pause)
        limited = failure.reason is Reason.RATE_LIMIT_EXCEEDED
        if pause:
            self._stay_quiet(pause, binding=failure.remedy is not Remedy.OPERATOR)
        if not self._is_known(failure.reason):
            level = logging.ERROR if failure.remedy is not Remedy.WAIT else logging.WARNING
            _log.log(level, failure.message, extra={"source": self._source, "reason": failure.reason})
        self._state = SourceState.RATE_LIMITED if limited else SourceState.FAILING
        now_ms = self._clock.now_ms()
        error = SourceError(failure.reason, failure.message, now_ms)
        silent_until_ms = now_ms + round(pause * 1000) if pause else None
        try:
            self._memory = await self._ledger.run(sources.fail, self._source, error, silent_until_ms)
        except LedgerError as trouble:
            self.fail_to_write(trouble)

    def fail_to_write(self, error: LedgerError) -> None:
        """Take note of trouble with the ledger.

        Nothing was written, so nothing is known that was not told: the next round finds it all again.
        """
        self._on_failure(self._source, error.reason)
        if not self._is_known(error.reason):
            _log.error(error.message, extra={"source": self._source, "reason": error.reason})
        self._state = SourceState.FAILING
        self._memory = replace(self._memory, error=SourceError(error.reason, error.message, self._clock.now_ms()))
        self._stay_quiet(_SOON, binding=False)

    def _is_known(self, reason: str) -> bool:
        """Tell whether this trouble goes on and has been logged."""
        troubled = self._state in (SourceState.FAILING, SourceState.RATE_LIMITED)
        return troubled and self._memory.error is not None and self._memory.error.reason == reason

    def _stay_quiet(self, seconds: float, *, binding: bool) -> None:
        """Leave the source alone for so long; a longer pause that is on already goes on."""
        until = self._clock.monotonic() + seconds
        if until >= self._quiet_until:
            self._quiet_until = until
            self._quiet_is_binding = binding
