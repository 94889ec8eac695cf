"""The messages to systemd, as they arrive at a real socket."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier.daemon.systemd.notify import SystemdNotifier
from tests.support.notify_socket import NotifySocket

PID = 4711


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@notifier-tests-{os.getpid()}"
    this = NotifySocket(address)
    yield this
    this.close()


def notifier_for(listener: NotifySocket, **environ: str) -> SystemdNotifier:
    return SystemdNotifier.from_environment({"NOTIFY_SOCKET": listener.address, **environ}, PID)


def test_systemd_notifier_sends_the_documented_messages(listener: NotifySocket) -> None:
    told = notifier_for(listener)
    told.extend_timeout(30)
    told.report_status("3 sources ok")
    told.report_ready()
    told.reset_watchdog()
    told.report_stopping()
    assert listener.received() == [
        "EXTEND_TIMEOUT_USEC=30000000",
        "STATUS=3 sources ok",
        "READY=1",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=stopping",
    ]


def test_reloading_announces_the_end_even_after_an_exception(listener: NotifySocket) -> None:
    told = notifier_for(listener)
    told.report_ready()
    with pytest.raises(KeyError), told.reloading():
        raise KeyError
    _, begun, ended = listener.received()
    reloading, moment = begun.splitlines()
    assert reloading == "RELOADING=1"
    assert moment.removeprefix("MONOTONIC_USEC=").isdigit()
    assert ended == "READY=1"


def test_reloading_before_ready_sends_nothing(listener: NotifySocket) -> None:
    with notifier_for(listener).reloading():
        pass
    assert listener.received() == []


def test_report_status_sends_the_same_status_once_and_on_one_line(listener: NotifySocket) -> None:
    told = notifier_for(listener)
    for sentence in ("ok", "ok", "a\nREADY=1", "ok"):
        told.report_status(sentence)
    assert listener.received() == ["STATUS=ok", "STATUS=a READY=1", "STATUS=ok"]


def test_systemd_notifier_without_a_socket_is_disabled() -> None:
    told = SystemdNotifier.from_environment({"WATCHDOG_USEC": "1000000"}, PID)
    told.report_ready()
    told.reset_watchdog()
    assert not told.is_enabled
    assert told.watchdog_seconds is None


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path"])
def test_systemd_notifier_with_an_unsupported_address_is_disabled(address: str) -> None:
    assert not SystemdNotifier.from_environment({"NOTIFY_SOCKET": address}, PID).is_enabled


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(PID)}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(PID + 1)}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
    ],
)
def test_watchdog_seconds_is_none_unless_valid_and_for_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert SystemdNotifier.from_environment({"NOTIFY_SOCKET": "/run/x", **environ}, PID).watchdog_seconds == seconds


def until_full(told: SystemdNotifier, listener: NotifySocket) -> int:
    """Fill the socket's buffer; return how many messages it accepted."""
    for number in range(10_000):
        told.report_status(f"sentence {number}")
        if told._unsent:
            return number
    raise AssertionError(listener.address)


def test_messages_for_a_full_socket_are_sent_later_in_order(listener: NotifySocket) -> None:
    told = notifier_for(listener)
    taken = until_full(told, listener)
    told.report_ready()
    told.reset_watchdog()
    told.report_status("the newest sentence")
    assert listener.received() == [f"STATUS=sentence {number}" for number in range(taken)]
    told.reset_watchdog()
    assert listener.received() == ["READY=1", "STATUS=the newest sentence", "WATCHDOG=1"]


def test_missing_systemd_socket_is_logged_once(listener: NotifySocket, caplog: pytest.LogCaptureFixture) -> None:
    told = notifier_for(listener)
    listener.close()
    if not listener.address.startswith("@"):
        Path(listener.address).unlink()
    told.report_ready()
    told.reset_watchdog()
    told.flush()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
