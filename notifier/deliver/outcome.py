"""What one attempt came to, in a closed set of words: the same in the log, the metrics and the ledger."""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from notifier.transport import TransportReason


class Reason(StrEnum):
    """Why an attempt ended as it did."""

    DELIVERED = "delivered"

    NAME_NOT_RESOLVED = "name_not_resolved"
    CONNECT_FAILED = "connect_failed"
    CERTIFICATE_REJECTED = "certificate_rejected"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    PROTOCOL_BROKEN = "protocol_broken"

    REQUEST_TIMEOUT = "request_timeout"
    TOO_EARLY = "too_early"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    REDIRECTED = "redirected"
    ANSWER_UNEXPECTED = "answer_unexpected"
    REFUSED = "refused"
    EVERYTHING_REFUSED = "everything_refused"
    """One event after the other is refused alike: no answer says so by itself, `refusals.py` does."""
    GONE = "gone"

    PAYLOAD_REFUSED = "payload_refused"
    WEBHOOK_REVOKED = "webhook_revoked"

    SERVICE_FAILED = "service_failed"
    """A library that speaks to the service for us says that it failed, and not how."""

    UNSENDABLE = "unsendable"
    """No request could be made of the event: a fault of our own."""


class Trouble(StrEnum):
    """Who is in trouble: the destination as a whole, or only what was sent."""

    NONE = "none"
    ENDPOINT = "endpoint"
    EVENT = "event"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to.

    `status` is the HTTP status, None without an answer. `retry_after` is the wait that the peer asked for, in seconds
    from the answer, 0 to one day. `detail` is one line of at most 300 characters with what the peer or the network
    said, free of secrets.
    """

    reason: Reason
    status: int | None = None
    retry_after: float | None = None
    detail: str = ""


def trouble(reason: Reason) -> Trouble:
    """Say who is in trouble.

    ENDPOINT: nobody gets through, so the destination waits as a whole. A redirect and an answer that is none count
    too: they say where the request went, not what was in it; and so does a refusal that all events meet. EVENT: this
    request alone was refused. REVOKED: the destination itself says that nothing will ever be accepted there again.
    """
    match reason:
        case Reason.DELIVERED:
            return Trouble.NONE
        case (
            Reason.NAME_NOT_RESOLVED
            | Reason.CONNECT_FAILED
            | Reason.CERTIFICATE_REJECTED
            | Reason.TIMEOUT
            | Reason.CONNECTION_LOST
            | Reason.PROTOCOL_BROKEN
            | Reason.REQUEST_TIMEOUT
            | Reason.TOO_EARLY
            | Reason.THROTTLED
            | Reason.SERVER_ERROR
            | Reason.REDIRECTED
            | Reason.ANSWER_UNEXPECTED
            | Reason.SERVICE_FAILED
            | Reason.EVERYTHING_REFUSED
        ):
            return Trouble.ENDPOINT
        case Reason.REFUSED | Reason.PAYLOAD_REFUSED | Reason.UNSENDABLE:
            return Trouble.EVENT
        case Reason.GONE | Reason.WEBHOOK_REVOKED:
            return Trouble.REVOKED
        case _:
            assert_never(reason)


def reason_of_status(status: int) -> Reason:
    """Read an HTTP status: 2xx is success and nothing else."""
    match status:
        case 408:
            return Reason.REQUEST_TIMEOUT
        case 410:
            return Reason.GONE
        case 425:
            return Reason.TOO_EARLY
        case 429:
            return Reason.THROTTLED
    match status // 100:
        case 2:
            return Reason.DELIVERED
        case 3:
            return Reason.REDIRECTED
        case 4:
            return Reason.REFUSED
        case 5:
            return Reason.SERVER_ERROR
        case _:
            return Reason.ANSWER_UNEXPECTED


def reason_of_transport(reason: TransportReason) -> Reason:
    """Read why there was no whole answer."""
    match reason:
        case TransportReason.NAME_NOT_RESOLVED:
            return Reason.NAME_NOT_RESOLVED
        case TransportReason.CONNECT_FAILED:
            return Reason.CONNECT_FAILED
        case TransportReason.CERTIFICATE_REJECTED:
            return Reason.CERTIFICATE_REJECTED
        case TransportReason.TIMEOUT:
            return Reason.TIMEOUT
        case TransportReason.CONNECTION_LOST:
            return Reason.CONNECTION_LOST
        case TransportReason.PROTOCOL_BROKEN:
            return Reason.PROTOCOL_BROKEN
        case TransportReason.ANSWER_TOO_LARGE:
            return Reason.ANSWER_UNEXPECTED
        case _:
            assert_never(reason)
