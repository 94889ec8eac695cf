"""The reasons why requests to the API fail, each with its meaning and remedy."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from notifier.http.transport_errors import TransportError, TransportReason
from notifier.redact import hide_cut, redact

_LONGEST_QUOTE = 200
_LONGEST_READ = 4000


class ApiErrorReason(StrEnum):
    """The reasons why there is no usable answer: the API's own error identifiers, and failures that have none."""

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
    PROXY_REFUSED = TransportReason.PROXY_REFUSED.value
    CERTIFICATE_REJECTED = TransportReason.CERTIFICATE_REJECTED.value
    TIMEOUT = TransportReason.TIMEOUT.value
    CONNECTION_LOST = TransportReason.CONNECTION_LOST.value
    ANSWER_TOO_LARGE = TransportReason.ANSWER_TOO_LARGE.value
    PROTOCOL_BROKEN = TransportReason.PROTOCOL_BROKEN.value

    HTTP_STATUS = "http_status"
    NOT_JSON = "not_json"
    UNEXPECTED_SHAPE = "unexpected_shape"
    PAGE_NOT_WHOLE = "page_not_whole"
    RECORDS_UNREADABLE = "records_unreadable"

    @property
    def remedy(self) -> "Remedy":
        """The remedy for this reason."""
        return MEANINGS[self].remedy


