"""The health of a destination, and how it changes: by an attempt, by an operator, or when the clock is set."""

import logging
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct, field
from msgspec.structs import replace

from notifier.delivery.policy.circuit_breaker import Breaker, BreakerMode, WaitLimits, probe_count
from notifier.destinations.outcome import LONGEST_WAIT_SECONDS, AttemptResult, FailureScope, Outcome, failure_scope
from notifier.store.database import Database
from notifier.store.tables import destinations
from notifier.store.tables.destinations import (
    BY_OPERATOR,
    DueEvents,
    Health,
    HealthState,
    LastError,
    LearnedLimits,
    UndeliveredGroup,
)

_log = logging.getLogger(__name__)
_SHOWN_WITH_STATUS = (
    AttemptResult.REFUSED,
    AttemptResult.SERVER_ERROR,
    AttemptResult.GONE,
    AttemptResult.WEBHOOK_REVOKED,
)


class DestinationState(StrEnum):
    """How a destination is doing, as shown to people."""

    OK = "ok"
    UNTRIED = "untried"
    """Nothing has been sent to it yet, so it is not known whether it works."""
    RETRYING = "retrying"
    DISABLED = "disabled"
    IDLE = "idle"
    """It was failing, and no delivery is left to retry. The next event will show whether it works again."""
    DRAINING = "draining"
    """Its settings are being changed, and requests under way may still finish."""


def state_to_show(
    health: Health, pending: int, *, is_draining: bool = False, was_tried: bool = True
) -> DestinationState:
    """Return the state to show for a destination with `pending` waiting deliveries. Pure."""
    if health.state is HealthState.RETRYING and not pending:
        return DestinationState.IDLE
    if is_draining and health.state is not HealthState.DISABLED:
        return DestinationState.DRAINING
    if health == Health() and not was_tried:
        return DestinationState.UNTRIED
    return DestinationState(health.state)


def after_switch(before: Health, *, enabled: bool, now_ms: int) -> Health | None:
    """Return the health after an operator enabled or disabled a destination; None if that changes nothing. Pure."""
    if enabled == (before.state is not HealthState.DISABLED):
        return None
    return Health() if enabled else Health(HealthState.DISABLED, BY_OPERATOR, now_ms)


def set_enabled_without_worker(db: Database, name: str, *, enabled: bool, now_ms: int) -> tuple[Health, bool]:
    """Enable or disable a destination without a worker; return its new health, and whether a retry wait was ended."""
    before = destinations.read_or_create(db, name)
    switch = after_switch(before, enabled=enabled, now_ms=now_ms)
    if switch is not None:
        destinations.store_health(db, name, switch)
        return switch, False
    waited = enabled and end_wait_without_worker(db, name, now_ms=now_ms)
    return destinations.read_or_create(db, name), waited


def end_wait_without_worker(db: Database, name: str, *, now_ms: int) -> bool:
    """End the retry wait of a destination that has no worker, so that its next worker tries at once.

    Returns whether the destination was still waiting.
    """
    before = destinations.read_or_create(db, name)
    after = without_wait(before)
    if after != before:
        destinations.store_health(db, name, after)
    return after != before and (before.retry_at_ms or 0) > now_ms


def without_wait(before: Health) -> Health:
    """Return the health without the retry wait if the destination is failing, else return it unchanged. Pure."""
    return replace(before, retry_at_ms=None, asked=False) if before.state is HealthState.RETRYING else before


def shifted(before: Health, by_ms: int) -> Health:
    """Return a health with its wall-clock times shifted by `by_ms` milliseconds. Pure."""
    return replace(
        before,
        since_ms=None if before.since_ms is None else before.since_ms + by_ms,
        retry_at_ms=None if before.retry_at_ms is None else before.retry_at_ms + by_ms,
    )


def after_attempt(
    before: Health, breaker_before: Breaker, breaker: Breaker, outcome: Outcome, *, now: float, now_ms: int
) -> tuple[Health, LastError | None]:
    """Return a destination's health after an attempt, and its new last error (None after a success). Pure."""
    if before.state is HealthState.DISABLED:
        after = before
    elif outcome.scope is FailureScope.PERMANENT:
        after = Health(HealthState.DISABLED, outcome.reason, now_ms)
    elif _parts_in_health(breaker) != _parts_in_health(breaker_before):
        after = _health_from_breaker(before, breaker, outcome, now=now, now_ms=now_ms)
    else:
        after = before
    if outcome.scope is FailureScope.NONE:
        return after, None
    if after.reason == AttemptResult.EVERYTHING_REFUSED and outcome.scope is FailureScope.EVENT:
        detail = f"HTTP {outcome.status}: {outcome.detail}" if outcome.detail else f"HTTP {outcome.status}"
        return after, LastError(AttemptResult.EVERYTHING_REFUSED, detail, now_ms)
    return after, LastError(outcome.reason, _with_status(outcome), now_ms)


