"""The real daemon and the real sandbox on one event loop in virtual time."""

from tests.support.detection_world import world
from tests.support.time_lapse import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories", "world"]
