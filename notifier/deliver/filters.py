"""The filters of the configuration, as the ledger takes them."""

from collections.abc import Mapping

from notifier.config import DestinationSettings
from notifier.ledger.subscriptions import Subscription


def subscriptions(settings: Mapping[str, DestinationSettings]) -> tuple[Subscription, ...]:
    """Read the filters of all destinations."""
    return tuple(subscription(name, theirs) for name, theirs in settings.items())


def subscription(name: str, settings: DestinationSettings) -> Subscription:
    """Read a destination's filters."""
    return Subscription(
        name,
        frozenset(settings.events),
        frozenset(settings.sources),
        frozenset(settings.training_ids),
        frozenset(settings.user_ids),
    )
