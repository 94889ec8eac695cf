"""The page that Prometheus reads. Only the request for it imports this module, and with it Prometheus's library."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from notifier.web.metrics.gauges import families
from notifier.web.metrics.series import Counter, Histogram
from notifier.web.metrics.snapshot import MetricsSnapshot

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def exposition(counted: Iterable[Counter | Histogram], figures: MetricsSnapshot) -> bytes:
    """Return counters and gauges in Prometheus's text format 0.0.4. May run in a thread."""
    return generate_latest(_Together(counted, figures))


class _Together(Collector):
    """Collects the counters and the gauges for one page."""

    def __init__(self, counted: Iterable[Counter | Histogram], figures: MetricsSnapshot) -> None:
        self._counted = counted
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield from families(self._figures)
        yield from ProcessCollector(namespace="notifier", registry=CollectorRegistry()).collect()
        for metric in self._counted:
            yield _of_counter(metric) if isinstance(metric, Counter) else _of_histogram(metric)


def _of_counter(counter: Counter) -> Metric:
    family = CounterMetricFamily(counter.name, counter.description, labels=counter.labels)
    for labels, value in counter.values():
        family.add_metric(labels, value)
    return family


def _of_histogram(histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(histogram.name, histogram.description, labels=histogram.labels)
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    for labels, counts, total in histogram.values():
        family.add_metric(labels, list(zip(bounds, counts, strict=True)), total)
    return family
