"""Converts the configured filters to the store's type, and finds the destinations that may get new events."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from notifier.config import DestinationSettings
from notifier.events import Event, EventType
from notifier.patterns import Patterns
from notifier.store.subscriptions import Subscription, facts_of_data


def subscriptions_of(settings: Mapping[str, DestinationSettings]) -> tuple[Subscription, ...]:
    """Return the filters of all destinations."""
    return tuple(subscription_of(name, theirs) for name, theirs in settings.items())


def subscription_of(name: str, settings: DestinationSettings) -> Subscription:
    """Return the filters of one destination."""
    return Subscription(
        name,
        frozenset(settings.events),
        frozenset(settings.sources),
        frozenset(settings.training_ids),
        frozenset(settings.user_ids),
        Patterns.of(settings.trainings),
        Patterns.of(settings.people),
        Patterns.of(settings.job_titles),
        Patterns.of(settings.field_offices),
        Patterns.of(settings.lines_of_business),
    )


def affected_destinations(events: Sequence[Event], filters: Iterable[Subscription]) -> list[str] | None:
    """Return the destinations whose filters may let one of the events through; None means all destinations.

    If one of the events is an alert, the result is None, because filters do not apply to alerts. Checking filters is
    much cheaper than waking a thousand destinations.
    """
    types = {event.type for event in events}
    if EventType.ALERT in types:
        return None
    sources = {event.source for event in events}
    contents: list[dict[str, Any]] | None = None
    found = []
    for wanted in filters:
        if wanted.events.isdisjoint(types) or (wanted.sources and wanted.sources.isdisjoint(sources)):
            continue
        if wanted.has_record_filters:
            contents = [orjson.loads(event.data) for event in events] if contents is None else contents
            if not any(_matches(wanted, content) for content in contents):
                continue
        found.append(wanted.destination)
    return found


def _matches(wanted: Subscription, data: Mapping[str, Any]) -> bool:
    completion, known = data["completion"], facts_of_data(data)
    return (
        wanted.filter_rejecting_training(completion["training_id"], known.training_title) is None
        and wanted.filter_rejecting_person(completion["user_id"], known.person) is None
    )
