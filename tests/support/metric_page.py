"""Parses the page of metrics with the parser of prometheus_client."""

from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families

Series = dict[str, dict[frozenset[str], float]]


def read(page: bytes) -> Series:
    """Return the values on a page by metric name and labels; a label is written `name=value`."""
    series: Series = defaultdict(dict)
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            labels = frozenset(f"{name}={value}" for name, value in sample.labels.items())
            assert labels not in series[sample.name], "each series stands there once"
            series[sample.name][labels] = sample.value
    return series


def only(series: Series, name: str, *labels: str) -> float:
    return series[name][frozenset(labels)]
