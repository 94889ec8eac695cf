"""The page of metrics, read as Prometheus reads it."""

from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families

Series = dict[str, dict[frozenset[str], float]]


def read(page: bytes) -> Series:
    """Read a page: each series by its name and its labels, written `name=value`."""
    series: Series = defaultdict(dict)
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            labels = frozenset(f"{name}={value}" for name, value in sample.labels.items())
            assert labels not in series[sample.name], "each series stands there once"
            series[sample.name][labels] = sample.value
    return series


def only(series: Series, name: str, *labels: str) -> float:
    return series[name][frozenset(labels)]
