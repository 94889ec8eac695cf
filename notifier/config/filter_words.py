"""The filters of a destination in words, for people. Pure."""

from collections.abc import Sequence
from typing import Final

from notifier.config.destinations import DestinationSettings

_MOST_NAMED: Final = 10

_EVENTS: Final = {
    "completion.created": "new completions",
    "completion.updated": "changed completions",
    "completion.removed": "removed completions",
    "completion.expiring": "completions that expire soon",
    "completion.expired": "expired completions",
    "completion.renewed": "renewed completions",
}

_NARROWING: Final = {
    "sources": "of the source {}",
    "trainings": "of trainings named {}",
    "training_ids": "of the training with the id {}",
    "people": "of the person {}",
    "user_ids": "of the person with the id {}",
    "job_titles": "of people with the job title {}",
    "field_offices": "of people in the field office {}",
    "lines_of_business": "of people in the line of business {}",
}
"""The keys that narrow what a destination gets, and their words."""


def filter_words(settings: DestinationSettings) -> str:
    """Return what a destination gets in words, such as `new completions of the source acme`."""
    if not settings.events:
        return "only alerts, if `[alerts] destination` names it"
    kinds = _joined([_EVENTS.get(type_, type_) for type_ in settings.events], "and")
    parts = [
        words.format(_joined([f"`{value}`" for value in map(str, values)], "or"))
        for key, words in _NARROWING.items()
        if (values := getattr(settings, key, ()))
    ]
    return f"{kinds} {', '.join(parts)}" if parts else f"{kinds} of all people, trainings and sources"


def _joined(words: Sequence[str], last: str) -> str:
    named = list(words[:_MOST_NAMED])
    if len(words) > _MOST_NAMED:
        named.append(f"{len(words) - _MOST_NAMED} others")
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} {last} {named[-1]}"
