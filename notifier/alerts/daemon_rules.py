"""The rules for the daemon's own conditions: its clock, state file, starts and alerts. Pure functions."""

from collections.abc import Collection, Iterator

from notifier.alerts.conditions import (
    ALERTS,
    CLOCK,
    CONFIGURATION,
    HEARTBEAT,
    INTERFACE,
    PROCESS,
    STORE,
    Condition,
    ConditionKey,
    ConditionName,
)
from notifier.alerts.evaluation import Evaluation
from notifier.clock import iso_utc
from notifier.http.peer_clocks import PeerClocks
from notifier.store.recovery.compare import Comparison, RebuildKind
from notifier.store.tables.sources import SourceMemory
from notifier.wording.sentences import Sentence

MAX_RESTARTS = 3
"""The number of killed or crashed runs within RESTARTS_WITHIN_SECONDS at which `restarting` is reported."""

RESTARTS_WITHIN_SECONDS = 3600.0
"""The period in which killed or crashed runs are counted."""

HEARTBEAT_FAILING_SECONDS = 900.0
"""How long the heartbeat may fail before an alert is sent."""

CLOCK_OFF_SECONDS = 120.0
"""The clock offset at which `clock_off` begins. Receivers refuse signatures whose time is five minutes off (Standard
Webhooks). Some receivers allow less, so this limit is lower.
"""

CLOCK_RIGHT_SECONDS = 60.0
"""The clock offset below which `clock_off` ends."""

_BEGIN_SHARE_IN_USE = 0.8
"""The share of used file descriptors at which `descriptors_low` begins."""

_END_SHARE_IN_USE = 0.6
"""The share of used file descriptors below which `descriptors_low` ends."""


def rebuild_conditions(
    found: Comparison | None, sources: Collection[SourceMemory], firing: Collection[ConditionKey]
) -> Iterator[Condition]:
    """After a rebuild of the state file, yield a condition until every source has finished a sweep.

    Until then, some records may still be unknown. `found` describes the rebuild; None means that there was none.
    `found.kind` decides between `state_behind` and `state_rebuilt`.

    All sweeps may finish before the first evaluation. So that the condition is reported even then, it is yielded until
    its key is in `firing`.
    """
    if found is None:
        return
    name = ConditionName.STATE_BEHIND if found.kind is RebuildKind.BEHIND else ConditionName.STATE_REBUILT
    if (name, STORE) in firing and all((source.swept_at_ms or 0) > found.at_ms for source in sources):
        return
    if found.kind is RebuildKind.BEHIND:
        what = Sentence("state_behind.added", at=iso_utc(found.at_ms), parts=str(found.lost))
    else:
        if found.set_aside is None:
            old = Sentence("state_rebuilt.nothing_kept")
        else:
            old = Sentence("state_rebuilt.kept", file=found.set_aside)
        lost = (
            Sentence("state_rebuilt.nothing_lost")
            if found.lost == "nothing"
            else Sentence("state_rebuilt.lost", parts=str(found.lost))
        )
        what = Sentence("state_rebuilt.rebuilt", problem=found.problem, at=iso_utc(found.at_ms), lost=lost, old=old)
    if found.since_ms is None:
        yield Condition(name, STORE, Sentence("state_rebuilt.ids", what=what))
    else:
        yield Condition(name, STORE, Sentence("state_rebuilt.ids_since", what=what, since=iso_utc(found.since_ms)))


def clock_conditions(peers: PeerClocks, firing: Collection[ConditionKey]) -> Iterator[Condition]:
    """Yield `clock_off` if this machine's clock is wrong. `firing` has the keys of the conditions that fire already."""
    offset = peers.offset_seconds()
    is_firing = (ConditionName.CLOCK_OFF, CLOCK) in firing
    if offset is not None and abs(offset) >= (CLOCK_RIGHT_SECONDS if is_firing else CLOCK_OFF_SECONDS):
        yield Condition(ConditionName.CLOCK_OFF, CLOCK, _offset_sentence(offset, peers.peer_count))


def essentials_conditions(failure: str | None) -> Iterator[Condition]:
    """Yield `essentials_not_kept` if `failure`, the reason why the essentials cannot be written, is not None."""
    if failure is not None:
        yield Condition(
            ConditionName.ESSENTIALS_NOT_KEPT,
            STORE,
            Sentence("essentials_not_kept.why", why=failure),
        )


def restart_conditions(unclean_runs: int) -> Iterator[Condition]:
    """Yield `restarting` if `unclean_runs`, the number of recent killed or crashed runs, is too high."""
    if unclean_runs >= MAX_RESTARTS:
        yield Condition(
            ConditionName.RESTARTING,
            PROCESS,
            Sentence("restarting.starts", count=unclean_runs),
            remedy=Sentence("restarting.journal"),
        )


