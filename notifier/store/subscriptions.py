"""Which destination gets which events; decided when an event is written, so that none is missed."""

from dataclasses import dataclass
from enum import StrEnum


class Filter(StrEnum):
    """The filters of a destination; each value is the filter's key in the configuration."""

    EVENTS = "events"
    SOURCES = "sources"
    TRAINING_IDS = "training_ids"
    USER_IDS = "user_ids"


@dataclass(frozen=True, slots=True)
class Subscription:
    """The filters of one destination; an empty set of sources, trainings or users admits all of them."""

    destination: str
    events: frozenset[str]
    sources: frozenset[str] = frozenset()
    training_ids: frozenset[str] = frozenset()
    user_ids: frozenset[str] = frozenset()

    def admits(self, event_type: str, source: str, training_id: str, user_id: str) -> bool:
        """Return whether the destination gets an event about a completion."""
        return self.objection(event_type, source, training_id, user_id) is None

    def objection(self, event_type: str, source: str, training_id: str, user_id: str) -> Filter | None:
        """Return the first filter that rejects an event about a completion; None if none does."""
        if event_type not in self.events:
            return Filter.EVENTS
        if self.sources and source not in self.sources:
            return Filter.SOURCES
        if self.training_ids and training_id not in self.training_ids:
            return Filter.TRAINING_IDS
        if self.user_ids and user_id not in self.user_ids:
            return Filter.USER_IDS
        return None
