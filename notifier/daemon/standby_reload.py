"""Reloads the configuration of a process that stands by."""

import asyncio
import logging
from typing import TYPE_CHECKING

from notifier.daemon.configuration import (
    RunningConfiguration,
    changes_between,
    reload_document,
    store_keys_pending_restart,
    with_store_location_of,
)
from notifier.daemon.configuration_reader import ConfigurationReader, ConfigurationReadError
from notifier.daemon.socket_path import WRONG_CONFIGURATION
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.web.daemon_api import ActionResult

if TYPE_CHECKING:
    from notifier.web.response_models.status import ReloadDocument, ReloadFailedDocument

_log = logging.getLogger(__name__)


class StandbyReloader:
    """Replaces the settings of a process that stands by; only one reload runs at a time."""

    def __init__(self, configuration: RunningConfiguration, manager: SystemdNotifier) -> None:
        """Initialise with the configuration and with the connection to systemd (`manager`)."""
        self._configuration = configuration
        self._manager = manager
        self._reader = ConfigurationReader(configuration.reload_hooks)
        self._reload_lock = asyncio.Lock()

    async def reload(self) -> "ActionResult[ReloadDocument | ReloadFailedDocument]":
        """Read the configuration again and use it, but keep the location of the store.

        If the configuration is invalid, change nothing, and return the error.
        """
        async with self._reload_lock:
            with self._manager.reloading():
                return await self._reload()

    async def _reload(self) -> "ActionResult[ReloadDocument | ReloadFailedDocument]":
        configuration = self._configuration
        try:
            read = await self._reader.read()
        except ConfigurationReadError as error:
            configuration.reload_problem = str(error)
            _log.error("the configuration could not be read again", extra={"detail": str(error)})
            return ActionResult(ok=False, body={"reason": WRONG_CONFIGURATION, "message": str(error)})
        pending_keys = store_keys_pending_restart(configuration.settings_at_start, read)
        settings = with_store_location_of(configuration.settings_at_start, read)
        document = reload_document(
            changes_between(configuration.settings, settings),
            pending_keys,
            configuration.reload_hooks.credential_keys or (),
            {},
        )
        configuration.reload_hooks.on_applied(settings)
        configuration.settings, configuration.reload_problem = settings, None
        _log.info("the configuration was read again", extra={"left_to_restart": ", ".join(pending_keys)})
        message = "this process stands by, and uses the new configuration when it takes over"
        return ActionResult(ok=True, body={**document, "message": message})
