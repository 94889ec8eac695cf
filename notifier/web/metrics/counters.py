"""Counters and histograms that are updated as events occur.

Every counter starts at 0 with the process. Counters are not kept in the state file, because a restored older file
would decrease them. Prometheus treats a decrease as a restart from 0, and would add the whole value again.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from msgspec import Struct

from notifier.delivery.policy.retry import Decision
from notifier.destinations.outcome import AttemptResult, FailureScope, failure_scope
from notifier.events import Event, EventType
from notifier.kpa.errors import ApiErrorReason
from notifier.store.tables.outbox import Delivery, DeliveryState
from notifier.store.tables.settlements import Settlement

_REQUEST_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
_POLL_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_LATENCY_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)
"""The bounds of the histograms, in seconds. The latency is the time from an event's detection to its delivery."""

_DETECTED: Final = (EventType.CREATED, EventType.UPDATED, EventType.REMOVED)

_EVENT_DECISIONS: Final = (Decision.WAIT_FOR_ENDPOINT, Decision.RETRY_LATER, Decision.SPLIT, Decision.GIVE_UP)
_DECISIONS: Final = {
    FailureScope.NONE: (Decision.DELIVERED,),
    FailureScope.PACE: (Decision.WAIT_FOR_ENDPOINT,),
    FailureScope.ENDPOINT: (Decision.WAIT_FOR_ENDPOINT, Decision.GIVE_UP),
    FailureScope.UNKNOWN: _EVENT_DECISIONS,
    FailureScope.EVENT: _EVENT_DECISIONS,
    FailureScope.PERMANENT: (Decision.HOLD,),
}
"""The possible decisions after an attempt, by failure scope. Their series exist from the start, because Prometheus sees
no increase in a series whose first value is 1.
"""

Labels = tuple[str, ...]
"""The names of a metric's labels, or the values of these labels in the same order."""


class CounterMetric(Struct, frozen=True):
    """A counter metric, with a count for each combination of label values. `labels` has the names of the labels."""

    name: str
    help: str
    labels: Labels
    counts: Mapping[Labels, int]


class Buckets(Struct, frozen=True):
    """One histogram.

    `counts` has the number of observations up to each bound. The last item is the number of all observations. `sum` is
    the sum of the observed values.
    """

    counts: Sequence[int]
    sum: float


class HistogramMetric(Struct, frozen=True):
    """A histogram metric, with a histogram for each combination of label values. `bounds` does not contain infinity."""

    name: str
    help: str
    labels: Labels
    bounds: Sequence[float]
    series: Mapping[Labels, Buckets]


class _Histogram:
    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def buckets(self) -> Buckets:
        return Buckets([*accumulate(self._counts)], self._sum)