class Remedy(StrEnum):
    """What has to happen before a request can succeed: an operator acts, time passes, or this program is corrected."""

    OPERATOR = "operator"
    WAIT = "wait"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a reason, as two halves of a sentence: what happened, and what to do."""

    remedy: Remedy
    happened: str
    advice: str


_IT_IS_TRIED_AGAIN = "it is retried automatically"
_CHECK_BASE_URL = "check the source's `base_url`"
_REPORT = "please report it as an error of this program"
_IF_IT_STAYS = f"{_IT_IS_TRIED_AGAIN}; if this continues, {_CHECK_BASE_URL} and the network between here and the API"

MEANINGS: Final[Mapping[ApiErrorReason, Meaning]] = MappingProxyType(
    {
        ApiErrorReason.API_METHOD_NOT_FOUND: Meaning(
            Remedy.OPERATOR, "the API has no such method at this address", f"{_CHECK_BASE_URL} and `api`"
        ),
        ApiErrorReason.REQUEST_METHOD_INVALID: Meaning(Remedy.REQUEST, "the API refused the HTTP method", _REPORT),
        ApiErrorReason.REQUEST_DATA_INVALID: Meaning(Remedy.REQUEST, "the API could not read the request", _REPORT),
        ApiErrorReason.RATE_LIMIT_EXCEEDED: Meaning(
            Remedy.WAIT,
            "the customer's request limit, shared by all integrations, is exceeded",
            f"{_IT_IS_TRIED_AGAIN} after a pause; if it happens often, lower `requests_per_minute`",
        ),
        ApiErrorReason.TOKEN_MISSING: Meaning(
            Remedy.OPERATOR, "the API found no token in the request", "set the source's `token`"
        ),
        ApiErrorReason.TOKEN_INVALID: Meaning(
            Remedy.OPERATOR, "the API does not know the token", "enter a valid one as the source's `token`"
        ),
        ApiErrorReason.TOKEN_INACTIVE: Meaning(
            Remedy.OPERATOR,
            "the token has been deactivated",
            "activate it in KPA Flex, or set another one as the source's `token`",
        ),
        ApiErrorReason.TOKEN_PERMISSION: Meaning(
            Remedy.OPERATOR, "the token may not use this method", "give it that permission in KPA Flex"
        ),
        ApiErrorReason.ACCOUNT_INACTIVE: Meaning(
            Remedy.OPERATOR, "the account behind the token is not active", "ask KPA or the account's administrator"
        ),
        ApiErrorReason.PARAMETER_UNEXPECTED: Meaning(
            Remedy.REQUEST, "the API does not support a parameter of the request", _REPORT
        ),
        ApiErrorReason.PARAMETER_MISSING: Meaning(
            Remedy.REQUEST, "a required parameter is missing from the request", _REPORT
        ),
        ApiErrorReason.PARAMETER_INVALID: Meaning(
            Remedy.OPERATOR,
            "the API does not allow a parameter's value",
            "check the source's `training_id`, `user_id` and `has_attachments`",
        ),
        ApiErrorReason.SERVER_ERROR: Meaning(Remedy.WAIT, "the API had an internal error", _IT_IS_TRIED_AGAIN),
        ApiErrorReason.CONTENT_NOT_FOUND: Meaning(
            Remedy.OPERATOR,
            "the API does not have what was requested",
            "check the source's `training_id` and `user_id`",
        ),
        ApiErrorReason.UNKNOWN_ERROR: Meaning(
            Remedy.OPERATOR,
            "the API refused the request for a reason that its documentation does not list",
            "check the source's settings and its token's state in KPA Flex",
        ),
        ApiErrorReason.NAME_NOT_RESOLVED: Meaning(
            Remedy.WAIT, "the API's host name could not be resolved", _IF_IT_STAYS
        ),
        ApiErrorReason.CONNECT_FAILED: Meaning(Remedy.WAIT, "there was no connection to the API", _IF_IT_STAYS),
        ApiErrorReason.PROXY_REFUSED: Meaning(
            Remedy.OPERATOR,
            "the proxy on the way to the API refused the request",
            "check the source's `proxy` or the variable HTTPS_PROXY, and ask the proxy's operator to allow the API's"
            " address",
        ),
        ApiErrorReason.CERTIFICATE_REJECTED: Meaning(
            Remedy.OPERATOR,
            "TLS with the API failed",
            f"{_CHECK_BASE_URL}, this machine's clock and its certificate authorities (or the source's `ca_file`)",
        ),
        ApiErrorReason.TIMEOUT: Meaning(
            Remedy.WAIT,
            "the API did not answer in time",
            f"{_IT_IS_TRIED_AGAIN}; if this continues, raise the source's `timeout`",
        ),
        ApiErrorReason.CONNECTION_LOST: Meaning(Remedy.WAIT, "the connection to the API was lost", _IT_IS_TRIED_AGAIN),
        ApiErrorReason.ANSWER_TOO_LARGE: Meaning(Remedy.WAIT, "the answer was too large", _IF_IT_STAYS),
        ApiErrorReason.PROTOCOL_BROKEN: Meaning(Remedy.WAIT, "the answer was not HTTP", _IF_IT_STAYS),
        ApiErrorReason.HTTP_STATUS: Meaning(
            Remedy.WAIT, "the answer did not have HTTP status 200, as all answers of the API have", _IF_IT_STAYS
        ),
        ApiErrorReason.NOT_JSON: Meaning(Remedy.WAIT, "the answer was not JSON", _IF_IT_STAYS),
        ApiErrorReason.UNEXPECTED_SHAPE: Meaning(
            Remedy.WAIT, "the answer was JSON of an unexpected shape", _IF_IT_STAYS
        ),
        ApiErrorReason.PAGE_NOT_WHOLE: Meaning(
            Remedy.WAIT,
            "a page of the list was incomplete, so missing records prove nothing",
            f"{_IT_IS_TRIED_AGAIN}; if this continues, ask KPA why their list is incomplete",
        ),
        ApiErrorReason.RECORDS_UNREADABLE: Meaning(
            Remedy.WAIT,
            "more than half of the newest records cannot be read",
            "ask KPA what has changed, or look for a newer version of this program; the records are reported once they"
            " can be read",
        ),
    }
)

API_IDENTIFIERS: Final = frozenset(ApiErrorReason) - {
    ApiErrorReason.UNKNOWN_ERROR,
    ApiErrorReason.HTTP_STATUS,
    ApiErrorReason.NOT_JSON,
    ApiErrorReason.UNEXPECTED_SHAPE,
    ApiErrorReason.PAGE_NOT_WHOLE,
    ApiErrorReason.RECORDS_UNREADABLE,
    *(ApiErrorReason(word) for word in TransportReason),
}
"""The error identifiers that the KPA Flex API documentation lists."""


class ApiError(Exception):
    """A request to the API failed.

    `message` is one sentence that may be shown; it says what happened, what to do, and what the peer said about it.
    `retry_after` is the number of seconds that the peer asked to wait, or None.
    """

    def __init__(self, reason: ApiErrorReason, detail: str = "", *, retry_after: float | None = None) -> None:
        """Initialize and build the message; secrets must already be removed from `detail`."""
        meaning = MEANINGS[reason]
        self.reason = reason
        self.remedy = reason.remedy
        self.message = f"{meaning.happened}; {meaning.advice}" + (f" ({detail})" if detail else "")
        self.retry_after = retry_after
        super().__init__(self.message)


def refusal(identifier: object, description: object, token: str) -> ApiError:
    """Return the error for an answer with `"ok": false`; `identifier` and `description` may be any JSON value."""
    words = [quoted(part, token) for part in (identifier, description) if isinstance(part, str)]
    if isinstance(identifier, str) and identifier in API_IDENTIFIERS:
        words = words[1:]
        reason = ApiErrorReason(identifier)
    else:
        reason = ApiErrorReason.UNKNOWN_ERROR
    said = ": ".join(word for word in words if word)
    return ApiError(reason, f"the API says: {said}" if said else "")


def no_answer(error: TransportError, token: str) -> ApiError:
    """Return the error for an exchange without a complete answer."""
    return ApiError(ApiErrorReason(error.reason), quoted(error.message, token))


def quoted(text: str, token: str) -> str:
    """Return a peer's text without secrets, on one line and of limited length, so that it may be shown."""
    if len(text) > _LONGEST_READ:
        return f"{len(text)} characters"
    words = " ".join(hide_cut(redact(text, token), token).split())
    printable = "".join(character if character.isprintable() else "?" for character in words)
    return printable if len(printable) <= _LONGEST_QUOTE else f"{printable[:_LONGEST_QUOTE]}..."
