"""The watchdog, with a fake daemon that can be made to hang, and the messages that arrive at a real socket."""

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


class FakeDaemon:
    """The operations of a daemon that the watchdog calls."""

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


class SentMessages:
    """All messages that have arrived at the socket."""

    def __init__(self, listener: NotifySocket) -> None:
        self._listener = listener
        self.messages: list[str] = []

    def __contains__(self, message: str) -> bool:
        self.messages += self._listener.received()
        return message in self.messages

    def clear(self) -> None:
        self._listener.received()
        self.messages = []


@pytest.fixture
def fake_daemon(monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    monkeypatch.setattr(liveness, "LEAST_TOLERANCE_SECONDS", WATCHDOG)
    monkeypatch.setattr(liveness, "LONG_TRANSACTION_SECONDS", 0.2)
    monkeypatch.setattr(watchdog, "_READY_CHECK_SECONDS", 0.01)
    return FakeDaemon()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[NotifySocket]:
    this = NotifySocket(str(tmp_path / "notify"))
    yield this
    this.close()


@pytest.fixture
async def sent(listener: NotifySocket, fake_daemon: FakeDaemon) -> AsyncIterator[SentMessages]:
    """Run the watchdog with the fake daemon."""
    manager = SystemdNotifier(listener.address, WATCHDOG)
    supervising = asyncio.create_task(Watchdog(fake_daemon, manager).run())
    yield SentMessages(listener)
    supervising.cancel()
    await asyncio.wait([supervising])


async def test_ready_is_sent_only_after_the_first_round_of_every_source(
    fake_daemon: FakeDaemon, sent: SentMessages
) -> None:
    await until(lambda: "STATUS=starting: waiting for the first round of acme" in sent)
    # The minute over which first rounds are spread, one request's time, and a minute more.
    assert "EXTEND_TIMEOUT_USEC=150000000" in sent
    await asyncio.sleep(0.1)
    assert "READY=1" not in sent
    fake_daemon.waits_for = []
    await until(lambda: "READY=1" in sent and "WATCHDOG=1" in sent and "STATUS=1 source ok" in sent)


async def test_watchdog_is_reset_during_first_rounds_after_a_takeover(
    fake_daemon: FakeDaemon, listener: NotifySocket
) -> None:
    """A standby process has already reported that it is ready, so systemd's watchdog is already running."""
    manager = SystemdNotifier(listener.address, WATCHDOG)
    manager.report_ready()
    sent = SentMessages(listener)
    supervising = asyncio.create_task(Watchdog(fake_daemon, manager).run())
    await until(lambda: "WATCHDOG=1" in sent)
    assert fake_daemon.waits_for == ["acme"]
    supervising.cancel()
    await asyncio.wait([supervising])


async def test_stuck_job_stops_the_watchdog_resets_and_is_named(
    fake_daemon: FakeDaemon, sent: SentMessages, caplog: pytest.LogCaptureFixture
) -> None:
    fake_daemon.waits_for = []
    await until(lambda: "WATCHDOG=1" in sent)
    fake_daemon.runs = False
    await until(lambda: "STATUS=hanging, waiting for a restart: acme" in sent)
    sent.clear()
    await asyncio.sleep(2 * WATCHDOG)
    assert "WATCHDOG=1" not in sent
    (critical,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert vars(critical)["part"] == "acme"

    fake_daemon.runs = True
    await until(lambda: "WATCHDOG=1" in sent and "STATUS=1 source ok" in sent)


async def test_stuck_store_is_reported_as_hanging_until_it_answers(fake_daemon: FakeDaemon, sent: SentMessages) -> None:
    fake_daemon.waits_for = []
    await until(lambda: "WATCHDOG=1" in sent)
    fake_daemon.answers.clear()
    await until(lambda: f"STATUS=hanging, waiting for a restart: {STORE}" in sent)
    fake_daemon.answers.set()
    sent.clear()
    await until(lambda: "WATCHDOG=1" in sent)


async def test_store_error_is_sent_and_the_watchdog_is_reset(fake_daemon: FakeDaemon, sent: SentMessages) -> None:
    fake_daemon.waits_for = []
    fake_daemon.fails = True
    await until(lambda: "STATUS=the disk is full" in sent)
    sent.clear()
    await until(lambda: "WATCHDOG=1" in sent)


async def test_status_is_sent_only_when_it_changes(fake_daemon: FakeDaemon, sent: SentMessages) -> None:
    fake_daemon.waits_for = []
    await until(lambda: "STATUS=1 source ok" in sent)
    await asyncio.sleep(3 * WATCHDOG)
    assert "STATUS=1 source ok" in sent
    assert sent.messages.count("STATUS=1 source ok") == 1
    fake_daemon.sentence = "1 source failing (acme)"
    await until(lambda: "STATUS=1 source failing (acme)" in sent)


async def test_hanging_part_is_reported_without_systemd(
    fake_daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog does not wait for the first round of a source, because that may be what hangs."""
    monkeypatch.setattr(watchdog, "_DEFAULT_TOLERANCE_SECONDS", WATCHDOG)
    supervising = asyncio.create_task(Watchdog(fake_daemon, SystemdNotifier()).run())
    await until(lambda: fake_daemon.stats.ended_runs > 2)
    assert fake_daemon.hanging is None
    fake_daemon.runs = False
    await until(lambda: fake_daemon.hanging == ["acme"])
    fake_daemon.runs = True
    await until(lambda: fake_daemon.hanging == [])
    supervising.cancel()
    await asyncio.wait([supervising])


async def test_extend_start_timeout_without_systemd_starts_no_task() -> None:
    with extend_start_timeout(SystemdNotifier()):
        assert len(asyncio.all_tasks()) == 1


async def test_extend_start_timeout_repeats_until_the_start_ends(
    listener: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "CHECK_EVERY_SECONDS", 0.02)
    sent = SentMessages(listener)
    with extend_start_timeout(SystemdNotifier(listener.address)):
        assert "EXTEND_TIMEOUT_USEC=30000000" not in sent
        await until(lambda: "EXTEND_TIMEOUT_USEC=30000000" in sent)
        sent.clear()
        await until(lambda: "EXTEND_TIMEOUT_USEC=30000000" in sent)
    sent.clear()
    await asyncio.sleep(0.1)
    assert sent.messages == []


async def test_watchdog_is_reset_during_a_takeover_up_to_the_transaction_limit(
    listener: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "LONG_TRANSACTION_SECONDS", 4 * WATCHDOG)
    manager, sent = SystemdNotifier(listener.address, WATCHDOG), SentMessages(listener)
    with extend_start_timeout(manager):
        await asyncio.sleep(WATCHDOG)
    assert "WATCHDOG=1" not in sent
    manager.report_ready()
    with extend_start_timeout(manager):
        await until(lambda: "WATCHDOG=1" in sent)
        await asyncio.sleep(4 * WATCHDOG)
        sent.clear()
        await asyncio.sleep(WATCHDOG)
        # What takes longer than any transaction may take counts as hanging.
        assert "WATCHDOG=1" not in sent
