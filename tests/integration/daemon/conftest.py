"""What is around a daemon."""

from tests.support.daemon import clock, run, world

__all__ = ["clock", "run", "world"]
