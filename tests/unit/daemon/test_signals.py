"""Signals: what they request while the daemon runs, and which handlers are set before and afterwards."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from notifier.daemon.signals import daemon_signals, stop_on_signal
from notifier.process import PendingHangup

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def restore_handlers() -> Iterator[None]:
    earlier = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)


def other_handler(number: int, _frame: object) -> None:
    raise AssertionError(number)


async def wait_for(event: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await event.wait()


@pytest.mark.parametrize("before", [other_handler, signal.SIG_IGN, signal.SIG_DFL])
async def test_daemon_signals_and_stop_on_signal_restore_the_earlier_handlers(before: signal.Handlers) -> None:
    for number in NUMBERS:
        signal.signal(number, before)
    with daemon_signals():
        assert before not in {signal.getsignal(number) for number in NUMBERS}
    assert {signal.getsignal(number) for number in NUMBERS} == {before}
    with stop_on_signal():
        assert signal.getsignal(signal.SIGHUP) == before
    assert {signal.getsignal(number) for number in NUMBERS} == {before}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_sigterm_and_sigint_request_a_stop(number: signal.Signals) -> None:
    with daemon_signals() as signals:
        os.kill(os.getpid(), number)
        await wait_for(signals.stop)
        assert not signals.reload.is_set()


async def test_sighup_without_a_terminal_requests_a_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.process.has_terminal", lambda: False)
    with daemon_signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        await wait_for(signals.reload)
        assert not signals.stop.is_set()


@pytest.mark.parametrize("is_gone", [True, False])
async def test_sighup_stops_only_if_the_terminal_is_gone(monkeypatch: pytest.MonkeyPatch, *, is_gone: bool) -> None:
    monkeypatch.setattr("notifier.process.has_terminal", lambda: True)
    with daemon_signals() as signals:
        monkeypatch.setattr("notifier.daemon.signals.has_terminal", lambda: not is_gone)
        os.kill(os.getpid(), signal.SIGHUP)
        await wait_for(signals.stop if is_gone else signals.reload)
        assert signals.stop.is_set() is is_gone


async def test_sighup_during_the_start_requests_a_reload() -> None:
    pending = PendingHangup(signal.SIG_IGN)
    signal.signal(signal.SIGHUP, pending)
    os.kill(os.getpid(), signal.SIGHUP)
    assert pending.has_arrived
    with daemon_signals() as signals:
        await wait_for(signals.reload)
