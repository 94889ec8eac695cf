"""A dead man's switch: fetched after every successful round, so that somebody else notices when rounds stop."""

import asyncio
import logging

import aiohttp
from pydantic import SecretStr

from notifier.transport import as_transport_error

_log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds that one fetch may take."""


class Heartbeat:
    """Fetches a URL now and then; with no URL, does nothing."""

    def __init__(self, url: SecretStr, session: aiohttp.ClientSession) -> None:
        """Take the URL, which is a secret, and may be empty."""
        self._url = url
        self._session = session
        self._beating: asyncio.Task[None] | None = None
        self._failing = False

    def fetch_from(self, url: SecretStr) -> None:
        """Fetch another URL from now on."""
        self._url = url
        self._failing = False

    def beat(self) -> None:
        """Fetch the URL, without waiting for it, unless the last fetch is still under way."""
        if self._url.get_secret_value() and (self._beating is None or self._beating.done()):
            self._beating = asyncio.create_task(self._fetch(), name="heartbeat")

    async def stop(self) -> None:
        """End a fetch under way."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])

    async def _fetch(self) -> None:
        limits = aiohttp.ClientTimeout(total=TIMEOUT)
        try:
            async with self._session.get(
                self._url.get_secret_value(), timeout=limits, allow_redirects=False
            ) as response:
                problem = None if response.ok else f"HTTP status {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            problem = as_transport_error(error, TIMEOUT).message
        if problem and not self._failing:
            _log.warning("the heartbeat does not get through", extra={"detail": problem})
        elif self._failing and not problem:
            _log.info("the heartbeat gets through again")
        self._failing = problem is not None
