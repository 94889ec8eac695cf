"""The rules for the daemon's own conditions: its clock, state file, starts and alarms. Pure functions."""

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

MOST_RESTARTS = 3
"""So many starts within RESTARTS_WITHIN_SECONDS, each after a run that was killed or crashed, are a condition."""

RESTARTS_WITHIN_SECONDS = 3600.0
"""Seconds within which MOST_RESTARTS starts after killed or crashed runs are a condition."""

HEARTBEAT_PATIENCE_SECONDS = 900.0
"""Seconds for which the heartbeat may fail before a notice is sent."""

OFF_SECONDS = 120.0
"""Seconds of clock offset at which the condition begins: receivers refuse signatures that are five minutes off
(Standard Webhooks), and some refuse them sooner.
"""

RIGHT_SECONDS = 60.0
"""Seconds of clock offset below which the condition ends."""

_FEW_DESCRIPTORS = 0.8
"""The share of the file descriptors in use at which the condition begins."""

_ENOUGH_DESCRIPTORS = 0.6
"""The share of the file descriptors in use below which the condition ends."""


def of_rebuild(found: Comparison | None, watched: Collection[SourceMemory]) -> Iterator[Condition]:
    """Yield `state_rebuilt` or `state_behind` until every source has finished a sweep since the rebuild.

    By then all records are known again. `found` is None if the state file was not rebuilt.
    """
    if found is None or all((source.swept_at_ms or 0) > found.at_ms for source in watched):
        return
    if found.kind is RebuildKind.BEHIND:
        name = ConditionName.STATE_BEHIND
        said = (
            "the state file was older than the files beside it (a restored backup, a copy, a lost write-ahead log):"
            f" at {iso_utc(found.at_ms)} the missing data was added: {found.lost}"
        )
    else:
        name = ConditionName.STATE_REBUILT
        if found.set_aside is None:
            old = "nothing of it could be kept"
        else:
            old = f"the damaged file is kept as {found.set_aside}; delete it when it is no longer needed"
        lost = "nothing was lost" if found.lost == "nothing" else f"these parts could not be read: {found.lost}"
        said = (
            f"the state file was damaged ({found.problem}) and was rebuilt at {iso_utc(found.at_ms)}; {lost}; {old};"
            " check the disk"
        )
    since = (
        "" if found.since_ms is None else f", but updates and removals since {iso_utc(found.since_ms)} may be missing"
    )
    yield Condition(name, STORE, f"{said}. Events keep their ids{since}. This ends when every source has been swept")


def of_clock(peers: PeerClocks, firing: Collection[ConditionKey]) -> Iterator[Condition]:
    """Yield `clock_off` if this machine's clock is off; `firing` holds the conditions that were firing before."""
    offset = peers.offset()
    stands = (ConditionName.CLOCK_OFF, CLOCK) in firing
    if offset is not None and abs(offset) >= (RIGHT_SECONDS if stands else OFF_SECONDS):
        yield Condition(ConditionName.CLOCK_OFF, CLOCK, _of_offset(offset, peers.heard))


def of_essentials(failure: str | None) -> Iterator[Condition]:
    """Yield `essentials_not_kept` if the essentials file could not be written for long; `failure` is the reason."""
    if failure is not None:
        yield Condition(
            ConditionName.ESSENTIALS_NOT_KEPT,
            STORE,
            f"{failure}. If the state file is lost now, waiting events and the ids of events sent since then are"
            " lost with it",
        )


def of_starts(cut_off: int) -> Iterator[Condition]:
    """Yield `restarting` if at least MOST_RESTARTS recent runs were killed or crashed; `cut_off` is their number."""
    if cut_off >= MOST_RESTARTS:
        yield Condition(
            ConditionName.RESTARTING,
            PROCESS,
            f"the daemon was started {cut_off} times within an hour without having been stopped: it was killed or"
            " crashed each time. Nothing is lost, but deliveries are late",
            remedy="`journalctl -u notifier -p warning` shows why each run ended",
        )


