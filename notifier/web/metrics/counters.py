"""Counters and histograms that are updated as events occur, and the page that Prometheus reads.

Every counter starts at 0 when the process starts. Counters are not kept in the state file, because a restore or a
rebuild would set them back a little. Prometheus would take that for a restart at 0, and add the whole value again.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from notifier.delivery.policy.retry import Decision
from notifier.destinations.outcome import AttemptResult, FailureScope, failure_scope
from notifier.events import Event, EventType
from notifier.kpa.errors import ApiErrorReason
from notifier.store.tables.outbox import Delivery, DeliveryState
from notifier.store.tables.settlements import Settlement
from notifier.web.metrics.gauges import families
from notifier.web.metrics.snapshot import MetricsSnapshot

_OF_A_REQUEST: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
_OF_A_ROUND: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OF_A_WAY: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)
"""The bounds of the histograms in seconds: for a request, for a round, and for the time from detection to delivery."""

_DETECTED: Final = (EventType.CREATED, EventType.UPDATED, EventType.REMOVED)

_ALONE: Final = (Decision.WAIT_FOR_ENDPOINT, Decision.RETRY_LATER, Decision.SPLIT, Decision.GIVE_UP)
_DECISIONS: Final = {
    FailureScope.NONE: (Decision.DELIVERED,),
    FailureScope.PACE: (Decision.WAIT_FOR_ENDPOINT,),
    FailureScope.ENDPOINT: (Decision.WAIT_FOR_ENDPOINT, Decision.GIVE_UP),
    FailureScope.UNKNOWN: _ALONE,
    FailureScope.EVENT: _ALONE,
    FailureScope.PERMANENT: (Decision.HOLD,),
}
"""The possible decisions after an attempt, by scope. Their series exist from the start, because Prometheus would not
see the increase to 1 of a series that appears with its first failure.
"""


class Counters:
    """The counters and histograms of the configured sources and destinations."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="notifier", registry=self._registry)
        self._events = Counter(
            "notifier_events",
            "Events detected by this process; alerts have an empty source.",
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
            "Attempts to deliver an event, by the decision after them and its reason.",
            ["destination", "decision", "reason"],
            registry=self._registry,
        )
        self._delivered = Counter(
            "notifier_destination_delivered",
            "Events delivered by this process.",
            ["destination"],
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
            "From the detection of an event to its delivery; for a request with several events, that of the oldest"
            " one. Replayed events are not included.",
            ["destination"],
            buckets=_OF_A_WAY,
            registry=self._registry,
        )
        self._sources: frozenset[str] = frozenset()
        self._destinations: frozenset[str] = frozenset()

    def keep(self, sources: Collection[str], destinations: Collection[str]) -> None:
        """Count only for these names from now on: new ones start at 0, and the counts of others are dropped."""
        for gone in self._sources.difference(sources):
            self._events.remove_by_labels({"source": gone})
            self._failures.remove_by_labels({"source": gone})
        for gone in self._destinations.difference(destinations):
            for metric in (self._attempts, self._delivered, self._requests, self._latency):
                metric.remove_by_labels({"destination": gone})
        for source in set(sources).difference(self._sources):
            for type_ in _DETECTED:
                self._events.labels(source, type_)
        self._events.labels("", EventType.ALERT)
        for destination in set(destinations).difference(self._destinations):
            self._delivered.labels(destination)
            self._requests.labels(destination)
            self._latency.labels(destination)
        self._sources, self._destinations = frozenset(sources), frozenset(destinations)

    def detected(self, events: Iterable[Event]) -> None:
        """Count events that have just been stored."""
        for event in events:
            if event.type == EventType.ALERT or event.source in self._sources:
                self._events.labels(event.source, event.type).inc()

    def polled(self, seconds: float) -> None:
        """Record how long a poll took."""
        self._rounds.observe(seconds)

    def failed(self, source: str, reason: str) -> None:
        """Count a failed request or round."""
        if source in self._sources:
            self._failures.labels(source, reason).inc()

    def attempted(self, deliveries: Sequence[Delivery], settlements: Sequence[Settlement]) -> None:
        """Record the result of a request that carried these deliveries."""
        first = settlements[0]
        name = first.destination
        if name not in self._destinations:
            return
        self._requests.labels(name).observe(first.milliseconds / 1000)
        for it in settlements:
            self._attempts.labels(name, it.decision, it.reason).inc(len(it.sequences))
            if it.state is DeliveryState.DELIVERED:
                self._delivered.labels(name).inc(len(it.sequences))
        detected_ms = min((it.event.time_ms for it in deliveries if not it.again), default=None)
        if first.state is DeliveryState.DELIVERED and detected_ms is not None:
            took_ms = first.attempted_ms + first.milliseconds - detected_ms
            self._latency.labels(name).observe(max(0, took_ms) / 1000)

    def page(self, figures: MetricsSnapshot) -> bytes:
        """Return counters and gauges in Prometheus's text format 0.0.4. May run in a thread."""
        return generate_latest(_Together(self._registry, figures, self._from_the_start()))

    def _from_the_start(self) -> Mapping[str, Iterator[dict[str, str]]]:
        """Return the labels of series that exist before anything was counted, by the name of their metric.

        The library's counters take 0.7 kB each, which is much for hundreds of sources and all reasons.
        """
        return {
            "notifier_source_failures": (
                {"source": source, "reason": reason} for source in self._sources for reason in ApiErrorReason
            ),
            "notifier_attempts": (
                {"destination": destination, "decision": decision, "reason": result}
                for destination in self._destinations
                for result in AttemptResult
                for decision in _DECISIONS[failure_scope(result)]
            ),
        }


class _Together(Collector):
    """Collects the counters and the gauges for one page."""

    def __init__(
        self,
        registry: CollectorRegistry,
        figures: MetricsSnapshot,
        from_the_start: Mapping[str, Iterator[dict[str, str]]],
    ) -> None:
        self._registry = registry
        self._figures = figures
        self._from_the_start = from_the_start

    def collect(self) -> Iterator[Metric]:
        yield from families(self._figures)
        for metric in self._registry.collect():
            # Prometheus's text format does not support `_created` samples; each would become another gauge.
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            counted = {tuple(sample.labels.values()) for sample in metric.samples}
            for labels in self._from_the_start.get(metric.name, ()):
                if tuple(labels.values()) not in counted:
                    metric.add_sample(f"{metric.name}_total", labels, 0.0)
            yield metric
