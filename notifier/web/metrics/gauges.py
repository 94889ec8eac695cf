"""Turns figures into metrics. Pure.

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

Of = TypeVar("Of")
Part = TypeVar("Part", bound=str)

_MILLISECONDS: Final = 1000


def families(figures: MetricsSnapshot) -> Iterator[Metric]:
    """Yield the metrics that show the figures of a snapshot."""
    yield _alone("notifier_build_info", "The version of the running program.", {"version": __version__}, 1)
    started = figures.started_ms / _MILLISECONDS
    yield _alone("notifier_start_time_seconds", "When this process started (Unix time).", {}, started)
    yield from _of_sources(figures.sources, figures.now_ms)
    yield from _of_destinations(figures.destinations, figures.now_ms)
    firing = GaugeMetricFamily("notifier_condition", "1 for each active condition.", labels=["condition", "subject"])
    for condition, subject in figures.conditions:
        firing.add_metric([condition, subject], 1)
    yield firing
    if figures.evaluated_ago is not None:
        help_ = "How long ago the daemon evaluated its conditions."
        yield _alone("notifier_evaluation_age_seconds", help_, {}, figures.evaluated_ago)
    help_ = "For how long the oldest alert has waited to be delivered; 0 if none waits."
    yield _alone("notifier_alerts_undelivered_seconds", help_, {}, figures.alerts_undelivered)
    if figures.store is not None:
        yield from _of_store(figures.store)
    yield holds_store(figures.store_address, is_holder=True)
    yield _alone("notifier_stream_readers", "Readers of the stream of events.", {}, figures.readers)


def holds_store(store_address: str, *, is_holder: bool) -> Metric:
    """Return the metric that says whether this process holds the store."""
    help_ = "1 if this process holds the store and works, 0 while it stands by."
    return _alone("notifier_holds_store", help_, {"store": store_address}, int(is_holder))


def _of_sources(sources: Mapping[str, SourceFigures], now_ms: int) -> Iterator[Metric]:
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
        "When a poll last succeeded (Unix time); missing while that time is in the future because the clock was set.",
        lambda it: _seconds(it.last_success_ms) if (it.last_success_ms or 0) <= now_ms else None,
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
        "Requests of the last minute as a share of those allowed now.",
        lambda it: it.used / it.allowed if it.allowed else 0,
    )
    yield _split(
        "notifier_source_budget_used_requests",
        "Requests of the last minute, by purpose.",
        ("source", "purpose"),
        {name: it.used_by for name, it in sources.items()},
    )
    yield _split(
        "notifier_source_held_records",
        "Records of which a removal, an arrival or a change is held back until you release it.",
        ("source", "what"),
        {name: it.held for name, it in sources.items()},
    )
    yield _split(
        "notifier_source_second_looks",
        "Records of which a removal, a return or an earlier content waits for a second look.",
        ("source", "kind"),
        {name: it.waiting for name, it in sources.items()},
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
    yield _split(
        "notifier_source_unreadable_records",
        "Records of the list that cannot be read; the label is the field that cannot be read in one of them.",
        ("source", "field"),
        {name: {it.unreadable_field or "": it.unreadable} for name, it in sources.items()},
    )
    yield gauge("searching", "1 while a change of an older record is being searched for.", lambda it: it.searching)
    yield gauge("sweep_progress_ratio", "The progress of the newest sweep of the whole list.", lambda it: it.swept)
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
        DestinationState,
        {name: it.state for name, it in destinations.items()},
    )
    gauge = _makers("destination", destinations)[0]
    yield gauge("pending", "Events that wait to be delivered.", lambda it: it.pending)
    yield gauge("dead", "Events whose delivery was given up.", lambda it: it.dead)
    yield gauge(
        "oldest_pending_seconds",
        "How long the oldest event that is due has waited; 0 if none is due. What waits for a schedule is not due.",
        lambda it: 0 if it.oldest_pending_ms is None else max(0, now_ms - it.oldest_pending_ms) / _MILLISECONDS,
    )


def _of_store(store: StoreFigures) -> Iterator[Metric]:
    files = GaugeMetricFamily("notifier_state_file_bytes", "The size of the state file and its log.", labels=["file"])
    for name, size in store.files.items():
        files.add_metric([name], size)
    yield files
    yield _alone("notifier_state_file_free_bytes", "Free space where the state file is.", {}, store.free)


def _makers(
    label: str, them: Mapping[str, Of]
) -> tuple[Callable[..., GaugeMetricFamily], Callable[..., CounterMetricFamily]]:
    """Return two functions: one makes a gauge with a series per item whose value is not None, one a counter."""

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


def _split(
    name: str, help_: str, labels: tuple[str, str], values: Mapping[str, Mapping[Part, int]]
) -> GaugeMetricFamily:
    """Return a gauge with one series for each item and part; `values` has the parts by item."""
    family = GaugeMetricFamily(name, help_, labels=labels)
    for whose, parts in values.items():
        for part, value in parts.items():
            family.add_metric([whose, part], value)
    return family


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
