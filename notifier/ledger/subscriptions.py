"""Which destination wants which events: decided when an event is written, so that nothing can fall in between."""

from dataclasses import dataclass

from notifier.completions import EventType


@dataclass(frozen=True, slots=True)
class Subscription:
    """One destination's filter; an empty set of sources, trainings or users admits all of them."""

    destination: str
    events: frozenset[str]
    sources: frozenset[str] = frozenset()
    training_ids: frozenset[str] = frozenset()
    user_ids: frozenset[str] = frozenset()

    def admits(self, event_type: EventType, source: str, training_id: str, user_id: str) -> bool:
        """Tell whether an event about a completion goes to this destination."""
        return (
            event_type in self.events
            and (not self.sources or source in self.sources)
            and (not self.training_ids or training_id in self.training_ids)
            and (not self.user_ids or user_id in self.user_ids)
        )
