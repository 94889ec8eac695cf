"""The outcome of one attempt. The log, the metrics and the store use the same fixed set of words for its result."""

from collections.abc import Callable
from enum import StrEnum
from http import HTTPStatus
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import asdict

from notifier.http.transport_errors import TransportReason
from notifier.store.tables.request_log import SentRequest

LONGEST_WAIT_SECONDS = 86_400.0
"""The longest wait in seconds before another attempt, whatever a peer asks for."""


class AttemptResult(StrEnum):
    """The result of an attempt: success, or the reason for the failure."""

    DELIVERED = "delivered"

    NAME_NOT_RESOLVED = "name_not_resolved"
    CONNECT_FAILED = "connect_failed"
    PROXY_REFUSED = "proxy_refused"
    CERTIFICATE_REJECTED = "certificate_rejected"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    PROTOCOL_BROKEN = "protocol_broken"

    ACCESS_REFUSED = "access_refused"
    """The broker refuses the login, or the right to write there."""
    TARGET_MISSING = "target_missing"
    """The broker has no such topic, queue or exchange, or no queue would get the message."""

    REQUEST_TIMEOUT = "request_timeout"
    TOO_EARLY = "too_early"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    REDIRECTED = "redirected"
    ANSWER_UNEXPECTED = "answer_unexpected"
    REFUSED = "refused"
    EVERYTHING_REFUSED = "everything_refused"
    """Every event is refused. No single answer says so; the circuit breaker infers it from many."""
    ORIGIN_REFUSED = "origin_refused"
    """The receiver was asked whether this sender may send, and did not allow it."""
    GONE = "gone"

    PAYLOAD_REFUSED = "payload_refused"
    WEBHOOK_REVOKED = "webhook_revoked"

    SERVICE_FAILED = "service_failed"
    """The library that talks to the service reports a failure without its cause."""
    PARTLY_TAKEN = "partly_taken"
    """Some of the receivers behind one address have the message, others still need it."""

    UNSENDABLE = "unsendable"
    """No request could be made from the event, because of an internal error."""


class FailureScope(StrEnum):
    """The cause of a failure, which has to change before the next attempt can succeed."""

    NONE = "none"
    """No failure: the attempt succeeded."""
    PACE = "pace"
    """The timing. The same request will be taken later; nothing is wrong with its contents or size."""
    ENDPOINT = "endpoint"
    """The endpoint as a whole: the request did not arrive, or arrived at the wrong place."""
    UNKNOWN = "unknown"
    """The endpoint or the event; only the results of other events can show which."""
    EVENT = "event"
    """The event's contents; or the endpoint, if every event is refused."""
    PERMANENT = "permanent"
    """The endpoint has said that it will never accept anything again."""


