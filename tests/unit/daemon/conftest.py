"""A clock that can be set."""

from tests.support.daemon import clock

__all__ = ["clock"]
