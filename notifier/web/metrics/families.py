"""Figures as metrics. Label values come from the configuration and from closed sets, so that series are bounded. Pure.

Names and units after https://prometheus.io/docs/practices/naming/: base units, `_total` for what only grows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from notifier import __version__
from notifier.ledger.destinations import HealthState
from notifier.watch.health import SourceState
from notifier.web.metrics.figures import DestinationFigures, Figures, SourceFigures, StoreFigures

Of = TypeVar("Of")

_MILLISECONDS: Final = 1000


def families(figures: Figures) -> Iterator[Metric]:
    """Yield the metrics of all figures."""
    yield _alone("notifier_build_info", "The version that runs.", {"version": __version__}, 1)
    started = figures.started_ms / _MILLISECONDS
    yield _alone("notifier_start_time_seconds", "When this process started (Unix time).", {}, started)
    yield from _of_sources(figures.sources)
    yield from _of_destinations(figures.destinations, figures.now_ms)
    firing = GaugeMetricFamily(
        "notifier_condition", "1 for each condition that fires.", labels=["condition", "subject"]
    )
    for condition, subject in figures.conditions:
        firing.add_metric([condition, subject], 1)
    yield firing
    yield from _of_store(figures.store)
    yield _alone("notifier_stream_readers", "Readers of the stream of events.", {}, figures.readers)


def _of_sources(sources: Mapping[str, SourceFigures]) -> Iterator[Metric]:
    yield _states(
        "notifier_source_state",
        "1 for the state that a source is in.",
        "source",
        SourceState,
        {name: it.state for name, it in sources.items()},
    )
    gauge, counter = _makers("source", sources)
    yield gauge("records", "Known records that exist.", lambda it: it.records)
    yield gauge(
        "last_success_timestamp_seconds",
        "When a poll last succeeded (Unix time).",
        lambda it: _seconds(it.last_success_ms),
    )
    yield gauge(
        "next_poll_timestamp_seconds", "When it is polled next (Unix time).", lambda it: _seconds(it.next_poll_ms)
    )
    yield gauge("poll_interval_seconds", "How often it is polled, as configured.", lambda it: it.poll_interval)
    yield counter("requests_total", "Requests to the API.", lambda it: it.requests)
    yield gauge(
        "budget_allowed_per_minute",
        "Requests a minute that are allowed now: less than configured after the API's limit was exceeded.",
        lambda it: it.allowed,
    )
    yield gauge(
        "budget_used_ratio",
        "Requests of the last minute as a part of those allowed now.",
        lambda it: it.used / it.allowed if it.allowed else 0,
    )
    yield gauge("sweep_progress_ratio", "How far the newest sweep of the whole list has come.", lambda it: it.swept)
    yield gauge(
        "last_sweep_timestamp_seconds",
        "When a sweep last reached the end of the list (Unix time).",
        lambda it: _seconds(it.swept_ms),
    )


def _of_destinations(destinations: Mapping[str, DestinationFigures], now_ms: int) -> Iterator[Metric]:
    yield _states(
        "notifier_destination_state",
        "1 for the state that a destination is in.",
        "destination",
        HealthState,
        {name: it.state for name, it in destinations.items()},
    )
    gauge, counter = _makers("destination", destinations)
    yield gauge("pending", "Events that wait to be delivered.", lambda it: it.pending)
    yield gauge("dead", "Events whose delivery was given up.", lambda it: it.dead)
    yield gauge(
        "oldest_pending_seconds",
        "How long ago the oldest event that waits was detected; 0 when none waits.",
        lambda it: 0 if it.oldest_pending_ms is None else max(0, now_ms - it.oldest_pending_ms) / _MILLISECONDS,
    )
    yield counter("delivered_total", "Events delivered, by earlier processes too.", lambda it: it.delivered)


def _of_store(store: StoreFigures) -> Iterator[Metric]:
    files = GaugeMetricFamily("notifier_state_file_bytes", "The size of the state file and its log.", labels=["file"])
    for name, size in store.files.items():
        files.add_metric([name], size)
    yield files
    yield _alone("notifier_state_file_free_bytes", "Room that is left where the state file is.", {}, store.free)


def _makers(
    label: str, them: Mapping[str, Of]
) -> tuple[Callable[..., GaugeMetricFamily], Callable[..., CounterMetricFamily]]:
    """Return what makes gauges and counters, one series for each thing of a kind; what is None has no series."""

    def gauge(name: str, help_: str, value: Callable[[Of], float | None]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"notifier_{label}_{name}", help_, labels=[label])
        for whose, it in them.items():
            if (is_now := value(it)) is not None:
                family.add_metric([whose], is_now)
        return family

    def counter(name: str, help_: str, value: Callable[[Of], float]) -> CounterMetricFamily:
        family = CounterMetricFamily(f"notifier_{label}_{name}", help_, labels=[label])
        for whose, it in them.items():
            family.add_metric([whose], value(it))
        return family

    return gauge, counter


def _states(
    name: str, help_: str, label: str, states: Iterable[StrEnum], current: Mapping[str, str]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=[label, "state"])
    all_states = tuple(states)
    for whose, state in current.items():
        for possible in all_states:
            family.add_metric([whose, possible], state == possible)
    return family


def _alone(name: str, help_: str, labels: Mapping[str, str], value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / _MILLISECONDS
