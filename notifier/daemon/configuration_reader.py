"""Reads the configuration for a reload, within a time limit."""

import asyncio
import threading
from typing import Final

from notifier.config import ConfigError, Settings
from notifier.daemon.configuration import ReloadHooks
from notifier.own_thread import run_in_thread

READ_SECONDS: Final = 30.0
"""The time limit of a read, in seconds. A read exceeds the limit if, for example, a file system does not respond."""

MAX_HANGING_READS: Final = 8
"""Maximum number of reads that hang at the same time. Each occupies a thread, because Python cannot end threads."""


class ConfigurationReadError(Exception):
    """The configuration is invalid or could not be read in time. The message says that nothing was changed."""


class ConfigurationReader:
    """Reads the configuration, each time in a new thread."""

    def __init__(self, reload_hooks: ReloadHooks) -> None:
        """Initialise with the functions that read the configuration."""
        self._reload_hooks = reload_hooks
        self._unfinished_reads: list[threading.Event] = []

    async def read(self) -> Settings:
        """Read the configuration from disk and return it. Raises ConfigurationReadError."""
        try:
            return await self._read_in_time()
        except ConfigError as error:
            raise ConfigurationReadError(
                f"the configuration is wrong, and nothing was changed: {error}{self._reload_hooks.credentials_hint()}"
            ) from error

    async def _read_in_time(self) -> Settings:
        self._unfinished_reads = [ended for ended in self._unfinished_reads if not ended.is_set()]
        if len(self._unfinished_reads) >= MAX_HANGING_READS:
            raise _not_read(
                f"{MAX_HANGING_READS} earlier readings have not ended yet; find the file or folder that does not"
                " answer, and restart the daemon"
            )
        ended = threading.Event()

        def read() -> Settings:
            try:
                return self._reload_hooks.read()
            finally:
                ended.set()

        self._unfinished_reads.append(ended)
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await run_in_thread(read, "reload")
        except TimeoutError:
            raise _not_read(
                f"it took longer than {READ_SECONDS:g} seconds; a file or folder of it may be a pipe, or in a file"
                " system that does not answer"
            ) from None
        except RuntimeError as error:
            # No thread could be started.
            ended.set()
            raise _not_read(str(error)) from error


def _not_read(why: str) -> ConfigurationReadError:
    return ConfigurationReadError(f"the configuration could not be read, and nothing was changed: {why}")