def of_configuration(problem: str | None) -> Iterator[Condition]:
    """Yield `configuration_broken` if the last reload failed; `problem` is the reason, None if it did not fail."""
    if problem is not None:
        yield Condition(
            ConditionName.CONFIGURATION_BROKEN,
            CONFIGURATION,
            f"{problem}. The daemon keeps the previous configuration, but its next start would fail",
            remedy="correct the file and run `notifier reload`",
        )


def of_heartbeat(problem: str | None, failing_for: float) -> Iterator[Condition]:
    """Yield `heartbeat_failing` while the heartbeat fails; `problem` is the reason, None if it does not fail."""
    if problem is not None:
        yield Condition(
            ConditionName.HEARTBEAT_FAILING,
            HEARTBEAT,
            f"the heartbeat fails ({problem}), so it would not be noticed if the daemon stopped",
            remedy=(
                "check `[alerts] heartbeat_url`: only an answer of 200 to 299 counts, and redirects are not followed"
            ),
            begins_after=HEARTBEAT_PATIENCE_SECONDS,
            lived=failing_for,
        )


def of_alerts(evaluation: Evaluation | None) -> Iterator[Condition]:
    """Yield `alerts_undelivered` if an alarm has waited too long for the destination of notices, or was refused there.

    One refusal is enough, because there may be only one alarm in a month.
    """
    if evaluation is None or evaluation.undelivered is None:
        return
    destination, refused = evaluation.listener, evaluation.refused
    if refused or evaluation.is_silenced:
        who = f"{destination}, which refuses them ({refused})" if refused else destination
        beats = (
            "has stopped until they can be delivered"
            if evaluation.is_silenced
            else "will stop if they cannot be delivered within 15 minutes"
        )
        yield Condition(
            ConditionName.ALERTS_UNDELIVERED,
            ALERTS,
            f"alerts cannot be delivered to {who}, so no one is told about these conditions; the heartbeat {beats}",
            remedy=f"`notifier test {destination}` shows its answer; correct it, or set another `[alerts] destination`",
        )


def of_interface(problem: str | None) -> Iterator[Condition]:
    """Yield `interface_down` if the HTTP interface cannot listen on its address; `problem` is the reason or None."""
    if problem is not None:
        yield Condition(
            ConditionName.INTERFACE_DOWN,
            INTERFACE,
            f"{problem}. Polls, deliveries and commands work, but the dashboard, the feed and the metrics cannot be"
            " reached there. The daemon tries again every ten seconds",
            remedy="`ss -ltnp` shows which program uses the port",
        )


def of_descriptors(used: int, most: int | None, firing: Collection[ConditionKey]) -> Iterator[Condition]:
    """Yield `descriptors_low` if most file descriptors are in use; `firing` holds the conditions that were firing."""
    stands = (ConditionName.DESCRIPTORS_LOW, PROCESS) in firing
    if most is not None and used >= most * (_ENOUGH_DESCRIPTORS if stands else _FEW_DESCRIPTORS):
        yield Condition(
            ConditionName.DESCRIPTORS_LOW,
            PROCESS,
            f"more than {_ENOUGH_DESCRIPTORS * 100:.0f} percent of the {most:,} file descriptors that the process"
            " may have are in use; if none is left, polls and deliveries fail",
            remedy="raise `LimitNOFILE=` of the service (`systemctl edit notifier`), or `ulimit -n`",
        )


def _of_offset(offset: float, peers: int) -> str:
    """Return a sentence that says how far the clock is off, and what to do."""
    whose = "its peer's clock" if peers == 1 else f"the clocks of {peers} peers"
    return (
        f"this machine's clock is {_span(abs(offset))} {'behind' if offset > 0 else 'ahead of'} {whose}: receivers"
        " may refuse signatures because of it, and times in events are wrong; set the clock (`timedatectl set-ntp"
        " true`)"
    )


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
