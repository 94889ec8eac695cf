"""The supervision of a daemon that can be made to stand still, as it is heard at the other end of a real socket."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from notifier.daemon.systemd import liveness, watchdog
from notifier.daemon.systemd.liveness import STORE, JobStats
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.daemon.systemd.watchdog import Watchdog, extend_start_timeout
from notifier.store.errors import StoreError, StoreReason
from tests.support.notify_socket import NotifySocket
from tests.support.waiting import until

WATCHDOG = 0.15


class Patient:
    """A daemon, as far as it is supervised."""

    def __init__(self) -> None:
        self.stats = JobStats("acme", 0.05, answer_seconds=30.0)
        self.waits_for = ["acme"]
        self.answers = asyncio.Event()
        self.answers.set()
        self.sentence = "1 source ok"
        self.fails = False
        self.runs = True
        self.hanging: list[str] | None = None

    def job_stats(self) -> list[JobStats]:
        if self.runs:
            count = self.stats.ended_runs + 1
            self.stats = JobStats("acme", 0.05, answer_seconds=30.0, started_runs=count, ended_runs=count)
        return [self.stats]

    def sources_in_first_round(self) -> list[str]:
        return self.waits_for

    def report_hanging(self, names: Sequence[str]) -> None:
        self.hanging = list(names)

    async def summary(self) -> str:
        await self.answers.wait()
        if self.fails:
            raise StoreError(StoreReason.DISK_FULL, "the disk is full")
        return self.sentence


class Heard:
    """Everything that has been heard."""

    def __init__(self, listener: NotifySocket) -> None:
        self._ear = listener
        self.messages: list[str] = []

    def __contains__(self, message: str) -> bool:
        self.messages += self._ear.heard()
        return message in self.messages

    def clear(self) -> None:
        self._ear.heard()
        self.messages = []


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Patient:
    monkeypatch.setattr(liveness, "LEAST_TOLERANCE_SECONDS", WATCHDOG)
    monkeypatch.setattr(liveness, "LONG_TRANSACTION_SECONDS", 0.2)
    monkeypatch.setattr(watchdog, "_READY_CHECK_SECONDS", 0.01)
    return Patient()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[NotifySocket]:
    this = NotifySocket(str(tmp_path / "notify"))
    yield this
    this.close()


@pytest.fixture
async def heard(listener: NotifySocket, patient: Patient) -> AsyncIterator[Heard]:
    """Supervise the patient."""
    manager = SystemdNotifier(listener.address, WATCHDOG)
    supervising = asyncio.create_task(Watchdog(patient, manager).run())
    yield Heard(listener)
    supervising.cancel()
    await asyncio.wait([supervising])


async def test_ready_is_said_when_every_source_was_attempted_and_not_before(patient: Patient, heard: Heard) -> None:
    await until(lambda: "STATUS=starting: waiting for the first round of acme" in heard)
    # The minute over which first rounds are spread, one request's time, and a minute more.
    assert "EXTEND_TIMEOUT_USEC=150000000" in heard
    await asyncio.sleep(0.1)
    assert "READY=1" not in heard
    patient.waits_for = []
    await until(lambda: "READY=1" in heard and "WATCHDOG=1" in heard and "STATUS=1 source ok" in heard)


async def test_a_stuck_schedule_starves_the_watchdog_and_is_named(
    patient: Patient, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    patient.waits_for = []
    await until(lambda: "WATCHDOG=1" in heard)
    patient.runs = False
    await until(lambda: "STATUS=hanging, waiting for a restart: acme" in heard)
    heard.clear()
    await asyncio.sleep(2 * WATCHDOG)
    assert "WATCHDOG=1" not in heard
    (critical,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert vars(critical)["part"] == "acme"

    patient.runs = True
    await until(lambda: "WATCHDOG=1" in heard and "STATUS=1 source ok" in heard)


async def test_a_stuck_store_starves_the_watchdog_though_the_loop_and_the_schedule_live(
    patient: Patient, heard: Heard
) -> None:
    patient.waits_for = []
    await until(lambda: "WATCHDOG=1" in heard)
    patient.answers.clear()
    await until(lambda: f"STATUS=hanging, waiting for a restart: {STORE}" in heard)
    patient.answers.set()
    heard.clear()
    await until(lambda: "WATCHDOG=1" in heard)


async def test_an_error_of_the_store_is_an_answer_and_told(patient: Patient, heard: Heard) -> None:
    patient.waits_for = []
    patient.fails = True
    await until(lambda: "STATUS=the disk is full" in heard)
    heard.clear()
    await until(lambda: "WATCHDOG=1" in heard)


async def test_the_status_is_told_when_it_changes_only(patient: Patient, heard: Heard) -> None:
    patient.waits_for = []
    await until(lambda: "STATUS=1 source ok" in heard)
    await asyncio.sleep(3 * WATCHDOG)
    assert "STATUS=1 source ok" in heard
    assert heard.messages.count("STATUS=1 source ok") == 1
    patient.sentence = "1 source failing (acme)"
    await until(lambda: "STATUS=1 source failing (acme)" in heard)


async def test_without_systemd_what_hangs_is_reported_all_the_same(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source's first round is not waited for: it may be what hangs."""
    monkeypatch.setattr(watchdog, "_DEFAULT_TOLERANCE_SECONDS", WATCHDOG)
    supervising = asyncio.create_task(Watchdog(patient, SystemdNotifier()).run())
    await until(lambda: patient.stats.ended_runs > 2)
    assert patient.hanging is None
    patient.runs = False
    await until(lambda: patient.hanging == ["acme"])
    patient.runs = True
    await until(lambda: patient.hanging == [])
    supervising.cancel()
    await asyncio.wait([supervising])


async def test_without_systemd_no_time_is_asked_for() -> None:
    with extend_start_timeout(SystemdNotifier()):
        assert len(asyncio.all_tasks()) == 1


async def test_more_time_is_asked_for_as_long_as_the_start_takes(
    listener: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "_EXTEND_EVERY_SECONDS", 0.02)
    heard = Heard(listener)
    with extend_start_timeout(SystemdNotifier(listener.address)):
        assert "EXTEND_TIMEOUT_USEC=30000000" not in heard
        await until(lambda: "EXTEND_TIMEOUT_USEC=30000000" in heard)
        heard.clear()
        await until(lambda: "EXTEND_TIMEOUT_USEC=30000000" in heard)
    heard.clear()
    await asyncio.sleep(0.1)
    assert heard.messages == []
