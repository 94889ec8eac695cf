"""What the daemon does for its state file now and then."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notifier.daemon.housekeeping import ESSENTIALS_EVERY, Housekeeping
from notifier.ledger import sources
from notifier.ledger.housekeeping import log_size
from notifier.ledger.ledger import Ledger
from notifier.ledger.rebuilding import essentials
from notifier.ledger.rebuilding.essentials import essentials_file
from tests.conftest import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = Ledger(tmp_path / "notifier.db")
    await opened.open()
    await opened.run(sources.recall, "acme")
    await opened.run(sources.meet, "acme", 1_000)
    yield opened
    await opened.close()


@pytest.fixture
def housekeeping(ledger: Ledger, clock: FakeClock) -> Housekeeping:
    return Housekeeping(ledger, clock, lambda: 86_400.0)


def written(ledger: Ledger) -> int:
    """Return when the essentials were written."""
    read = essentials.read(essentials_file(ledger.path))
    assert read is not None
    return read.written_ms


async def test_the_essentials_are_written_when_they_change_and_now_and_then(
    housekeeping: Housekeeping, ledger: Ledger, clock: FakeClock
) -> None:
    await housekeeping.keep()
    first = written(ledger)
    clock.advance(ESSENTIALS_EVERY - 1)
    await housekeeping.keep()
    assert written(ledger) == first
    clock.advance(2)
    await housekeeping.keep()
    assert written(ledger) == clock.now_ms()
    clock.advance(1)
    await ledger.run(sources.recall, "globex")
    await ledger.run(sources.meet, "globex", 2_000)
    await housekeeping.keep()
    assert written(ledger) == clock.now_ms()
    assert essentials_file(ledger.path).stat().st_mode & 0o777 == 0o600


async def test_searches_are_prepared_once_the_first_sweep_is_over(housekeeping: Housekeeping, ledger: Ledger) -> None:
    count = "SELECT count(*) FROM sqlite_master WHERE name = 'records_by_person'"
    await housekeeping.keep()
    assert await ledger.run(lambda db: db.execute(count).fetchone()) == (0,)
    await ledger.run(lambda db: db.execute("UPDATE sources SET swept_at = 5"))
    await housekeeping.keep()
    assert await ledger.run(lambda db: db.execute(count).fetchone()) == (1,)


async def test_essentials_that_cannot_be_written_are_said_once_and_tried_again(
    housekeeping: Housekeeping, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = essentials_file(ledger.path).with_name("notifier.db.essentials.new")
    in_the_way.mkdir()
    for _ in range(3):
        await housekeeping.keep()
    assert [(record.levelno, vars(record)["detail"]) for record in caplog.records] == [
        (logging.ERROR, "Is a directory")
    ]
    assert not housekeeping.has_kept
    in_the_way.rmdir()
    await housekeeping.keep()
    assert housekeeping.has_kept


async def test_a_log_that_has_grown_large_is_cut_off_before_its_hour(
    housekeeping: Housekeeping, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await housekeeping.keep()
    assert log_size(ledger.path) > 10_000
    monkeypatch.setattr("notifier.daemon.housekeeping.LARGE_LOG", 10_000)
    await housekeeping.keep()
    assert log_size(ledger.path) == 0


async def test_what_cannot_be_written_is_said_and_left_for_later(
    housekeeping: Housekeeping, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    await ledger.run_bare(lambda db: db.execute("PRAGMA query_only = ON"))
    await housekeeping.tidy()
    assert [vars(record)["reason"] for record in caplog.records] == ["read_only"]
    await housekeeping.keep()
    assert housekeeping.has_kept