class Outcome(Struct, frozen=True):
    """The outcome of one attempt.

    `status` is the HTTP status (None: no answer). `retry_after` is the wait that the peer asked for, in seconds from
    the answer, from 0 to one day (None: it asked for none). `detail` is one line of at most 300 characters from the
    peer or the network, without secrets.
    """

    reason: AttemptResult
    status: int | None = None
    retry_after: float | None = None
    detail: str = ""
    taken_by: frozenset[str] = frozenset()
    """The receivers behind this address that have the message (only with `PARTLY_TAKEN`)."""
    peer_clock_ms: int | None = None
    """The receiver's clock when it answered (Unix milliseconds), or None if the answer does not say."""
    through_proxy: bool = False
    """Whether a request through a proxy got no answer, so that the proxy may be at fault and not the endpoint."""
    request: Callable[[], SentRequest] | None = None
    """Returns the request and its answer for the log of requests, without secrets; called only if they are logged."""

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same outcome; `request` is not compared."""
        return isinstance(other, Outcome) and self._compared_fields() == other._compared_fields()

    def __hash__(self) -> int:
        """Return a hash that is the same for equal outcomes."""
        return hash(tuple(self._compared_fields().values()))

    def __repr__(self) -> str:
        """Return the outcome without `request`, which refers to secrets."""
        return f"Outcome({', '.join(f'{name}={value!r}' for name, value in self._compared_fields().items())})"

    def _compared_fields(self) -> dict[str, Any]:
        shown = asdict(self)
        del shown["request"]
        return shown

    @property
    def scope(self) -> FailureScope:
        """The failure scope of this outcome; `NONE` for a success."""
        if self.reason is AttemptResult.DELIVERED:
            return FailureScope.NONE
        scope = failure_scope(self.reason)
        if scope is FailureScope.PERMANENT:
            return scope
        if self.retry_after is not None or self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return FailureScope.PACE
        return scope

    @property
    def is_too_large(self) -> bool:
        """Whether the request may have had too many events, because it was refused for its size or took too long."""
        return self.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or self.reason is AttemptResult.TIMEOUT


def failure_scope(reason: AttemptResult) -> FailureScope:
    """Return the usual failure scope of a result; `Outcome.scope` also considers the status and the requested wait."""
    match reason:
        case AttemptResult.DELIVERED:
            return FailureScope.NONE
        case AttemptResult.THROTTLED | AttemptResult.TOO_EARLY:
            return FailureScope.PACE
        case (
            AttemptResult.NAME_NOT_RESOLVED
            | AttemptResult.CONNECT_FAILED
            | AttemptResult.PROXY_REFUSED
            | AttemptResult.CERTIFICATE_REJECTED
            | AttemptResult.ACCESS_REFUSED
            | AttemptResult.TARGET_MISSING
            | AttemptResult.REDIRECTED
            | AttemptResult.EVERYTHING_REFUSED
            | AttemptResult.ORIGIN_REFUSED
        ):
            return FailureScope.ENDPOINT
        case (
            AttemptResult.TIMEOUT
            | AttemptResult.CONNECTION_LOST
            | AttemptResult.PROTOCOL_BROKEN
            | AttemptResult.REQUEST_TIMEOUT
            | AttemptResult.SERVER_ERROR
            | AttemptResult.ANSWER_UNEXPECTED
            | AttemptResult.SERVICE_FAILED
        ):
            return FailureScope.UNKNOWN
        case (
            AttemptResult.REFUSED
            | AttemptResult.PAYLOAD_REFUSED
            | AttemptResult.PARTLY_TAKEN
            | AttemptResult.UNSENDABLE
        ):
            return FailureScope.EVENT
        case AttemptResult.GONE | AttemptResult.WEBHOOK_REVOKED:
            return FailureScope.PERMANENT
        case _:
            assert_never(reason)


def reason_of_status(status: int) -> AttemptResult:
    """Return the result for an HTTP status; only 2xx is a success."""
    match status:
        case 408:
            return AttemptResult.REQUEST_TIMEOUT
        case 410:
            return AttemptResult.GONE
        case 425:
            return AttemptResult.TOO_EARLY
        case 429:
            return AttemptResult.THROTTLED
    match status // 100:
        case 2:
            return AttemptResult.DELIVERED
        case 3:
            return AttemptResult.REDIRECTED
        case 4:
            return AttemptResult.REFUSED
        case 5:
            return AttemptResult.SERVER_ERROR
        case _:
            return AttemptResult.ANSWER_UNEXPECTED


def reason_of_transport(reason: TransportReason) -> AttemptResult:
    """Return the result for an attempt without a complete answer."""
    match reason:
        case TransportReason.NAME_NOT_RESOLVED:
            return AttemptResult.NAME_NOT_RESOLVED
        case TransportReason.CONNECT_FAILED:
            return AttemptResult.CONNECT_FAILED
        case TransportReason.PROXY_REFUSED:
            return AttemptResult.PROXY_REFUSED
        case TransportReason.CERTIFICATE_REJECTED:
            return AttemptResult.CERTIFICATE_REJECTED
        case TransportReason.TIMEOUT:
            return AttemptResult.TIMEOUT
        case TransportReason.CONNECTION_LOST:
            return AttemptResult.CONNECTION_LOST
        case TransportReason.PROTOCOL_BROKEN:
            return AttemptResult.PROTOCOL_BROKEN
        case TransportReason.ANSWER_TOO_LARGE:
            return AttemptResult.ANSWER_UNEXPECTED
        case _:
            assert_never(reason)