class Counters:
    """The counters and histograms of the configured sources and destinations."""

    def __init__(self) -> None:
        self._events: Counter[Labels] = Counter()
        self._failures: Counter[Labels] = Counter()
        self._poll_durations = _Histogram(_POLL_BOUNDS)
        self._attempts: Counter[Labels] = Counter()
        self._delivered: Counter[Labels] = Counter()
        self._request_durations: dict[Labels, _Histogram] = {}
        self._delivery_latencies: dict[Labels, _Histogram] = {}
        self._sources: frozenset[str] = frozenset()
        self._destinations: frozenset[str] = frozenset()

    def keep_only(self, sources: Collection[str], destinations: Collection[str]) -> None:
        """Count only for these names from now on. New names start at 0, and the counts of other names are dropped."""
        self._events = _only_for(self._events, {*sources, ""})
        self._failures = _only_for(self._failures, sources)
        self._attempts, self._delivered = (
            _only_for(self._attempts, destinations),
            _only_for(self._delivered, destinations),
        )
        self._request_durations = {
            (name,): self._request_durations.get((name,)) or _Histogram(_REQUEST_BOUNDS) for name in destinations
        }
        self._delivery_latencies = {
            (name,): self._delivery_latencies.get((name,)) or _Histogram(_LATENCY_BOUNDS) for name in destinations
        }
        self._sources, self._destinations = frozenset(sources), frozenset(destinations)

    def count_events(self, events: Iterable[Event]) -> None:
        """Count events that have just been stored."""
        for event in events:
            if event.type == EventType.ALERT or event.source in self._sources:
                self._events[event.source, str(event.type)] += 1

    def record_poll(self, seconds: float) -> None:
        """Record how long a poll took."""
        self._poll_durations.observe(seconds)

    def count_failure(self, source: str, reason: str) -> None:
        """Count a failure in watching a source: a failed request, a store error, or an internal error."""
        if source in self._sources:
            self._failures[source, str(reason)] += 1

    def record_attempt(self, deliveries: Sequence[Delivery], settlements: Sequence[Settlement]) -> None:
        """Record the duration and the outcomes (`settlements`) of a request that sent `deliveries` to a destination."""
        first = settlements[0]
        name = first.destination
        if name not in self._destinations:
            return
        self._request_durations[name,].observe(first.milliseconds / 1000)
        for it in settlements:
            self._attempts[name, str(it.decision), str(it.reason)] += len(it.sequences)
            if it.state is DeliveryState.DELIVERED:
                self._delivered[name,] += len(it.sequences)
        detected_ms = min((it.event.time_ms for it in deliveries if not it.again), default=None)
        if first.state is DeliveryState.DELIVERED and detected_ms is not None:
            took_ms = first.attempted_ms + first.milliseconds - detected_ms
            self._delivery_latencies[name,].observe(max(0, took_ms) / 1000)

    def series(self) -> list[CounterMetric | HistogramMetric]:
        """Return all metrics with their current counts. Expected label values that have not occurred have the count 0.

        May run in a thread.
        """
        zero_events: dict[Labels, int] = {(source, type_.value): 0 for source in self._sources for type_ in _DETECTED}
        zero_events["", EventType.ALERT.value] = 0
        zero_failures: dict[Labels, int] = {
            (source, reason.value): 0 for source in self._sources for reason in ApiErrorReason
        }
        zero_attempts: dict[Labels, int] = {
            (destination, decision.value, result.value): 0
            for destination in self._destinations
            for result in AttemptResult
            for decision in _DECISIONS[failure_scope(result)]
        }
        zero_deliveries: dict[Labels, int] = {(destination,): 0 for destination in self._destinations}
        of_destination = ("destination",)
        return [
            CounterMetric(
                "notifier_events",
                "Events detected by this process; alerts have an empty source.",
                ("source", "type"),
                {**zero_events, **self._events},
            ),
            CounterMetric(
                "notifier_source_failures",
                "Requests and rounds that failed, by reason.",
                ("source", "reason"),
                {**zero_failures, **self._failures},
            ),
            HistogramMetric(
                "notifier_poll_duration_seconds",
                "How long a poll took.",
                (),
                _POLL_BOUNDS,
                {(): self._poll_durations.buckets()},
            ),
            CounterMetric(
                "notifier_attempts",
                "Attempts to deliver an event, by the decision after them and its reason.",
                ("destination", "decision", "reason"),
                {**zero_attempts, **self._attempts},
            ),
            CounterMetric(
                "notifier_destination_delivered",
                "Events delivered by this process.",
                of_destination,
                {**zero_deliveries, **self._delivered},
            ),
            HistogramMetric(
                "notifier_attempt_duration_seconds",
                "How long one request to a destination took.",
                of_destination,
                _REQUEST_BOUNDS,
                _all_buckets(self._request_durations),
            ),
            HistogramMetric(
                "notifier_delivery_latency_seconds",
                "From the detection of an event to its delivery; for a request with several events, that of the oldest"
                " one. Replayed events are not included.",
                of_destination,
                _LATENCY_BOUNDS,
                _all_buckets(self._delivery_latencies),
            ),
        ]


def _only_for(counts: "Counter[Labels]", names: Collection[str]) -> "Counter[Labels]":
    """Return the counts of series whose first label is one of these names."""
    return Counter({labels: count for labels, count in counts.items() if labels[0] in names})


def _all_buckets(histograms: Mapping[Labels, _Histogram]) -> dict[Labels, Buckets]:
    return {labels: histogram.buckets() for labels, histogram in histograms.items()}
