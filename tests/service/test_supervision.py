"""The supervision of a daemon that can be made to stand still, as it is heard at the other end of a real socket."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from notifier.daemon import progress, supervision
from notifier.daemon.progress import LEDGER, Pulse
from notifier.daemon.service_manager import ServiceManager
from notifier.daemon.supervision import Supervision, time_to_start
from notifier.ledger.errors import LedgerError, LedgerReason
from tests.real_time import until
from tests.service.test_service_manager import Ear

WATCHDOG = 0.15


class Patient:
    """A daemon, as far as it is supervised."""

    def __init__(self) -> None:
        self.pulse = Pulse("acme", 0.05, step=30.0)
        self.waits_for = ["acme"]
        self.answers = asyncio.Event()
        self.answers.set()
        self.sentence = "1 source ok"
        self.fails = False
        self.runs = True

    def pulses(self) -> list[Pulse]:
        if self.runs:
            count = self.pulse.ended + 1
            self.pulse = Pulse("acme", 0.05, step=30.0, begun=count, ended=count)
        return [self.pulse]

    def unattempted(self) -> list[str]:
        return self.waits_for

    async def summary(self) -> str:
        await self.answers.wait()
        if self.fails:
            raise LedgerError(LedgerReason.DISK_FULL, "the disk is full")
        return self.sentence


class Heard:
    """Everything that has been heard."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self.messages: list[str] = []

    def __contains__(self, message: str) -> bool:
        self.messages += self._ear.heard()
        return message in self.messages

    def clear(self) -> None:
        self._ear.heard()
        self.messages = []


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Patient:
    monkeypatch.setattr(progress, "LEAST_PATIENCE", WATCHDOG)
    monkeypatch.setattr(progress, "LONG_TRANSACTION", 0.2)
    monkeypatch.setattr(supervision, "_READY_LOOK", 0.01)
    return Patient()


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    this = Ear(str(tmp_path / "notify"))
    yield this
    this.close()


@pytest.fixture
async def heard(ear: Ear, patient: Patient) -> AsyncIterator[Heard]:
    """Supervise the patient."""
    manager = ServiceManager(ear.address, WATCHDOG)
    supervising = asyncio.create_task(Supervision(patient, manager).run())
    yield Heard(ear)
    supervising.cancel()
    await asyncio.wait([supervising])


async def test_ready_is_said_when_every_source_was_attempted_and_not_before(patient: Patient, heard: Heard) -> None:
    await until(lambda: "STATUS=starting: the first round of acme is still to come" in heard)
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
    await until(lambda: "STATUS=stuck, waiting to be started anew: acme" in heard)
    heard.clear()
    await asyncio.sleep(2 * WATCHDOG)
    assert "WATCHDOG=1" not in heard
    (critical,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert vars(critical)["part"] == "acme"

    patient.runs = True
    await until(lambda: "WATCHDOG=1" in heard and "STATUS=1 source ok" in heard)


async def test_a_stuck_ledger_starves_the_watchdog_though_the_loop_and_the_schedule_live(
    patient: Patient, heard: Heard
) -> None:
    patient.waits_for = []
    await until(lambda: "WATCHDOG=1" in heard)
    patient.answers.clear()
    await until(lambda: f"STATUS=stuck, waiting to be started anew: {LEDGER}" in heard)
    patient.answers.set()
    heard.clear()
    await until(lambda: "WATCHDOG=1" in heard)


async def test_an_error_of_the_ledger_is_an_answer_and_told(patient: Patient, heard: Heard) -> None:
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


async def test_without_systemd_nobody_is_asked_anything(patient: Patient) -> None:
    patient.answers.clear()
    await asyncio.wait_for(Supervision(patient, ServiceManager()).run(), 1)
    assert patient.pulse.ended == 0
    with time_to_start(ServiceManager()):
        assert len(asyncio.all_tasks()) == 1


async def test_more_time_is_asked_for_as_long_as_the_start_takes(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_ASK_EVERY", 0.02)
    heard = Heard(ear)
    with time_to_start(ServiceManager(ear.address)):
        assert "EXTEND_TIMEOUT_USEC=30000000" not in heard
        await until(lambda: "EXTEND_TIMEOUT_USEC=30000000" in heard)
        heard.clear()
        await until(lambda: "EXTEND_TIMEOUT_USEC=30000000" in heard)
    heard.clear()
    await asyncio.sleep(0.1)
    assert heard.messages == []
