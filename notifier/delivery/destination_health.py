"""Updates the health of one destination and the learned limits of its receiver.

The rules are in `health` and `policy/decisions`. Each change of the health is reported, and then stored.
"""

from collections.abc import Callable
from math import inf

from msgspec.structs import replace

from notifier.clock import Clock
from notifier.delivery import health
from notifier.delivery.clocks import TryingClock
from notifier.delivery.policy import decisions
from notifier.delivery.policy.batching import BatchSize
from notifier.delivery.policy.circuit_breaker import Breaker, BreakerMode
from notifier.delivery.policy.decisions import Attempt, AttemptDecisions, Bounds, ReceiverState
from notifier.delivery.policy.rate import AdaptiveRate, after_start
from notifier.destinations.outcome import FailureScope, Outcome
from notifier.store.tables.destinations import Health, HealthState, LastError, LearnedLimits, StartingState

OnChange = Callable[[Health, LastError | None, LearnedLimits | None], None]
"""Called with a new health. The last error and the learned limits are None if they have not changed."""


class DestinationHealth:
    """The health of one destination that has a worker."""

    def __init__(
        self,
        name: str,
        bounds: Bounds,
        clock: Clock,
        jitter: Callable[[], float],
        trying: TryingClock,
        on_change: OnChange,
    ) -> None:
        """Initialise with the destination's name and limits; `jitter` returns random numbers in [0, 1).

        `trying` measures for how long delivery has been possible. It runs while the destination is enabled.
        """
        self._name = name
        self._bounds = bounds
        self._clock = clock
        self._jitter = jitter
        self._trying = trying
        self._on_change = on_change
        self._learned = LearnedLimits()
        self.current = Health()
        """The destination's health now."""
        self.state = ReceiverState()
        """What is known about the receiver."""

    @property
    def is_enabled(self) -> bool:
        """Whether deliveries may be attempted."""
        return self.current.state is not HealthState.DISABLED

    @property
    def learned(self) -> LearnedLimits:
        """The receiver's limits, as learned from its answers."""
        return decisions.learned_limits(self.state, self._bounds)

    def waits_until_ms(self) -> int | None:
        """Return when the destination's retry wait ends (Unix ms); None if it does not wait."""
        wait = self.state.breaker.wait_until - self._clock.monotonic()
        return self._clock.now_ms() + round(wait * 1000) if wait > 0 else None

    def restore(self, recalled: StartingState) -> None:
        """Start with the health and the limits that the last run stored."""
        self._load(recalled)
        self._trying.restore(recalled.trying_ms, is_running=self.is_enabled)

    def reset(self, recalled: StartingState) -> None:
        """Replace health and limits by those in `recalled`, because the address or the credentials have changed."""
        self._load(recalled)
        self._trying.restart_seconds_running()

    def _load(self, recalled: StartingState) -> None:
        now = self._clock.monotonic()
        self.current, self._learned = recalled.health, recalled.learned
        rate = min(self._bounds.rate, recalled.learned.rate or inf)
        self.state = ReceiverState(
            rate=AdaptiveRate(per_second=rate, measured_since=now, next_at=now),
            breaker=health.restored_breaker(
                recalled.health, self._bounds.wait_limits, now=now, now_ms=self._clock.now_ms()
            ),
            size=BatchSize(limit=recalled.learned.batch_limit),
        )

    def note_request_start(self, at: float) -> None:
        """Note that a request starts at `at` (monotonic seconds), for the learned rate."""
        rate = after_start(self.state.rate, at)
        if rate is not self.state.rate:
            self.state = replace(self.state, rate=rate)

    def apply_outcome(self, attempt: Attempt, outcome: Outcome, *, trying_ms: int, now: float) -> AttemptDecisions:
        """Update the health after an attempt, and return what follows from `outcome`; `now` is in monotonic seconds."""
        before = self.state.breaker
        result = decisions.after_attempt(
            self.state, attempt, outcome, self._bounds, trying_ms=trying_ms, now=now, jitter=self._jitter
        )
        self.state = result.state
        self._update(before, outcome, now)
        return result

    def _update(self, before: Breaker, outcome: Outcome, now: float) -> None:
        breaker = self.state.breaker
        is_well = self.current.state is HealthState.OK and breaker.mode is BreakerMode.CLOSED
        if is_well and outcome.scope is FailureScope.NONE:
            return
        now_ms = self._clock.now_ms()
        after, error = health.after_attempt(self.current, before, breaker, outcome, now=now, now_ms=now_ms)
        if after == self.current and error is None:
            return
        state_changed = after.state is not self.current.state
        self._set(after, error)
        self._trying.set_running(is_running=self.is_enabled)
        if state_changed:
            health.log_new_state(self._name, after, outcome)

    def apply_sample(self, outcome: Outcome) -> bool:
        """Mark a failing destination as working if it accepted a sample event; return whether it was marked."""
        if outcome.scope is not FailureScope.NONE or self.current.state is not HealthState.RETRYING:
            return False
        self.state = decisions.after_sample(self.state, self._clock.monotonic())
        self._set(Health(since_ms=self._clock.now_ms()))
        health.log_new_state(self._name, self.current, outcome)
        return True

    def apply_switch(self, after: Health) -> None:
        """Set the health to `after`, because an operator has enabled or disabled the destination."""
        self._set(after)
        self.state = decisions.after_sample(self.state, -inf)
        self._trying.set_running(is_running=self.is_enabled)
        health.log_switch(self._name, enabled=self.is_enabled)

    def end_wait(self) -> None:
        """End the destination's retry wait, if there is one."""
        self.state = decisions.without_wait(self.state, self._bounds)
        if (after := health.without_wait(self.current)) != self.current:
            self._set(after)

    def follow_clock(self, by_ms: int) -> None:
        """Shift the wall-clock times in the health by `by_ms`, after the system clock was set."""
        self._set(health.shifted(self.current, by_ms))

    def _set(self, after: Health, error: LastError | None = None) -> None:
        self.current = after
        learned = self.learned
        self._on_change(after, error, learned if learned != self._learned else None)
        self._learned = learned
