"""Every way in which asking the API can fail, by name, and what can help against it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from notifier.redact import redact
from notifier.transport import TransportError, TransportReason

_LONGEST_QUOTE = 200
_LONGEST_READ = 4000


class Reason(StrEnum):
    """Why there is no usable answer: the API's own identifiers, and what happens before it can use them."""

    API_METHOD_NOT_FOUND = "api_method_not_found"
    REQUEST_METHOD_INVALID = "request_method_invalid"
    REQUEST_DATA_INVALID = "request_data_invalid"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    TOKEN_MISSING = "token_missing"  # noqa: S105  the API's identifier
    TOKEN_INVALID = "token_invalid"  # noqa: S105  the API's identifier
    TOKEN_INACTIVE = "token_inactive"  # noqa: S105  the API's identifier
    TOKEN_PERMISSION = "token_permission"  # noqa: S105  the API's identifier
    ACCOUNT_INACTIVE = "account_inactive"
    PARAMETER_UNEXPECTED = "parameter_unexpected"
    PARAMETER_MISSING = "parameter_missing"
    PARAMETER_INVALID = "parameter_invalid"
    SERVER_ERROR = "server_error"
    CONTENT_NOT_FOUND = "content_not_found"
    UNKNOWN_ERROR = "unknown_error"

    NAME_NOT_RESOLVED = TransportReason.NAME_NOT_RESOLVED.value
    CONNECT_FAILED = TransportReason.CONNECT_FAILED.value
    CERTIFICATE_REJECTED = TransportReason.CERTIFICATE_REJECTED.value
    TIMEOUT = TransportReason.TIMEOUT.value
    CONNECTION_LOST = TransportReason.CONNECTION_LOST.value
    ANSWER_TOO_LARGE = TransportReason.ANSWER_TOO_LARGE.value
    PROTOCOL_BROKEN = TransportReason.PROTOCOL_BROKEN.value

    HTTP_STATUS = "http_status"
    NOT_JSON = "not_json"
    UNEXPECTED_SHAPE = "unexpected_shape"

    @property
    def remedy(self) -> "Remedy":
        """What can help."""
        return MEANINGS[self].remedy


