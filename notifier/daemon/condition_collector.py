"""Collects the current conditions (problems) from all parts of the daemon."""

import asyncio
from collections.abc import Callable, Collection

from msgspec import Struct

from notifier.alerts import daemon_rules, destination_rules, disk_rules
from notifier.alerts.conditions import Condition, ConditionKey
from notifier.alerts.evaluation import Evaluation, EvaluationFindings
from notifier.alerts.withdrawals import withdrawal_reasons
from notifier.clock import Clock
from notifier.daemon.descriptors import descriptors_in_use
from notifier.daemon.heartbeat import Heartbeat
from notifier.daemon.maintenance import Housekeeping
from notifier.daemon.sources import SourceRegistry
from notifier.delivery.dispatcher import Dispatcher
from notifier.http.peer_clocks import PeerClocks
from notifier.store.queries.orphans import Orphan, orphans
from notifier.store.recovery import compare
from notifier.store.store import Store
from notifier.store.tables import destinations, starts


class DaemonState(Struct, frozen=True):
    """The values of the `Daemon` object from which conditions are derived."""

    started_ms: int
    """The start of the daemon (Unix ms)."""
    destinations: tuple[str, ...]
    """The names of the configured destinations."""
    interface_problem: str | None
    """Why the HTTP interface does not listen; None if it listens."""
    configuration_problem: str | None
    """Why the last reload failed; None if it succeeded."""
    heartbeat: Heartbeat | None
    evaluation: Evaluation | None


class ConditionCollector:
    """Asks each part of the daemon for its conditions."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        sources: SourceRegistry,
        dispatcher: Dispatcher,
        housekeeping: Housekeeping,
        peer_clocks: PeerClocks,
        state: Callable[[], DaemonState],
    ) -> None:
        self._store = store
        self._clock = clock
        self._sources = sources
        self._dispatcher = dispatcher
        self._housekeeping = housekeeping
        self._peer_clocks = peer_clocks
        self._daemon_state = state

    async def collect(self, firing: Collection[ConditionKey]) -> EvaluationFindings:
        """Return the current conditions; `firing` are the conditions of the last evaluation. Raises StoreError."""
        state = self._daemon_state()
        reports = await self._dispatcher.destination_reports(destination_rules.FAILING_FOR_SECONDS)
        since_ms = self._clock.now_ms() - round(daemon_rules.RESTARTS_WITHIN_SECONDS * 1000)
        unclean_runs = await self._store.run(starts.count_unclean, since_ms, state.started_ms)
        heartbeat = state.heartbeat
        of_sources, unknown_of_sources = self._sources.conditions(firing)
        conditions = [
            *of_sources,
            *await self._rebuild_conditions(firing),
            *destination_rules.orphan_conditions(await self.orphans()),
            *daemon_rules.clock_conditions(self._peer_clocks, firing),
            *[
                condition
                for name, report in reports.items()
                for condition in destination_rules.conditions(name, report, firing)
            ],
            *daemon_rules.essentials_conditions(self._housekeeping.snapshot_failure()),
            *await self._disk_conditions(firing),
            *daemon_rules.restart_conditions(unclean_runs),
            *daemon_rules.interface_conditions(state.interface_problem),
            *await self._descriptor_conditions(firing),
            *daemon_rules.configuration_conditions(state.configuration_problem),
            *(
                ()
                if heartbeat is None
                else daemon_rules.heartbeat_conditions(heartbeat.problem, heartbeat.failing_seconds)
            ),
            *daemon_rules.alert_conditions(
                state.evaluation, has_heartbeat=heartbeat is not None and heartbeat.is_configured
            ),
        ]
        waiting = await self._store.run(destinations.count_waiting, {it.partition("/")[2] for _, it in firing})
        serving = {name: report.serving.health for name, report in reports.items()}
        unknown = daemon_rules.unknown_conditions(
            state.evaluation,
            self._peer_clocks,
            essentials_unwritten=self._housekeeping.lacks_first_snapshot,
            heartbeat_untried=heartbeat is not None and heartbeat.is_untried,
        )
        return EvaluationFindings(
            conditions,
            withdrawal_reasons(firing, conditions, self._sources.names(), serving, waiting),
            frozenset((*unknown, *unknown_of_sources)),
        )

    async def orphans(self) -> list[Orphan]:
        """Return the destinations that are no longer configured but have waiting deliveries. Raises StoreError."""
        return await self._store.run(orphans, self._daemon_state().destinations)

    async def _rebuild_conditions(self, firing: Collection[ConditionKey]) -> list[Condition]:
        rebuild = await self._store.run(compare.latest_comparison)
        found = list(daemon_rules.rebuild_conditions(rebuild, self._sources.memories(), firing))
        if rebuild is not None and not found:
            await self._store.run(compare.end_comparison, self._clock.now_ms())
        return found

    async def _disk_conditions(self, firing: Collection[ConditionKey]) -> list[Condition]:
        if self._store.path is None:
            return []
        return list(disk_rules.conditions(await disk_rules.measure_free_space(self._store.path), firing))

    async def _descriptor_conditions(self, firing: Collection[ConditionKey]) -> list[Condition]:
        found = await asyncio.to_thread(descriptors_in_use)
        return [] if found is None else list(daemon_rules.descriptor_conditions(found.used, found.limit, firing))
