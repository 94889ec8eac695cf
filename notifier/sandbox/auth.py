"""The tokens and the rate limit of the simulated API, which decide whether a request is allowed."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from notifier.sandbox.errors import ErrorIdentifier, SandboxError


class Token(Struct, frozen=True):
    """A token of the customer; `methods` are the names of the methods that it may call (None: all methods)."""

    value: str
    active: bool = True
    account_active: bool = True
    methods: frozenset[str] | None = None


class RateLimit(Struct, frozen=True):
    """The rate limit: after more than `requests` within `window` seconds, every request fails for `penalty` seconds.

    The defaults are the limits in the KPA Flex API documentation (API tokens, rate limit).
    """

    requests: int = 80
    window: float = 60.0
    penalty: float = 60.0


class RequestLimiter:
    """Applies the rate limit to the requests of all tokens together; `clock` returns monotonic seconds."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._request_times: deque[float] = deque()
        self._blocked_until = clock()

    def count_request(self) -> None:
        """Count a request. Raises SandboxError if the rate limit is exceeded."""
        now = self._clock()
        if now < self._blocked_until:
            raise _rate_limit_error()
        while self._request_times and self._request_times[0] <= now - self._limit.window:
            self._request_times.popleft()
        if len(self._request_times) >= self._limit.requests:
            self._blocked_until = now + self._limit.penalty
            raise _rate_limit_error()
        self._request_times.append(now)


def _rate_limit_error() -> SandboxError:
    """Return the error for an exceeded rate limit. As in the documented example, it has no description."""
    return SandboxError(ErrorIdentifier.RATE_LIMIT_EXCEEDED)


def find_token(tokens: Mapping[str, Token], request: Mapping[str, Any]) -> Token:
    """Return the token of a request. Raises SandboxError if the request has no token, or an unknown one."""
    value = request.get("token")
    if value is None or value == "":
        raise SandboxError(ErrorIdentifier.TOKEN_MISSING, "The request has no token.")
    if not isinstance(value, str) or value not in tokens:
        raise SandboxError(ErrorIdentifier.TOKEN_INVALID, f"The token `{value}` was not found.")
    return tokens[value]


def authorize(token: Token, method: str) -> None:
    """Raise SandboxError if a token or its account is not active, or if the token may not call a method."""
    if not token.active:
        raise SandboxError(ErrorIdentifier.TOKEN_INACTIVE, "The token has been deactivated.")
    if not token.account_active:
        raise SandboxError(ErrorIdentifier.ACCOUNT_INACTIVE, "The token's account is not active.")
    if token.methods is not None and method not in token.methods:
        raise SandboxError(ErrorIdentifier.TOKEN_PERMISSION, f"The token has no permission for `{method}`.")
