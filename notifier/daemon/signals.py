"""Turns signals to the daemon into requests to stop or to reload."""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from msgspec import Struct, field

from notifier.process import PendingHangup, has_terminal

_log = logging.getLogger(__name__)

TERMINAL_CHECK_DELAY_SECONDS: Final = 0.2
"""Seconds between SIGHUP and the check whether the terminal exists. A closed terminal still exists for a moment."""


class Signals(Struct, frozen=True):
    """Two events: a signal that requests a stop sets `stop`, and a signal that requests a reload sets `reload`."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)


@contextmanager
def stop_on_signal() -> Iterator[asyncio.Event]:
    """Yield an event. Until the `with` block ends, SIGTERM and SIGINT set this event instead of ending the process."""
    stop = asyncio.Event()
    with _installed({signal.SIGTERM: stop.set, signal.SIGINT: stop.set}):
        yield stop


@contextmanager
def daemon_signals() -> Iterator[Signals]:
    """Treat SIGTERM and SIGINT as requests to stop, and SIGHUP as a request to reload.

    If the daemon's terminal was closed, SIGHUP is a request to stop. A SIGHUP that arrived during the start of the
    process is handled when the `with` block begins. When the block ends, the old handlers are restored.
    """
    signals = Signals()
    earlier = signal.getsignal(signal.SIGHUP)
    pending = earlier if isinstance(earlier, PendingHangup) else PendingHangup(earlier)

    def stop_or_reload() -> None:
        if pending.ends_with_terminal and not has_terminal():
            _log.info("the terminal that the daemon was started from was closed")
            signals.stop.set()
        else:
            signals.reload.set()

    def on_hangup() -> None:
        if pending.ends_with_terminal:
            asyncio.get_running_loop().call_later(TERMINAL_CHECK_DELAY_SECONDS, stop_or_reload)
        else:
            stop_or_reload()

    handlers = {signal.SIGTERM: signals.stop.set, signal.SIGINT: signals.stop.set, signal.SIGHUP: on_hangup}
    with _installed(handlers):
        if pending.has_arrived:
            on_hangup()
        yield signals


@contextmanager
def _installed(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    earlier = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number, before in earlier.items():
            loop.remove_signal_handler(number)
            if before is not None:
                # None stands for a handler that was not installed from Python. Python cannot restore it.
                signal.signal(number, before)
