"""Fixtures for tests of a daemon."""

from tests.support.daemon import clock, run, world
from tests.support.notices import notice_receiver

__all__ = ["clock", "notice_receiver", "run", "world"]