def configuration_conditions(problem: str | None) -> Iterator[Condition]:
    """Yield `configuration_broken` if `problem`, the reason why the last reload failed, is not None."""
    if problem is not None:
        yield Condition(
            ConditionName.CONFIGURATION_BROKEN,
            CONFIGURATION,
            Sentence("configuration_broken.why", why=problem),
            remedy=Sentence("configuration_broken.correct"),
        )


def heartbeat_conditions(problem: str | None, failing_seconds: float) -> Iterator[Condition]:
    """Yield `heartbeat_failing` if `problem`, the reason why the heartbeat fails, is not None."""
    if problem is not None:
        yield Condition(
            ConditionName.HEARTBEAT_FAILING,
            HEARTBEAT,
            Sentence("heartbeat_failing.why", why=problem),
            remedy=Sentence("heartbeat_failing.check"),
            begins_after_seconds=HEARTBEAT_FAILING_SECONDS,
            seen_seconds=failing_seconds,
        )


def alert_conditions(evaluation: Evaluation | None, *, has_heartbeat: bool) -> Iterator[Condition]:
    """Yield `alerts_undelivered` if an alert has waited for too long or was refused by its destination.

    One refusal is enough, because the next alert may be sent weeks later. `has_heartbeat` is true if a heartbeat URL is
    configured.
    """
    if evaluation is None or evaluation.undelivered_seconds is None:
        return
    destination, refused = evaluation.alerts_to, evaluation.refusal_reason
    if refused or evaluation.is_alert_overdue:
        who = Sentence("alerts_undelivered.refuses", name=destination, reason=refused) if refused else destination
        text = "no_heartbeat" if not has_heartbeat else "stopped" if evaluation.is_alert_overdue else "will_stop"
        yield Condition(
            ConditionName.ALERTS_UNDELIVERED,
            ALERTS,
            Sentence(f"alerts_undelivered.{text}", who=who),
            remedy=Sentence("alerts_undelivered.test", name=destination),
        )


def interface_conditions(problem: str | None) -> Iterator[Condition]:
    """Yield `interface_down` if `problem`, the reason why the HTTP interface cannot listen, is not None."""
    if problem is not None:
        yield Condition(
            ConditionName.INTERFACE_DOWN,
            INTERFACE,
            Sentence("interface_down.why", why=problem),
            remedy=Sentence("interface_down.port"),
        )


def descriptor_conditions(used: int, limit: int | None, firing: Collection[ConditionKey]) -> Iterator[Condition]:
    """Yield `descriptors_low` if `used` is a large share of the `limit` of file descriptors (None: no limit).

    `firing` has the keys of the conditions that fire already.
    """
    is_firing = (ConditionName.DESCRIPTORS_LOW, PROCESS) in firing
    if limit is not None and used >= limit * (_END_SHARE_IN_USE if is_firing else _BEGIN_SHARE_IN_USE):
        yield Condition(
            ConditionName.DESCRIPTORS_LOW,
            PROCESS,
            Sentence("descriptors_low.used", percent=round(_END_SHARE_IN_USE * 100), most=limit),
            remedy=Sentence("descriptors_low.raise"),
        )


def unknown_conditions(
    evaluation: Evaluation | None, peers: PeerClocks, *, essentials_unwritten: bool, heartbeat_untried: bool
) -> Iterator[ConditionKey]:
    """Yield the keys of the conditions that this process cannot judge yet, usually because it has just started.

    `evaluation` is the last evaluation, or None before the first one. `essentials_unwritten` is true if this process
    has not written the essentials yet. `heartbeat_untried` is true if this process has not requested the configured
    heartbeat URL yet.
    """
    if evaluation is None:
        # The HTTP interface is started after the first evaluation.
        yield ConditionName.INTERFACE_DOWN, INTERFACE
        yield ConditionName.ALERTS_UNDELIVERED, ALERTS
    if peers.offset_seconds() is None:
        yield ConditionName.CLOCK_OFF, CLOCK
    if essentials_unwritten:
        yield ConditionName.ESSENTIALS_NOT_KEPT, STORE
    if heartbeat_untried:
        yield ConditionName.HEARTBEAT_FAILING, HEARTBEAT


def _offset_sentence(offset: float, peers: int) -> Sentence:
    """Return a sentence about the offset of the clock; `peers` is the number of servers whose clocks were compared."""
    way = "behind" if offset > 0 else "ahead_of"
    if peers == 1:
        return Sentence(f"clock_off.{way}_peer", span=_duration_sentence(abs(offset)))
    return Sentence(f"clock_off.{way}_peers", span=_duration_sentence(abs(offset)), peers=peers)


def _duration_sentence(seconds: float) -> Sentence:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return Sentence(f"clock_off.{unit}", count=round(seconds / length))
    return Sentence("clock_off.seconds", count=round(seconds))
