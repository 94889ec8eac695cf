"""Reads the configuration again while this process stands by, for the time when it takes over."""

import asyncio
import logging
from typing import TYPE_CHECKING

from notifier.daemon.configuration import (
    RunningConfiguration,
    changes_between,
    reload_document,
    store_left_to_restart,
    with_store_of,
)
from notifier.daemon.configuration_reader import ConfigurationReader, ReadingError
from notifier.daemon.socket_path import WRONG_CONFIGURATION
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.web.daemon_api import ActionResult

if TYPE_CHECKING:
    from notifier.web.response_models.status import ReloadDocument, ReloadFailedDocument

_log = logging.getLogger(__name__)


class StandbyReloader:
    """Replaces the settings of a process that stands by, one reload at a time."""

    def __init__(self, configuration: RunningConfiguration, manager: SystemdNotifier) -> None:
        """Initialize with the configuration, and the connection to systemd."""
        self._configuration = configuration
        self._manager = manager
        self._reader = ConfigurationReader(configuration.source)
        self._turn = asyncio.Lock()

    async def reload(self) -> "ActionResult[ReloadDocument | ReloadFailedDocument]":
        """Read the configuration and use it, except for another store; report an invalid one and change nothing."""
        async with self._turn:
            with self._manager.told_of_reload():
                return await self._reload()

    async def _reload(self) -> "ActionResult[ReloadDocument | ReloadFailedDocument]":
        configuration = self._configuration
        try:
            read = await self._reader.read()
        except ReadingError as error:
            configuration.problem = str(error)
            _log.error("the configuration could not be read again", extra={"detail": str(error)})
            return ActionResult(ok=False, body={"reason": WRONG_CONFIGURATION, "message": str(error)})
        left = store_left_to_restart(configuration.opened_with, read)
        settings = with_store_of(configuration.opened_with, read)
        document = reload_document(
            changes_between(configuration.settings, settings), left, configuration.source.handed_over or (), {}
        )
        configuration.source.followed(settings)
        configuration.settings, configuration.problem = settings, None
        _log.info("the configuration was read again", extra={"left_to_restart": ", ".join(left)})
        said = "this process stands by, and uses the new configuration when it takes over"
        return ActionResult(ok=True, body={**document, "message": said})
