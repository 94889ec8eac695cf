"""The page that Prometheus reads, written with the help of its library."""

from collections.abc import Iterator, Sequence

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from notifier.web.metrics.counters import CountedSeries, HistogramSeries
from notifier.web.metrics.gauges import families
from notifier.web.metrics.snapshot import MetricsSnapshot


def written(figures: MetricsSnapshot, counts: Sequence[CountedSeries | HistogramSeries]) -> bytes:
    """Return figures and counts in Prometheus's text format 0.0.4."""
    return generate_latest(_Together(figures, counts))


class _Together(Collector):
    """A collector through which the library gets all metrics of one page."""

    def __init__(self, figures: MetricsSnapshot, counts: Sequence[CountedSeries | HistogramSeries]) -> None:
        self._figures = figures
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        yield from families(self._figures)
        yield from ProcessCollector(namespace="notifier", registry=None).collect()
        for of in self._counts:
            yield _counter(of) if isinstance(of, CountedSeries) else _histogram(of)


def _counter(of: CountedSeries) -> Metric:
    family = CounterMetricFamily(of.name, of.help, labels=of.labels)
    for labels, count in of.counts.items():
        family.add_metric(labels, count)
    return family


def _histogram(of: HistogramSeries) -> Metric:
    family = HistogramMetricFamily(of.name, of.help, labels=of.labels)
    bounds = [*map(floatToGoString, (*of.bounds, float("inf")))]
    for labels, buckets in of.series.items():
        family.add_metric(labels, [*zip(bounds, buckets.counts, strict=True)], buckets.sum)
    return family
