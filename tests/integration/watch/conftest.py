"""A source under watch."""

from tests.support.watched_source import either, faults, refusal, small_pages, station

__all__ = ["either", "faults", "refusal", "small_pages", "station"]
