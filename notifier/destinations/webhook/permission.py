"""CloudEvents' validation of webhooks: asks a receiver whether this sender may send events, and how often.

The sender asks with OPTIONS and `WebHook-Request-Origin`. The receiver answers with `WebHook-Allowed-Origin` and
`WebHook-Allowed-Rate` (CloudEvents, "HTTP 1.1 Web Hooks for Event Delivery" 1.0.2, section 4). Later permission through
a callback address is not supported.
"""

import asyncio
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from msgspec import Struct

from notifier.clock import Clock
from notifier.destinations.endpoint import Endpoint
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.token_bucket import TokenBucket

VALID_SECONDS: Final = 86_400.0
"""Seconds after which the receiver is asked for permission again."""

_SECONDS_A_MINUTE: Final = 60
_ANY: Final = "*"


class Permission(Struct, frozen=True):
    """A receiver's permission to send. `requests_per_minute` is at least 1; None means no limit."""

    requests_per_minute: int | None


def parse_permission(status: int, headers: Mapping[str, str], origin: str) -> Permission | None:
    """Return the permission that an answer gives to `origin`; None if it gives none.

    A rate that is missing or not a number means no limit; a rate of 0 means no permission. `headers` should be a
    case-insensitive mapping.
    """
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    allowed = {part.strip().lower() for part in headers.get("WebHook-Allowed-Origin", "").split(",")}
    if not allowed & {_ANY, origin.lower()}:
        return None
    rate = headers.get("WebHook-Allowed-Rate", _ANY).strip()
    if not (rate.isascii() and rate.isdecimal()):
        return Permission(None)
    return Permission(int(rate)) if int(rate) else None


class PermissionGate:
    """Asks a receiver for permission before the first request and then once a day, and enforces the allowed rate."""

    def __init__(self, endpoint: Endpoint, origin: str, rate: float, clock: Clock) -> None:
        """Initialise with the sender's name (`origin`) and the configured `rate` in requests a second (0: no limit)."""
        self._endpoint = endpoint
        self._origin = origin
        self._rate = rate
        self._clock = clock
        self._lock = asyncio.Lock()
        self._ask_again_at: float | None = None
        self._bucket = TokenBucket(0.0)

    async def acquire(self) -> Outcome | None:
        """If a request may be sent now, count it and return None. Otherwise return an outcome that says why not."""
        async with self._lock:
            now = self._clock.monotonic()
            if self._ask_again_at is None or now >= self._ask_again_at:
                refused = await self._ask_permission()
                if refused is not None:
                    return refused
                self._ask_again_at = now + VALID_SECONDS
            wait = self._bucket.seconds_to_wait(self._clock.monotonic())
            if wait > 0:
                detail = f"the receiver allows {self._bucket.rate * _SECONDS_A_MINUTE:g} requests a minute"
                return Outcome(AttemptResult.THROTTLED, retry_after=wait, detail=detail)
            self._bucket.spend()
            return None

    async def _ask_permission(self) -> Outcome | None:
        headers = {"WebHook-Request-Origin": self._origin}
        if self._rate:
            headers["WebHook-Request-Rate"] = str(math.ceil(self._rate * _SECONDS_A_MINUTE))
        answer = await self._endpoint.send_options(headers)
        if isinstance(answer, Outcome):
            return answer
        given = parse_permission(answer.status, answer.headers, self._origin)
        if given is None:
            return Outcome(
                AttemptResult.ORIGIN_REFUSED,
                answer.status,
                detail=self._endpoint.redact(
                    f"the receiver does not allow the origin {self._origin}: it answered OPTIONS with status"
                    f" {answer.status} and without a WebHook-Allowed-Origin for it"
                ),
            )
        if given.requests_per_minute is not None:
            self._bucket.rate = given.requests_per_minute / _SECONDS_A_MINUTE
        else:
            self._bucket.rate = 0.0
        return None
