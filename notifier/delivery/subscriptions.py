"""Converts the configured filters into the store's form, and finds the destinations that new events may be for."""

from collections.abc import Iterable, Mapping, Sequence

import orjson

from notifier.config import DestinationSettings
from notifier.events import Event, EventType
from notifier.store.subscriptions import Subscription


def subscriptions(settings: Mapping[str, DestinationSettings]) -> tuple[Subscription, ...]:
    """Return the filters of all destinations."""
    return tuple(subscription(name, theirs) for name, theirs in settings.items())


def subscription(name: str, settings: DestinationSettings) -> Subscription:
    """Return a destination's filters."""
    return Subscription(
        name,
        frozenset(settings.events),
        frozenset(settings.sources),
        frozenset(settings.training_ids),
        frozenset(settings.user_ids),
    )


def concerned(events: Sequence[Event], filters: Iterable[Subscription]) -> list[str] | None:
    """Return the destinations that get one of these events, and possibly a few more; None stands for all.

    With an alert among the events the result is None, because an alert goes to the destination that is configured for
    alerts, whatever its filters. Checking filters here is much cheaper than waking a thousand destinations.
    """
    types = {event.type for event in events}
    if EventType.ALERT in types:
        return None
    sources = {event.source for event in events}
    records: list[dict[str, str]] | None = None
    found = []
    for wanted in filters:
        if wanted.events.isdisjoint(types) or (wanted.sources and wanted.sources.isdisjoint(sources)):
            continue
        if wanted.training_ids or wanted.user_ids:
            records = [orjson.loads(event.data)["completion"] for event in events] if records is None else records
            if not any(_admits(wanted, record) for record in records):
                continue
        found.append(wanted.destination)
    return found


def _admits(wanted: Subscription, record: Mapping[str, str]) -> bool:
    return not (
        (wanted.training_ids and record["training_id"] not in wanted.training_ids)
        or (wanted.user_ids and record["user_id"] not in wanted.user_ids)
    )
