"""Renders the metrics page with Prometheus's client library."""

from collections.abc import Iterator, Sequence

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from notifier.web.metrics.counters import CounterMetric, HistogramMetric
from notifier.web.metrics.gauges import metric_families
from notifier.web.metrics.snapshot import MetricsSnapshot


def render(snapshot: MetricsSnapshot, counts: Sequence[CounterMetric | HistogramMetric]) -> bytes:
    """Return the metrics page, with a snapshot's figures and the counts, in Prometheus's text format 0.0.4."""
    return generate_latest(_PageCollector(snapshot, counts))


class _PageCollector(Collector):
    """Gives the library all metrics of one page."""

    def __init__(self, snapshot: MetricsSnapshot, counts: Sequence[CounterMetric | HistogramMetric]) -> None:
        self._figures = snapshot
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        yield from metric_families(self._figures)
        yield from ProcessCollector(namespace="notifier", registry=None).collect()
        for series in self._counts:
            yield _counter(series) if isinstance(series, CounterMetric) else _histogram(series)


def _counter(series: CounterMetric) -> Metric:
    family = CounterMetricFamily(series.name, series.help, labels=series.labels)
    for labels, count in series.counts.items():
        family.add_metric(labels, count)
    return family


def _histogram(series: HistogramMetric) -> Metric:
    family = HistogramMetricFamily(series.name, series.help, labels=series.labels)
    bounds = [*map(floatToGoString, (*series.bounds, float("inf")))]
    for labels, buckets in series.series.items():
        family.add_metric(labels, [*zip(bounds, buckets.counts, strict=True)], buckets.sum)
    return family
