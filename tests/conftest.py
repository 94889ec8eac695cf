"""What holds for all tests, a clock that stands still, and a stack of what is to be closed."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, settings

from tests.support.clocks import FakeClock

# How long an example takes says more about the machine's other work than about the program.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The suite gives the same answer each time, with half as many examples as usual.
# With NOTIFIER_SEARCH=1 it looks for new ones.
settings.register_profile(
    "same examples", settings.get_profile("any machine"), derandomize=True, database=None, max_examples=50
)
settings.load_profile("any machine" if os.environ.get("NOTIFIER_SEARCH") else "same examples")

# A script that starts the suite in the background, or under nohup, lets it ignore Ctrl-C and the end of its terminal,
# and the programs that the tests start as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Hundreds of the programs that the tests start would compile the package anew, a fifth of what each of them takes,
# and each process of the suite all tests, half of what it takes to find them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def resources() -> AsyncIterator[AsyncExitStack]:
    """Close what a test has opened."""
    async with AsyncExitStack() as stack:
        yield stack
