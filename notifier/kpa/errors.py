"""The reasons why requests to the API fail, each with its meaning and remedy."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from notifier.http.transport_errors import TransportError, TransportReason
from notifier.redact import hide_partial_secret, redact
from notifier.wording.sentences import Sentence

_LONGEST_QUOTE = 200
_LONGEST_READ = 4000


class ApiErrorReason(StrEnum):
    """The reasons why there is no usable answer: the API's own error identifiers, and names for other failures."""

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


class Meaning(Struct, frozen=True):
    """The meaning of a reason, as two halves of a sentence: what happened, and what to do."""

    remedy: Remedy
    happened: Sentence
    advice: Sentence

    @property
    def sentence(self) -> Sentence:
        """Both halves as one sentence."""
        return Sentence("general.error", happened=self.happened, advice=self.advice)


_OPERATOR_REASONS: Final = frozenset(
    {
        ApiErrorReason.API_METHOD_NOT_FOUND,
        ApiErrorReason.TOKEN_MISSING,
        ApiErrorReason.TOKEN_INVALID,
        ApiErrorReason.TOKEN_INACTIVE,
        ApiErrorReason.TOKEN_PERMISSION,
        ApiErrorReason.ACCOUNT_INACTIVE,
        ApiErrorReason.PARAMETER_INVALID,
        ApiErrorReason.CONTENT_NOT_FOUND,
        ApiErrorReason.UNKNOWN_ERROR,
        ApiErrorReason.PROXY_REFUSED,
        ApiErrorReason.CERTIFICATE_REJECTED,
    }
)
_PROGRAM_REASONS: Final = frozenset(
    {
        ApiErrorReason.REQUEST_METHOD_INVALID,
        ApiErrorReason.REQUEST_DATA_INVALID,
        ApiErrorReason.PARAMETER_UNEXPECTED,
        ApiErrorReason.PARAMETER_MISSING,
    }
)


def _remedy(reason: ApiErrorReason) -> Remedy:
    if reason in _OPERATOR_REASONS:
        return Remedy.OPERATOR
    return Remedy.REQUEST if reason in _PROGRAM_REASONS else Remedy.WAIT


MEANINGS: Final[Mapping[ApiErrorReason, Meaning]] = MappingProxyType(
    {
        reason: Meaning(_remedy(reason), Sentence(f"api.{reason}_happened"), Sentence(f"api.{reason}_advice"))
        for reason in ApiErrorReason
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

    `message` is a sentence for people: what happened, what to do, and what the peer said. `retry_after` is the number
    of seconds that the peer asked to wait, or None.
    """

    def __init__(self, reason: ApiErrorReason, detail: str = "", *, retry_after: float | None = None) -> None:
        """Initialise and build the message; secrets must already be removed from `detail`."""
        meaning = MEANINGS[reason]
        self.reason = reason
        self.remedy = reason.remedy
        self.message = f"{meaning.sentence} ({detail})" if detail else str(meaning.sentence)
        self.retry_after = retry_after
        super().__init__(self.message)


_SAYS: Final = "the API says: "


def sentence_of(reason: str, message: str) -> str:
    """Return an error's stored message as a Sentence, which can be translated.

    Another version of the program may have used other words for `reason`. Such a message is returned unchanged.
    """
    if isinstance(message, Sentence) or reason not in set(ApiErrorReason):
        return message
    meant = MEANINGS[ApiErrorReason(reason)].sentence
    detail = message.removeprefix(meant)
    if detail == message:
        return message
    if not detail:
        return meant
    detail = detail.removeprefix(" (").removesuffix(")")
    if detail.startswith(_SAYS):
        return Sentence("general.answer", text=meant, detail=detail.removeprefix(_SAYS))
    return Sentence("general.detail", text=meant, detail=detail)


def error_of_answer(identifier: object, description: object, token: str) -> ApiError:
    """Return the error for an answer with `"ok": false`; `identifier` and `description` may be any JSON value."""
    words = [quoted(part, token) for part in (identifier, description) if isinstance(part, str)]
    if isinstance(identifier, str) and identifier in API_IDENTIFIERS:
        words = words[1:]
        reason = ApiErrorReason(identifier)
    else:
        reason = ApiErrorReason.UNKNOWN_ERROR
    said = ": ".join(word for word in words if word)
    return ApiError(reason, f"{_SAYS}{said}" if said else "")


def no_answer_error(error: TransportError, token: str) -> ApiError:
    """Return the error for a request that got no complete answer."""
    return ApiError(ApiErrorReason(error.reason), quoted(error.message, token))


def quoted(text: str, token: str) -> str:
    """Return `text`, which the API sent, in a form that may be shown: one line of limited length, without `token`."""
    if len(text) > _LONGEST_READ:
        return f"{len(text)} characters"
    words = " ".join(hide_partial_secret(redact(text, token), token).split())
    printable = "".join(character if character.isprintable() else "?" for character in words)
    return printable if len(printable) <= _LONGEST_QUOTE else f"{printable[:_LONGEST_QUOTE]}..."
