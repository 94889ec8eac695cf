"""The metrics page of a standby, a process that waits until it can hold the store."""

from collections.abc import Iterator

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from notifier.web.metrics.gauges import store_holder_metric


def standby_page(store_address: str, *, is_reachable: bool) -> bytes:
    """Return the metrics page of a standby. `is_reachable` says whether the database answers this process."""
    return generate_latest(_Standby(store_address, is_reachable=is_reachable))


class _Standby(Collector):
    def __init__(self, store_address: str, *, is_reachable: bool) -> None:
        self._store_address = store_address
        self._is_reachable = is_reachable

    def collect(self) -> Iterator[Metric]:
        yield store_holder_metric(self._store_address, is_holder=False)
        help_ = "1 if the database answers this process, otherwise 0."
        reachable = GaugeMetricFamily("notifier_store_reachable", help_, labels=["store"])
        reachable.add_metric([self._store_address], int(self._is_reachable))
        yield reachable
