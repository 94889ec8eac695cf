"""The objects that all parts of one source's watcher share."""

from collections.abc import Callable

from msgspec import Struct

from notifier.clock import Clock
from notifier.config import SourceSettings
from notifier.store.store import Store
from notifier.watch.limits import DetectionLimits
from notifier.watch.source_health import SourceHealth

RandomSource = Callable[[], float]
"""A function that returns a random number in [0, 1)."""


class SourceContext(Struct, frozen=True):
    """One source: its name, settings, store, clock, health, detection limits and random numbers."""

    name: str
    settings: SourceSettings
    store: Store
    clock: Clock
    health: SourceHealth
    limits: DetectionLimits
    random: RandomSource
