"""Signals: captured in one place, for as long as the daemon runs."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_signal() -> Iterator[asyncio.Event]:
    """Set an event on SIGTERM or SIGINT, instead of dying; the earlier handlers come back afterwards."""
    with _noted(signal.SIGTERM, signal.SIGINT) as stop:
        yield stop


@contextmanager
def reload_on_signal() -> Iterator[asyncio.Event]:
    """Set an event on SIGHUP, instead of dying; the earlier handler comes back afterwards."""
    with _noted(signal.SIGHUP) as reload:
        yield reload


@contextmanager
def _noted(*signals: signal.Signals) -> Iterator[asyncio.Event]:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    for number in signals:
        loop.add_signal_handler(number, event.set)
    try:
        yield event
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