class Remedy(StrEnum):
    """What can help: the operator acts, time passes, or the program is mended, since its request is wrong."""

    OPERATOR = "operator"
    WAIT = "wait"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reason means, as two halves of a sentence: what happened, and what to do."""

    remedy: Remedy
    happened: str
    advice: str


_IT_IS_TRIED_AGAIN = "it is tried again by itself"
_CHECK_BASE_URL = "check the source's `base_url`"
_REPORT = "please report it as a defect of this program"
_IF_IT_STAYS = f"{_IT_IS_TRIED_AGAIN}; if it stays, {_CHECK_BASE_URL} and the network between here and the API"

MEANINGS: Final[Mapping[Reason, Meaning]] = MappingProxyType(
    {
        Reason.API_METHOD_NOT_FOUND: Meaning(
            Remedy.OPERATOR, "the API has no such method at this address", f"{_CHECK_BASE_URL} and `api`"
        ),
        Reason.REQUEST_METHOD_INVALID: Meaning(Remedy.REQUEST, "the API refused the HTTP method", _REPORT),
        Reason.REQUEST_DATA_INVALID: Meaning(Remedy.REQUEST, "the API could not read the request", _REPORT),
        Reason.RATE_LIMIT_EXCEEDED: Meaning(
            Remedy.WAIT,
            "the customer's request limit, shared by all integrations, is exceeded",
            f"{_IT_IS_TRIED_AGAIN} after a pause; if it happens often, lower `requests_per_minute`",
        ),
        Reason.TOKEN_MISSING: Meaning(
            Remedy.OPERATOR, "the API saw no token in the request", "set the source's `token`"
        ),
        Reason.TOKEN_INVALID: Meaning(
            Remedy.OPERATOR, "the API does not know the token", "put a valid one into the source's `token`"
        ),
        Reason.TOKEN_INACTIVE: Meaning(
            Remedy.OPERATOR,
            "the token has been deactivated",
            "activate it in KPA Flex or put another one into the source's `token`",
        ),
        Reason.TOKEN_PERMISSION: Meaning(
            Remedy.OPERATOR, "the token may not use this method", "give it the permission in KPA Flex"
        ),
        Reason.ACCOUNT_INACTIVE: Meaning(
            Remedy.OPERATOR, "the account behind the token is not active", "ask KPA or the account's administrator"
        ),
        Reason.PARAMETER_UNEXPECTED: Meaning(
            Remedy.REQUEST, "the API does not support a parameter of the request", _REPORT
        ),
        Reason.PARAMETER_MISSING: Meaning(Remedy.REQUEST, "the API misses a parameter in the request", _REPORT),
        Reason.PARAMETER_INVALID: Meaning(
            Remedy.OPERATOR,
            "the API does not allow a parameter's value",
            "check the source's `training_id`, `user_id` and `has_attachments`",
        ),
        Reason.SERVER_ERROR: Meaning(Remedy.WAIT, "the API had an internal error", _IT_IS_TRIED_AGAIN),
        Reason.CONTENT_NOT_FOUND: Meaning(
            Remedy.OPERATOR,
            "the API does not have what was asked for",
            "check the source's `training_id` and `user_id`",
        ),
        Reason.UNKNOWN_ERROR: Meaning(
            Remedy.OPERATOR,
            "the API refused the request for a reason that its documentation does not list",
            "check the source's settings and its token's state in KPA Flex",
        ),
        Reason.NAME_NOT_RESOLVED: Meaning(Remedy.WAIT, "the API's host name could not be resolved", _IF_IT_STAYS),
        Reason.CONNECT_FAILED: Meaning(Remedy.WAIT, "there was no connection to the API", _IF_IT_STAYS),
        Reason.CERTIFICATE_REJECTED: Meaning(
            Remedy.OPERATOR,
            "TLS with the API failed",
            f"{_CHECK_BASE_URL}, this machine's clock and its certificate authorities",
        ),
        Reason.TIMEOUT: Meaning(
            Remedy.WAIT,
            "the API did not answer in time",
            f"{_IT_IS_TRIED_AGAIN}; if it stays, raise the source's `timeout`",
        ),
        Reason.CONNECTION_LOST: Meaning(Remedy.WAIT, "the connection to the API was lost", _IT_IS_TRIED_AGAIN),
        Reason.ANSWER_TOO_LARGE: Meaning(Remedy.WAIT, "the answer was too large to be the API's", _IF_IT_STAYS),
        Reason.PROTOCOL_BROKEN: Meaning(Remedy.WAIT, "the answer was not HTTP", _IF_IT_STAYS),
        Reason.HTTP_STATUS: Meaning(
            Remedy.WAIT, "the answer was not the API's, which is always HTTP 200", _IF_IT_STAYS
        ),
        Reason.NOT_JSON: Meaning(Remedy.WAIT, "the answer was not JSON", _IF_IT_STAYS),
        Reason.UNEXPECTED_SHAPE: Meaning(Remedy.WAIT, "the answer was JSON of an unexpected shape", _IF_IT_STAYS),
    }
)

API_IDENTIFIERS: Final = frozenset(Reason) - {
    Reason.UNKNOWN_ERROR,
    Reason.HTTP_STATUS,
    Reason.NOT_JSON,
    Reason.UNEXPECTED_SHAPE,
    *(Reason(word) for word in TransportReason),
}
"""The error identifiers that the KPA Flex API documentation lists."""


class ApiFailure(Exception):  # noqa: N818  a failure is the domain's word, of the status page and the log
    """Asking the API failed.

    `message` is one sentence, fit to be shown: what happened, what to do, and what the peer said about it.
    `retry_after` is how many seconds the peer asked to be left alone, if it did.
    """

    def __init__(self, reason: Reason, detail: str = "", *, retry_after: float | None = None) -> None:
        """Make the sentence; `detail` has to be redacted already."""
        meaning = MEANINGS[reason]
        self.reason = reason
        self.remedy = reason.remedy
        self.message = f"{meaning.happened}; {meaning.advice}" + (f" ({detail})" if detail else "")
        self.retry_after = retry_after
        super().__init__(self.message)


def refusal(identifier: object, description: object, token: str) -> ApiFailure:
    """Name what the API answered with `"ok": false`; both arguments may be anything that JSON can hold."""
    words = [quoted(part, token) for part in (identifier, description) if isinstance(part, str)]
    if isinstance(identifier, str) and identifier in API_IDENTIFIERS:
        words = words[1:]
        reason = Reason(identifier)
    else:
        reason = Reason.UNKNOWN_ERROR
    said = ": ".join(word for word in words if word)
    return ApiFailure(reason, f"the API says: {said}" if said else "")


def no_answer(error: TransportError, token: str) -> ApiFailure:
    """Name what kept the answer from arriving whole."""
    return ApiFailure(Reason(error.reason), quoted(error.message, token))


def quoted(text: str, token: str) -> str:
    """Return a peer's words fit to be shown: without secrets, on one line, of bounded length."""
    if len(text) > _LONGEST_READ:
        return f"{len(text)} characters"
    words = " ".join(redact(text, token).split())
    printable = "".join(character if character.isprintable() else "?" for character in words)
    return printable if len(printable) <= _LONGEST_QUOTE else f"{printable[:_LONGEST_QUOTE]}..."
