"""The errors of the API (KPA Flex API documentation, the table of errors on the page of each method)."""

from enum import StrEnum
from typing import Any


class ErrorIdentifier(StrEnum):
    """The documented error identifiers."""

    API_METHOD_NOT_FOUND = "api_method_not_found"
    REQUEST_METHOD_INVALID = "request_method_invalid"
    REQUEST_DATA_INVALID = "request_data_invalid"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    TOKEN_MISSING = "token_missing"  # noqa: S105 - the name of an error
    TOKEN_INVALID = "token_invalid"  # noqa: S105 - the name of an error
    TOKEN_INACTIVE = "token_inactive"  # noqa: S105 - the name of an error
    TOKEN_PERMISSION = "token_permission"  # noqa: S105 - the name of an error
    ACCOUNT_INACTIVE = "account_inactive"
    PARAMETER_UNEXPECTED = "parameter_unexpected"
    PARAMETER_MISSING = "parameter_missing"
    PARAMETER_INVALID = "parameter_invalid"
    SERVER_ERROR = "server_error"
    CONTENT_NOT_FOUND = "content_not_found"


class SandboxError(Exception):
    """A request that the API refuses; `description` is an optional sentence for the answer."""

    def __init__(self, identifier: ErrorIdentifier, description: str = "") -> None:
        super().__init__(description or identifier.value)
        self.identifier = identifier
        self.description = description

    def answer(self) -> dict[str, Any]:
        """Return the JSON object that the API answers with."""
        answer: dict[str, Any] = {"ok": False, "error": self.identifier.value}
        if self.description:
            answer["description"] = self.description
        return answer
