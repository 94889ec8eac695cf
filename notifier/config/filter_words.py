"""Describes the filters of a destination in words. Pure."""

from collections.abc import Sequence
from typing import Final

from notifier.config.destinations import DestinationSettings
from notifier.patterns import EXCLUDES

_MAX_NAMED: Final = 10

_EVENTS: Final = {
    "completion.created": "new completions",
    "completion.updated": "changed completions",
    "completion.removed": "removed completions",
    "completion.expiring": "completions that expire soon",
    "completion.expired": "expired completions",
    "completion.renewed": "renewed completions",
}

_COMPARED_PROPERTIES: Final = {
    "sources": "source",
    "trainings": "training's title or id",
    "training_ids": "training's id",
    "people": "person's employee number or id",
    "user_ids": "person's id",
    "job_titles": "person's job title",
    "field_offices": "person's field office",
    "lines_of_business": "person's line of business",
}
"""The words for the property that each filter compares, by the filter's key."""


def describe_filters(settings: DestinationSettings) -> str:
    """Describe the events that a destination gets, for example as `new completions whose source is acme`."""
    if not settings.events:
        return "only alerts, if `[alerts] destination` names it"
    kinds = _join_words([_EVENTS.get(type_, type_) for type_ in settings.events], "and")
    parts = [
        f"whose {what} is {_describe_values([str(value) for value in values])}"
        for key, what in _COMPARED_PROPERTIES.items()
        if (values := getattr(settings, key, ()))
    ]
    return f"{kinds} {', and '.join(parts)}" if parts else f"{kinds} of all people, trainings and sources"


def _describe_values(values: Sequence[str]) -> str:
    """Return a filter's values in words, the wanted ones first. In `values`, the excluded ones begin with `!`."""
    wanted = [f"`{value}`" for value in values if not value.startswith(EXCLUDES)]
    excluded = [f"`{value.removeprefix(EXCLUDES)}`" for value in values if value.startswith(EXCLUDES)]
    if not excluded:
        return _join_words(wanted, "or")
    rest = f"not {_join_words(excluded, 'or')}"
    return f"{_join_words(wanted, 'or')} but {rest}" if wanted else rest


def _join_words(words: Sequence[str], last: str) -> str:
    named = list(words[:_MAX_NAMED])
    if len(words) > _MAX_NAMED:
        named.append(f"{len(words) - _MAX_NAMED} others")
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} {last} {named[-1]}"
