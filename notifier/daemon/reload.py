"""Reads the configuration again and applies its changes to the running daemon."""

import asyncio
import logging
from typing import TYPE_CHECKING

from notifier.alerts import destination_rules
from notifier.alerts.monitor import AlertMonitor
from notifier.alerts.unwritable import UnwritableStore
from notifier.config import Settings
from notifier.daemon.api.deliveries import DeliveryOperations
from notifier.daemon.condition_collector import ConditionCollector
from notifier.daemon.configuration import (
    NO_CHANGES,
    Changes,
    RunningConfiguration,
    changes_between,
    keys_pending_restart,
    reload_document,
)
from notifier.daemon.configuration_reader import ConfigurationReader, ConfigurationReadError
from notifier.daemon.heartbeat import Heartbeat
from notifier.daemon.socket_path import WRONG_CONFIGURATION
from notifier.daemon.sources import SourceRegistry
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.delivery.dispatcher import Dispatcher
from notifier.delivery.subscriptions import subscriptions_of
from notifier.store.errors import StoreError
from notifier.web.daemon_api import ActionResult
from notifier.web.metrics.counters import Counters

if TYPE_CHECKING:
    import aiohttp

    from notifier.web.response_models.status import ReloadDocument, ReloadFailedDocument

_log = logging.getLogger(__name__)

DRAIN_SECONDS = 3.0
"""Seconds that a destination's unfinished requests may still take when the destination or the daemon stops.

The daemon must stop within five seconds in total.
"""


class Reloader:
    """Reads the configuration again and applies it; only one reload runs at a time."""

    def __init__(
        self,
        configuration: RunningConfiguration,
        sources: SourceRegistry,
        dispatcher: Dispatcher,
        deliveries: DeliveryOperations,
        counts: Counters,
        alert_monitor: AlertMonitor,
        unwritable: UnwritableStore,
        conditions: ConditionCollector,
        manager: SystemdNotifier,
    ) -> None:
        """Initialise with the parts that a reload changes, and with the connection to systemd (`manager`)."""
        self._configuration = configuration
        self._sources = sources
        self._dispatcher = dispatcher
        self._deliveries = deliveries
        self._counts = counts
        self._alert_monitor = alert_monitor
        self._unwritable = unwritable
        self._conditions = conditions
        self._manager = manager
        self._reload_lock = asyncio.Lock()
        self._reader = ConfigurationReader(configuration.reload_hooks)
        self._unfinished = NO_CHANGES
        """The changes that an error of the store interrupted. The next reload makes them again, or takes them back."""
        self.apply_lock = asyncio.Lock()
        """Held while a new configuration is applied, when some parts of the daemon are being replaced.

        It is not held while the configuration is read, because reading can take long.
        """

    async def reload(
        self, session: "aiohttp.ClientSession", heartbeat: Heartbeat
    ) -> "ActionResult[ReloadDocument | ReloadFailedDocument]":
        """Read the configuration again and apply it. If it is invalid, change nothing, and return the error."""
        # The lock lets the next reload begin only after systemd was notified of the end of this reload.
        async with self._reload_lock:
            with self._manager.reloading():
                result = await self._read_and_apply(session, heartbeat)
        # An event that was written under the old filters may have woken only the destinations of the new filters.
        # Therefore all destinations are woken here.
        self._dispatcher.wake()
        return result

    async def _read_and_apply(
        self, session: "aiohttp.ClientSession", heartbeat: Heartbeat
    ) -> "ActionResult[ReloadDocument | ReloadFailedDocument]":
        hooks = self._configuration.reload_hooks
        try:
            settings = await self._reader.read()
            async with self.apply_lock:
                changes = changes_between(self._configuration.settings, settings, self._unfinished)
                self._unfinished = changes
                await self._apply(settings, changes, session, heartbeat)
                self._unfinished = NO_CHANGES
                unmatched = await self._deliveries.count_unmatched(changes.destinations.changed)
        except ConfigurationReadError as error:
            reason: str = WRONG_CONFIGURATION
            message = str(error)
        except StoreError as error:
            reason = error.reason
            message = f"the new configuration was applied only in part; reload again: {error.message}"
        else:
            pending_keys = keys_pending_restart(self._configuration.settings_at_start, settings)
            self._configuration.reload_problem = None
            _log.info("the configuration was read again", extra={"left_to_restart": ", ".join(pending_keys)})
            document = reload_document(changes, pending_keys, hooks.credential_keys or (), unmatched)
            return ActionResult(ok=True, body=document)
        self._configuration.reload_problem = message
        async with self.apply_lock:
            await self._alert_monitor.evaluate()
        _log.error("the configuration could not be read again", extra={"detail": message})
        return ActionResult(ok=False, body={"reason": reason, "message": message})

    async def _apply(
        self, settings: Settings, changes: Changes, session: "aiohttp.ClientSession", heartbeat: Heartbeat
    ) -> None:
        """Apply new settings to the running daemon. Raises StoreError."""
        configuration, before = self._configuration, self._configuration.settings
        # A source or destination needs its counters from before its start until after its stop.
        destination_changes = changes.destinations
        self._counts.keep_only(
            {*settings.sources, *changes.sources.removed}, {*settings.destinations, *destination_changes.removed}
        )
        # New events must not go to a removed destination while it stops, nor to a new one before it exists. One that an
        # earlier reload has added before it failed exists already, and keeps getting events.
        existing = {it.destination for it in configuration.subscriptions}
        new = {*destination_changes.added} - existing
        kept = {name: wanted for name, wanted in settings.destinations.items() if name not in new}
        configuration.subscriptions = subscriptions_of(kept)
        await self._dispatcher.apply_settings(
            settings.destinations,
            session,
            changed=destination_changes.added_and_changed,
            removed=destination_changes.removed,
            grace=DRAIN_SECONDS,
        )
        configuration.subscriptions = subscriptions_of(settings.destinations)
        await self._sources.apply_settings(settings, session, changes.sources)
        if settings.alerts.heartbeat_url != before.alerts.heartbeat_url:
            heartbeat.set_url(settings.alerts.heartbeat_url)
        self._counts.keep_only(settings.sources, settings.destinations)
        self._alert_monitor.set_alert_destination(settings.alerts.destination)
        self._unwritable.set_alert_destination(settings.alerts.destination)
        await self._alert_monitor.evaluate()
        configuration.reload_hooks.on_applied(settings)
        configuration.settings = settings
        destination_rules.report_orphans(await self._conditions.orphans())
