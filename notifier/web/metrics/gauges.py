"""Converts a snapshot of figures to Prometheus's metrics. Pure.

Label values come from the configuration and from fixed sets, so that the number of series is limited. Names and units
follow https://prometheus.io/docs/practices/naming/: base units, and `_total` for counters.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from notifier import __version__
from notifier.delivery.health import DestinationState
from notifier.watch.source_health import SourceState
from notifier.web.metrics.snapshot import DestinationFigures, MetricsSnapshot, SourceFigures, StoreFigures

Figures = TypeVar("Figures")
Part = TypeVar("Part", bound=str)

_MS_PER_SECOND: Final = 1000


def metric_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    """Yield the metrics that show the figures of a snapshot."""
    yield _single_gauge("notifier_build_info", "The version of the running program.", {"version": __version__}, 1)
    started = snapshot.started_ms / _MS_PER_SECOND
    yield _single_gauge("notifier_start_time_seconds", "When this process started (Unix time).", {}, started)
    yield from _of_sources(snapshot.sources, snapshot.now_ms)
    yield from _of_destinations(snapshot.destinations, snapshot.now_ms)
    firing = GaugeMetricFamily("notifier_condition", "1 for each active condition.", labels=["condition", "subject"])
    for condition, subject in snapshot.conditions:
        firing.add_metric([condition, subject], 1)
    yield firing
    if snapshot.evaluation_age_seconds is not None:
        help_ = "How long ago the daemon evaluated its conditions."
        yield _single_gauge("notifier_evaluation_age_seconds", help_, {}, snapshot.evaluation_age_seconds)
    help_ = "For how long the oldest alert has waited to be delivered; 0 if none waits."
    yield _single_gauge("notifier_alerts_undelivered_seconds", help_, {}, snapshot.alerts_undelivered_seconds)
    if snapshot.store is not None:
        yield from _of_store(snapshot.store)
    yield store_holder_metric(snapshot.store_address, is_holder=True)
    yield _single_gauge("notifier_stream_readers", "Readers of the stream of events.", {}, snapshot.readers)


def store_holder_metric(store_address: str, *, is_holder: bool) -> Metric:
    """Return the metric that says whether this process holds the store."""
    help_ = "1 if this process holds the store and works, 0 while it stands by."
    return _single_gauge("notifier_holds_store", help_, {"store": store_address}, int(is_holder))


def _of_sources(sources: Mapping[str, SourceFigures], now_ms: int) -> Iterator[Metric]:
    yield _state_gauge(
        "notifier_source_state",
        "1 for the state that a source is in.",
        "source",
        SourceState,
        {name: it.state for name, it in sources.items()},
    )
    gauge, counter = _metric_makers("source", sources)
    yield gauge("records", "Known records that exist.", lambda it: it.records)
    yield gauge(
        "last_success_timestamp_seconds",
        "When a poll last succeeded (Unix time); missing while that time is in the future because the clock was set.",
        lambda it: _seconds(it.last_success_ms) if (it.last_success_ms or 0) <= now_ms else None,
    )
    yield gauge(
        "next_poll_timestamp_seconds", "When it is polled next (Unix time).", lambda it: _seconds(it.next_poll_ms)
    )
    yield gauge("poll_interval_seconds", "How often it is polled, as configured.", lambda it: it.poll_interval_seconds)
    yield counter("requests_total", "Requests to the API.", lambda it: it.requests)
    yield gauge(
        "budget_allowed_per_minute",
        "Requests a minute that are allowed now: less than configured after the API's limit was exceeded.",
        lambda it: it.allowed_per_minute,
    )
    yield gauge(
        "budget_used_ratio",
        "Requests of the last minute as a share of those allowed now.",
        lambda it: it.used_last_minute / it.allowed_per_minute if it.allowed_per_minute else 0,
    )
    yield _gauge_by_part(
        "notifier_source_budget_used_requests",
        "Requests of the last minute, by purpose.",
        ("source", "purpose"),
        {name: it.used_by_purpose for name, it in sources.items()},
    )
    yield _gauge_by_part(
        "notifier_source_held_records",
        "Records of which a removal, an arrival or a change is held back until you release it.",
        ("source", "what"),
        {name: it.held for name, it in sources.items()},
    )
    yield _gauge_by_part(
        "notifier_source_second_looks",
        "Records of which a removal, a return or an earlier content waits for a second look.",
        ("source", "kind"),
        {name: it.second_looks for name, it in sources.items()},
    )
    yield gauge(
        "unexplained_records",
        "Records that the API counts without a known reason; below 0 if it counts too few.",
        lambda it: it.unexplained,
    )
    yield gauge(
        "count_offset_records",
        "The difference that is treated as an error in the API's count, because two sweeps of the whole list have"
        " not explained it.",
        lambda it: it.count_offset,
    )
    yield _gauge_by_part(
        "notifier_source_unreadable_records",
        "Records of the list that cannot be read; the label is the field that cannot be read in one of them.",
        ("source", "field"),
        {name: {it.unreadable_field or "": it.unreadable} for name, it in sources.items()},
    )
    yield gauge("searching", "1 while a change of an older record is being searched for.", lambda it: it.searching)
    yield gauge(
        "sweep_progress_ratio", "The progress of the newest sweep of the whole list.", lambda it: it.sweep_progress
    )
    yield gauge(
        "last_sweep_timestamp_seconds",
        "When a sweep last reached the end of the list (Unix time).",
        lambda it: _seconds(it.last_sweep_ms),
    )


def _of_destinations(destinations: Mapping[str, DestinationFigures], now_ms: int) -> Iterator[Metric]:
    yield _state_gauge(
        "notifier_destination_state",
        "1 for the state that a destination is in.",
        "destination",
        DestinationState,
        {name: it.state for name, it in destinations.items()},
    )
    gauge = _metric_makers("destination", destinations)[0]
    yield gauge("pending", "Events that wait to be delivered.", lambda it: it.pending)
    yield gauge("dead", "Events whose delivery was given up.", lambda it: it.dead)
    yield gauge(
        "oldest_pending_seconds",
        "How long the oldest event that is due has waited; 0 if none is due. What waits for a schedule is not due.",
        lambda it: 0 if it.oldest_pending_ms is None else max(0, now_ms - it.oldest_pending_ms) / _MS_PER_SECOND,
    )


def _of_store(store: StoreFigures) -> Iterator[Metric]:
    sizes = GaugeMetricFamily("notifier_state_file_bytes", "The size of the state file and its log.", labels=["file"])
    for name, size in store.file_bytes.items():
        sizes.add_metric([name], size)
    yield sizes
    yield _single_gauge("notifier_state_file_free_bytes", "Free space where the state file is.", {}, store.free_bytes)


def _metric_makers(
    label: str, figures_by_name: Mapping[str, Figures]
) -> tuple[Callable[..., GaugeMetricFamily], Callable[..., CounterMetricFamily]]:
    """Return a function that makes gauges, and one that makes counters.

    Each metric has a series for each name in `figures_by_name`. A gauge has no series for a name whose value is None.
    """

    def gauge(name: str, help_: str, value: Callable[[Figures], float | None]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"notifier_{label}_{name}", help_, labels=[label])
        for label_value, it in figures_by_name.items():
            if (number := value(it)) is not None:
                family.add_metric([label_value], number)
        return family

    def counter(name: str, help_: str, value: Callable[[Figures], float]) -> CounterMetricFamily:
        family = CounterMetricFamily(f"notifier_{label}_{name}", help_, labels=[label])
        for label_value, it in figures_by_name.items():
            family.add_metric([label_value], value(it))
        return family

    return gauge, counter


def _gauge_by_part(
    name: str, help_: str, labels: tuple[str, str], values: Mapping[str, Mapping[Part, int]]
) -> GaugeMetricFamily:
    """Return a gauge with two labels. `values[a][b]` is the number for the label values `a` and `b`."""
    family = GaugeMetricFamily(name, help_, labels=labels)
    for label_value, parts in values.items():
        for part, value in parts.items():
            family.add_metric([label_value, part], value)
    return family


def _state_gauge(
    name: str, help_: str, label: str, states: Iterable[StrEnum], current: Mapping[str, str]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=[label, "state"])
    all_states = tuple(states)
    for label_value, state in current.items():
        for possible in all_states:
            family.add_metric([label_value, possible], state == possible)
    return family


def _single_gauge(name: str, help_: str, labels: Mapping[str, str], value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / _MS_PER_SECOND
