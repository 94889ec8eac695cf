"""How a destination as a whole is doing, where no attempt decides it: switched by an operator, moved with the clock."""

import logging
from dataclasses import dataclass, replace

from sqlite_utils import Database

from notifier.deliver.outcome import Outcome
from notifier.ledger import destinations, outbox
from notifier.ledger.destinations import BY_OPERATOR, Health, HealthState

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Switch:
    """What enabling or disabling makes of a destination, and for how many milliseconds its events grew no older."""

    health: Health
    parked_ms: int = 0


def switched(before: Health, *, enabled: bool, now_ms: int) -> Switch | None:
    """Decide what enabling or disabling does; None when it is as wanted already. Pure."""
    if enabled == (before.state is not HealthState.DISABLED):
        return None
    if enabled:
        return Switch(Health(), max(0, now_ms - (before.since_ms or now_ms)))
    return Switch(Health(HealthState.DISABLED, BY_OPERATOR, now_ms))


def write_switch(db: Database, name: str, switch: Switch) -> None:
    """Write down that a destination is enabled or disabled; what waits for it is kept either way."""
    destinations.remember(db, name, switch.health)
    outbox.stop_give_up_clock(db, name, switch.parked_ms)


def switch_unserved(db: Database, name: str, *, enabled: bool, now_ms: int) -> Health:
    """Enable or disable a destination that no worker serves, and return its health."""
    before = destinations.recall(db, name)
    switch = switched(before, enabled=enabled, now_ms=now_ms)
    if switch is None:
        return before
    write_switch(db, name, switch)
    return switch.health


def tried_at_once(before: Health) -> Health:
    """Let a destination in trouble wait no longer before it is tried again. Pure."""
    return replace(before, retry_at_ms=None) if before.state is HealthState.RETRYING else before


def moved(before: Health, by_ms: int) -> Health:
    """Move what is remembered in wall-clock time by as much as the clock was set. Pure."""
    return replace(
        before,
        since_ms=None if before.since_ms is None else before.since_ms + by_ms,
        retry_at_ms=None if before.retry_at_ms is None else before.retry_at_ms + by_ms,
    )


def report_switch(name: str, *, enabled: bool) -> None:
    """Log what the operator did."""
    _log.info(
        "destination enabled" if enabled else "destination disabled", extra={"destination": name, "reason": BY_OPERATOR}
    )


def report(name: str, health: Health, outcome: Outcome) -> None:
    """Log the state that an attempt has brought a destination into."""
    facts = {"destination": name, "reason": outcome.reason, "status": outcome.status, "detail": outcome.detail}
    match health.state:
        case HealthState.OK:
            _log.info("destination works again", extra={"destination": name})
        case HealthState.RETRYING:
            _log.warning("destination fails; its events wait and are tried again", extra=facts)
        case HealthState.DISABLED:
            _log.error("destination disabled by its own answer; its events are kept until it is enabled", extra=facts)
