"""The types of the values in the settings of messages: language, link to a record, and mentions."""

import re
from enum import StrEnum
from string import Formatter
from typing import Annotated, Final

from pydantic import AfterValidator

from notifier.config.errors import InvalidValue
from notifier.config.urls import check_url
from notifier.suggest import hint

LINK_FIELDS: Final = ("key", "training_id", "user_id", "source")
"""The fields of a completion that a link may contain."""

_MENTION: Final = re.compile(r"<(@[A-Z0-9]{1,40}|!subteam\^[A-Z0-9]{1,40}|!here|!channel|!everyone)>")


class Language(StrEnum):
    """The languages of the shipped templates."""

    EN = "en"
    ES = "es"


def _check_link(pattern: str) -> str:
    if not pattern:
        return pattern
    try:
        fields = [field for _, field, form, conversion in Formatter().parse(pattern) if field is not None]
        plain = pattern.format(**dict.fromkeys(LINK_FIELDS, "x")) if set(fields) <= set(LINK_FIELDS) else "https://x"
    except (ValueError, IndexError, KeyError, AttributeError):
        raise InvalidValue(
            "must have fields in braces, such as https://kpa.example.com/training/{training_id}"
        ) from None
    if unknown := [field for field in fields if field not in LINK_FIELDS]:
        raise InvalidValue(f"has the unknown field {{{unknown[0][:40]}}}; {hint(unknown[0], LINK_FIELDS)}")
    if check_url(plain).username is not None:
        raise InvalidValue("must not contain a user name or password, because everyone in the channel can read it")
    return pattern


def _check_mention(markup: str) -> str:
    if not _MENTION.fullmatch(markup):
        raise InvalidValue(
            "must be one of Slack's mentions: <!subteam^ID> for a group, <@ID> for a person, <!here> or <!channel>"
        )
    return markup


def _check_pattern(pattern: str) -> str:
    if not pattern.strip() or not pattern.isprintable():
        raise InvalidValue('must be the title of a training, possibly with *, such as "Crane*"')
    return pattern


LinkPattern = Annotated[str, AfterValidator(_check_link)]
"""The address of a page about a record, with fields such as `{training_id}`; `""` for none."""

Mentions = dict[Annotated[str, AfterValidator(_check_pattern)], Annotated[str, AfterValidator(_check_mention)]]
"""Slack's markup that mentions people, by a pattern of training titles; in a pattern, `*` stands for any text."""