def _with_status(outcome: Outcome) -> str:
    """Return the outcome's detail. If the result is in _SHOWN_WITH_STATUS, the text begins with the HTTP status."""
    if outcome.status is None or outcome.reason not in _SHOWN_WITH_STATUS:
        return outcome.detail
    return f"HTTP {outcome.status}: {outcome.detail}" if outcome.detail else f"HTTP {outcome.status}"


def _parts_in_health(breaker: Breaker) -> tuple[object, ...]:
    """Return those values of a breaker that determine the destination's health."""
    return breaker.mode, breaker.scope, breaker.wait_until, breaker.rounds, breaker.is_wait_requested


def _health_from_breaker(before: Health, breaker: Breaker, outcome: Outcome, *, now: float, now_ms: int) -> Health:
    """Return the health after an attempt, made from the breaker's new state. Pure."""
    if breaker.mode is BreakerMode.CLOSED:
        return before if before.state is HealthState.OK else Health(since_ms=now_ms)
    refused = breaker.mode is BreakerMode.OPEN and breaker.scope is FailureScope.EVENT
    return Health(
        HealthState.RETRYING,
        AttemptResult.EVERYTHING_REFUSED if refused else outcome.reason,
        before.since_ms if before.state is HealthState.RETRYING else now_ms,
        breaker.rounds + 1,
        now_ms + round((breaker.wait_until - now) * 1000),
        breaker.is_wait_requested,
    )


def restored_breaker(health: Health, waits: WaitLimits, *, now: float, now_ms: int) -> Breaker:
    """Return an endpoint's breaker, made from the health that the last run stored. Pure.

    A wait above LONGEST_WAIT_SECONDS is dropped, because it shows that the clock was set back.
    """
    if health.state is not HealthState.RETRYING:
        return Breaker()
    reason = next((reason for reason in AttemptResult if reason == health.reason), AttemptResult.SERVER_ERROR)
    scope = FailureScope.EVENT if reason is AttemptResult.EVERYTHING_REFUSED else failure_scope(reason)
    wait = 0.0 if health.retry_at_ms is None else (health.retry_at_ms - now_ms) / 1000
    rounds = max(0, health.failures - 1)
    paced = scope is FailureScope.PACE or health.asked
    return Breaker(
        mode=BreakerMode.PACED if paced else BreakerMode.OPEN,
        scope=scope,
        wait_until=now + wait if 0 < wait <= LONGEST_WAIT_SECONDS else 0.0,
        is_wait_requested=health.asked,
        rounds=rounds,
        probes_left=1 if scope is FailureScope.ENDPOINT else probe_count(rounds, waits),
        wait_started=now,
    )


def log_switch(name: str, *, enabled: bool) -> None:
    """Log that an operator enabled or disabled a destination."""
    _log.info(
        "destination enabled" if enabled else "destination disabled", extra={"destination": name, "reason": BY_OPERATOR}
    )


def log_wait_ended(name: str) -> None:
    """Log that a failing destination is tried now instead of later."""
    _log.info("destination's pause has ended; it is tried now", extra={"destination": name})


def log_new_state(name: str, health: Health, outcome: Outcome) -> None:
    """Log the new state of a destination after an attempt."""
    facts = {"destination": name, "reason": outcome.reason, "status": outcome.status, "detail": outcome.detail}
    match health.state:
        case HealthState.OK:
            _log.warning("destination works again", extra={"destination": name})
        case HealthState.RETRYING if health.asked or failure_scope(outcome.reason) is FailureScope.PACE:
            _log.info("destination asks for a pause; its events wait", extra=facts)
        case HealthState.RETRYING:
            _log.warning("destination fails; its events wait and are tried again", extra=facts)
        case HealthState.DISABLED:
            _log.error("destination disabled by its own answer; its events are kept until it is enabled", extra=facts)


class ServiceSnapshot(Struct, frozen=True):
    """The health, waits and limits of a served destination at one moment."""

    health: Health
    seconds_in_service: float
    """Seconds since the latest of these: the worker started, the destination was enabled, its address or credentials
    changed.
    """
    trying_ms: int
    """The total time spent trying to deliver, in this process and in earlier ones (see `TryingClock`)."""
    waits_until_ms: int | None = None
    """The end of the retry wait (Unix ms); None without a wait."""
    learned: LearnedLimits = field(default_factory=LearnedLimits)
    rate: float = 0.0
    """The configured limit in requests a second; 0 without a limit."""
    is_draining: bool = False
    """The settings have changed, and requests with the old ones may still finish."""


class DestinationReport(Struct, frozen=True):
    """The state of one destination at `now_ms` (Unix ms by the `JumpFreeClock`, like the stored times)."""

    serving: ServiceSnapshot
    undelivered: Sequence[UndeliveredGroup]
    last_error: LastError | None
    due: DueEvents | None
    now_ms: int
