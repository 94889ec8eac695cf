"""What is counted and measured as it happens, and the page that Prometheus reads."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from notifier.completions import Event, EventType
from notifier.ledger.outbox import Delivery, DeliveryState, Settlement
from notifier.web.metrics.families import families
from notifier.web.metrics.figures import Figures

_OF_A_REQUEST: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
_OF_A_ROUND: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OF_A_WAY: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)
"""The bounds of the histograms, in seconds: of one request, of a round, and from detection to delivery."""

_DETECTED: Final = (EventType.CREATED, EventType.UPDATED, EventType.REMOVED)


class Counts:
    """Counts for the sources and destinations of the configuration; of others nothing is kept."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="notifier", registry=self._registry)
        self._events = Counter(
            "notifier_events",
            "Events detected by this process; operational notices have an empty source.",
            ["source", "type"],
            registry=self._registry,
        )
        self._failures = Counter(
            "notifier_source_failures",
            "Requests and rounds that failed, by reason.",
            ["source", "reason"],
            registry=self._registry,
        )
        self._rounds = Histogram(
            "notifier_poll_duration_seconds", "How long a poll took.", buckets=_OF_A_ROUND, registry=self._registry
        )
        self._attempts = Counter(
            "notifier_attempts",
            "Attempts to deliver an event, by what was decided after them and why.",
            ["destination", "decision", "reason"],
            registry=self._registry,
        )
        self._requests = Histogram(
            "notifier_attempt_duration_seconds",
            "How long one request to a destination took.",
            ["destination"],
            buckets=_OF_A_REQUEST,
            registry=self._registry,
        )
        self._latency = Histogram(
            "notifier_delivery_latency_seconds",
            "From the detection of an event to its delivery; of a request with many, of the oldest one.",
            ["destination"],
            buckets=_OF_A_WAY,
            registry=self._registry,
        )
        self._sources: frozenset[str] = frozenset()
        self._destinations: frozenset[str] = frozenset()

    def keep(self, sources: Collection[str], destinations: Collection[str]) -> None:
        """Count for these from now on, from 0 for new ones, and forget what was counted for others."""
        for gone in self._sources.difference(sources):
            self._events.remove_by_labels({"source": gone})
            self._failures.remove_by_labels({"source": gone})
        for gone in self._destinations.difference(destinations):
            for metric in (self._attempts, self._requests, self._latency):
                metric.remove_by_labels({"destination": gone})
        self._sources, self._destinations = frozenset(sources), frozenset(destinations)
        for source in sources:
            for type_ in _DETECTED:
                self._events.labels(source, type_)
        self._events.labels("", EventType.ALERT)
        for destination in destinations:
            self._requests.labels(destination)
            self._latency.labels(destination)

    def detected(self, events: Iterable[Event]) -> None:
        """Count events that are in the ledger now."""
        for event in events:
            if event.type == EventType.ALERT or event.source in self._sources:
                self._events.labels(event.source, event.type).inc()

    def polled(self, seconds: float) -> None:
        """Note how long a poll took."""
        self._rounds.observe(seconds)

    def failed(self, source: str, reason: str) -> None:
        """Count a request, or a round, that failed."""
        if source in self._sources:
            self._failures.labels(source, reason).inc()

    def attempted(self, deliveries: Sequence[Delivery], settlements: Sequence[Settlement]) -> None:
        """Note what came of a request that carried these deliveries."""
        first = settlements[0]
        name = first.destination
        if name not in self._destinations:
            return
        self._requests.labels(name).observe(first.milliseconds / 1000)
        for it in settlements:
            self._attempts.labels(name, it.decision, it.reason).inc(len(it.sequences))
        if first.state is DeliveryState.DELIVERED:
            detected_ms = min(delivery.event.time_ms for delivery in deliveries)
            took_ms = first.attempted_ms + first.milliseconds - detected_ms
            self._latency.labels(name).observe(max(0, took_ms) / 1000)

    def page(self, figures: Figures) -> bytes:
        """Write what was counted, and how things stand, in Prometheus's text format 0.0.4. May run in a thread."""
        return generate_latest(_Together(self._registry, figures))


class _Together(Collector):
    """What was counted, and how things stand, for one page."""

    def __init__(self, registry: CollectorRegistry, figures: Figures) -> None:
        self._registry = registry
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield from families(self._figures)
        for metric in self._registry.collect():
            # Prometheus's text format has no place for them, so that they would be as many gauges more.
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
