"""The types that many answers share: types of fields, and formats of errors."""

from typing import Annotated

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

Count = Annotated[int, Field(ge=0)]
"""A whole number that is not negative."""

Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time in RFC 3339 format (UTC)."""


class MessageDocument(TypedDict):
    """The reason why a requested action was not done."""

    message: Annotated[str, Field(description="Why it was not done, and what can be done about it.")]


class NamedErrorDocument(TypedDict):
    """The name and the description of an error."""

    reason: Annotated[str, Field(description="The error's name, from a closed set.")]
    message: Annotated[str, Field(description="What is wrong, and what to do about it.")]


class ErrorDocument(TypedDict):
    """The format of all errors."""

    error: NamedErrorDocument
