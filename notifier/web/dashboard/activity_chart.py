"""Computes the bars of the charts that show requests per hour. Pure."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from notifier.store.tables.activity import RequestCount

CHART_HEIGHT: Final = 60.0
"""The height of a chart, in the units of its SVG image."""

_SMALLEST_BAR: Final = 2.0
"""The height of the smallest bar above zero, so that it can be seen."""


class HourBar(Struct, frozen=True):
    """The heights of one hour's three bars: all requests, failed requests, and mean duration."""

    count: RequestCount
    hours_ago: int
    requests: float
    failed: float
    mean: float

    @property
    def mean_ms(self) -> int:
        """The mean duration of this hour's requests in milliseconds; 0 if there were none."""
        return mean_ms(self.count)


class ActivityChart(Struct, frozen=True):
    """The bars of two charts: one shows all and failed requests of each hour, the other their mean duration.

    The highest bar of the first chart stands for `most_requests`, the highest bar of the second for `longest_mean_ms`.
    """

    bars: Sequence[HourBar]
    total: RequestCount
    most_requests: int
    longest_mean_ms: int

    @property
    def mean_ms(self) -> int:
        """The mean duration of all requests in milliseconds."""
        return mean_ms(self.total)


def mean_ms(count: RequestCount) -> int:
    """Return the mean duration of requests in milliseconds; 0 if there are none."""
    return round(count.milliseconds / count.requests) if count.requests else 0


def activity_chart(hours: Sequence[RequestCount]) -> ActivityChart:
    """Return the charts for `hours`. The first hour is the oldest."""
    most = max((hour.requests for hour in hours), default=0)
    longest = max(map(mean_ms, hours), default=0)
    bars = [
        HourBar(
            hour,
            len(hours) - 1 - index,
            _height(hour.requests, most),
            _height(hour.failed, most),
            _height(mean_ms(hour), longest) if hour.requests else 0.0,
        )
        for index, hour in enumerate(hours)
    ]
    return ActivityChart(bars, sum(hours, RequestCount()), most, longest)


def _height(value: int, most: int) -> float:
    return round(max(_SMALLEST_BAR, CHART_HEIGHT * value / most), 1) if value and most else 0.0
