"""Signals: captured in one place, for as long as the daemon runs."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_signal() -> Iterator[asyncio.Event]:
    """Set an event on SIGTERM or SIGINT, instead of dying; the earlier handlers come back afterwards."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    captured = (signal.SIGTERM, signal.SIGINT)
    for number in captured:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in captured:
            loop.remove_signal_handler(number)
