"""The heartbeat: fetches the URL of a dead man's switch after each successful scheduled poll of any source.

If the fetches stop, the switch raises an alarm. Therefore the daemon does not fetch the URL while alerts cannot be
delivered, or while conditions are not checked.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Final

import aiohttp
from pydantic import SecretStr

from notifier import __version__
from notifier.clock import Clock
from notifier.http.exchange import proxy_options, request_url
from notifier.http.proxy import proxy_of
from notifier.http.transport_errors import EXCHANGE_ERRORS, TransportError, as_transport_error, raise_if_proxy_refused

_log = logging.getLogger(__name__)

_HEADERS: Final = {"User-Agent": f"completion-notifier/{__version__}"}

TIMEOUT_SECONDS = 10.0
"""The time limit of one fetch, in seconds."""


class Heartbeat:
    """Fetches the heartbeat URL in the background; does nothing if no URL is configured."""

    def __init__(self, url: SecretStr, session: aiohttp.ClientSession, clock: Clock) -> None:
        """Initialise with the URL, which is secret and may be empty."""
        self._url = url
        self._session = session
        self._fetching: asyncio.Task[None] | None = None
        self._clock = clock
        self._problem: str | None = None
        self._failing_since = 0.0
        self._is_tried = False

    @property
    def is_configured(self) -> bool:
        """Whether a URL is configured."""
        return bool(self._url.get_secret_value())

    @property
    def is_untried(self) -> bool:
        """Whether a URL is configured but has not been fetched yet."""
        return self.is_configured and not self._is_tried

    @property
    def problem(self) -> str | None:
        """Why the last fetch failed; None if it succeeded or if there was no fetch."""
        return self._problem

    @property
    def failing_seconds(self) -> float:
        """The number of seconds since fetches began to fail; 0.0 if the last fetch succeeded."""
        return 0.0 if self._problem is None else self._clock.monotonic() - self._failing_since

    def set_url(self, url: SecretStr) -> None:
        """Replace the URL; an empty URL stops the heartbeat."""
        if self._fetching is not None:
            # Its result would be taken for a result of the new URL, and would stay if the new URL is empty.
            self._fetching.cancel()
        self._url = url
        self._problem = None
        self._is_tried = False

    def after_sleep(self, slept: float) -> None:
        """Subtract the time for which the machine slept (`slept` seconds) from the time since fetches began to fail."""
        self._failing_since += slept

    def beat(self) -> None:
        """Start to fetch the URL in the background, unless an earlier fetch is still under way."""
        if self._url.get_secret_value() and (self._fetching is None or self._fetching.done()):
            self._fetching = asyncio.create_task(self._fetch(), name="heartbeat")

    async def stop(self) -> None:
        """Cancel a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def _fetch(self) -> None:
        limits = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        proxy = proxy_of(self._url.get_secret_value())
        try:
            address, credentials = request_url(self._url.get_secret_value())
            proxy_request = proxy_options(proxy, address, _HEADERS)
            async with self._session.get(
                address,
                headers={**_HEADERS, **credentials, **proxy_request.headers},
                timeout=limits,
                allow_redirects=False,
                **proxy_request.options,
            ) as response:
                raise_if_proxy_refused(response.status, address, proxy)
                problem = (
                    None
                    if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES
                    else f"HTTP status {response.status}"
                )
        except TransportError as error:
            problem = error.message
        except EXCHANGE_ERRORS as error:
            problem = as_transport_error(error, TIMEOUT_SECONDS, proxy).message
        if problem and self._problem is None:
            _log.warning("the heartbeat fails", extra={"detail": problem})
            self._failing_since = self._clock.monotonic()
        elif self._problem is not None and not problem:
            _log.warning("the heartbeat works again")
        self._problem = problem
        self._is_tried = True
