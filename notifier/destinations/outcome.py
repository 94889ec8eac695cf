"""The outcome of one attempt to deliver, and the fixed set of results that the log, the metrics and the store use."""

from collections.abc import Callable
from enum import StrEnum
from http import HTTPStatus
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import asdict

from notifier.http.transport_errors import TransportReason
from notifier.store.tables.request_log import SentRequest

LONGEST_WAIT_SECONDS = 86_400.0
"""The longest wait before another attempt, in seconds. A peer that requests a longer wait gets this one."""


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
    """The broker refuses the login, or the user has no right to write to the target."""
    TARGET_MISSING = "target_missing"
    """The configured topic, queue or exchange does not exist, or the message would reach no queue."""

    REQUEST_TIMEOUT = "request_timeout"
    TOO_EARLY = "too_early"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    REDIRECTED = "redirected"
    ANSWER_UNEXPECTED = "answer_unexpected"
    REFUSED = "refused"
    EVERYTHING_REFUSED = "everything_refused"
    """The endpoint refuses every event. The circuit breaker concludes this from many refusals."""
    ORIGIN_REFUSED = "origin_refused"
    """The receiver gave this sender no permission to send (see `webhook/permission.py`)."""
    GONE = "gone"

    PAYLOAD_REFUSED = "payload_refused"
    WEBHOOK_REVOKED = "webhook_revoked"

    SERVICE_FAILED = "service_failed"
    """The library apprise reports a failure without a cause, or could not be run."""
    PARTLY_TAKEN = "partly_taken"
    """Several receivers share the address; some have the message now, and some do not."""

    UNSENDABLE = "unsendable"
    """Because of an internal error, the notifier could not build a request from the event."""


class FailureScope(StrEnum):
    """What a failed attempt concerns: the part that has to change before an attempt can succeed."""

    NONE = "none"
    """No failure: the attempt succeeded."""
    PACE = "pace"
    """The request rate. The same request is expected to succeed later."""
    ENDPOINT = "endpoint"
    """The endpoint. Requests with other events would fail in the same way."""
    UNKNOWN = "unknown"
    """Either the endpoint or the event. The results of other events will show which."""
    EVENT = "event"
    """The contents of the event. If the endpoint refuses every event, the circuit breaker blames the endpoint."""
    PERMANENT = "permanent"
    """The endpoint, for ever. It has answered that it will never accept a request again."""


class Outcome(Struct, frozen=True):
    """The outcome of one attempt."""

    reason: AttemptResult
    status: int | None = None
    """The HTTP status; None without an HTTP answer."""
    retry_after: float | None = None
    """The wait that the peer requested, in seconds from its answer, at most one day; None if it requested no wait."""
    detail: str = ""
    """One line of text from the peer or the network, without secrets and of at most 300 characters."""
    taken_by: frozenset[str] = frozenset()
    """With `PARTLY_TAKEN`: the keys of the receivers that have the message. Otherwise empty."""
    peer_clock_ms: int | None = None
    """The time on the receiver's clock when it answered (Unix milliseconds); None if the answer states no time."""
    through_proxy: bool = False
    """Whether the request got no answer and was sent through a proxy, so that the proxy may be at fault."""
    request: Callable[[], SentRequest] | None = None
    """Returns the request and its answer for the log of requests, without secrets; called only if they are logged."""

    def __eq__(self, other: object) -> bool:
        """Compare all fields except `request`."""
        return isinstance(other, Outcome) and self._compared_fields() == other._compared_fields()

    def __hash__(self) -> int:
        """Return a hash of all fields except `request`."""
        return hash(tuple(self._compared_fields().values()))

    def __repr__(self) -> str:
        """Return all fields as text, except `request`, which refers to secrets."""
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
        """Whether the request may have carried too many events: it was refused for its size, or timed out."""
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
            | AttemptResult.TARGET_MISSING
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
    """Return the result of an attempt that got no complete answer, from the reason of the transport error."""
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
