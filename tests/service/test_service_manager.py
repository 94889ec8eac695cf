"""What systemd is told, as it arrives at a real socket."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from notifier.daemon.service_manager import ServiceManager

PID = 4711


class Ear:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """Return what has arrived since the last time."""
        messages = []
        with suppress(BlockingIOError):
            while True:
                messages.append(self._socket.recv(4096).decode())
        return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ear]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@notifier-tests-{os.getpid()}"
    this = Ear(address)
    yield this
    this.close()


def manager(ear: Ear, **environ: str) -> ServiceManager:
    return ServiceManager.from_environment({"NOTIFY_SOCKET": ear.address, **environ}, PID)


def test_each_message_is_what_systemd_documents(ear: Ear) -> None:
    told = manager(ear)
    told.more_time(30)
    told.status("3 sources ok")
    told.ready()
    told.alive()
    told.stopping()
    assert ear.heard() == [
        "EXTEND_TIMEOUT_USEC=30000000",
        "STATUS=3 sources ok",
        "READY=1",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=stopping",
    ]


def test_a_reload_has_a_beginning_and_an_end_whatever_comes_of_it(ear: Ear) -> None:
    told = manager(ear)
    told.ready()
    with pytest.raises(KeyError), told.told_of_reload():
        raise KeyError
    _, begun, ended = ear.heard()
    reloading, moment = begun.splitlines()
    assert reloading == "RELOADING=1"
    assert moment.removeprefix("MONOTONIC_USEC=").isdigit()
    assert ended == "READY=1"


def test_a_reload_during_the_start_does_not_pass_for_its_end(ear: Ear) -> None:
    with manager(ear).told_of_reload():
        pass
    assert ear.heard() == []


def test_the_same_status_is_told_once_and_always_as_one_line(ear: Ear) -> None:
    told = manager(ear)
    for sentence in ("ok", "ok", "a\nREADY=1", "ok"):
        told.status(sentence)
    assert ear.heard() == ["STATUS=ok", "STATUS=a READY=1", "STATUS=ok"]


def test_nobody_is_told_when_nobody_listens() -> None:
    told = ServiceManager.from_environment({"WATCHDOG_USEC": "1000000"}, PID)
    told.ready()
    told.alive()
    assert not told.listens
    assert told.watchdog is None


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path"])
def test_an_address_of_another_kind_is_nobody(address: str) -> None:
    assert not ServiceManager.from_environment({"NOTIFY_SOCKET": address}, PID).listens


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
def test_the_watchdog_is_fed_only_where_it_is_meant_for_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert ServiceManager.from_environment({"NOTIFY_SOCKET": "/run/x", **environ}, PID).watchdog == seconds


def until_full(told: ServiceManager, ear: Ear) -> int:
    """Fill the socket's buffer; return how many messages it has taken."""
    for number in range(10_000):
        told.status(f"sentence {number}")
        if told._waiting:
            return number
    raise AssertionError(ear.address)


def test_what_systemd_does_not_take_at_once_is_told_later_in_order_and_nobody_waits(ear: Ear) -> None:
    told = manager(ear)
    taken = until_full(told, ear)
    told.ready()
    told.alive()
    told.status("the newest sentence")
    assert ear.heard() == [f"STATUS=sentence {number}" for number in range(taken)]
    told.alive()
    assert ear.heard() == ["READY=1", "STATUS=the newest sentence", "WATCHDOG=1"]


def test_a_systemd_that_is_gone_is_told_of_once(ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    told = manager(ear)
    ear.close()
    if not ear.address.startswith("@"):
        Path(ear.address).unlink()
    told.ready()
    told.alive()
    told.flush()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
