"""Reading for the HTTP interface: while the store writes, with few readers at once, and for a limited time."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.store import FileStore
from notifier.store.reader import ReadingLimits, StoreReader
from tests.support.waiting import until

QUICK = ReadingLimits(wait_seconds=0.3, work_seconds=0.3)
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[FileStore]:
    store = FileStore(tmp_path / "notifier.db")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def reader(opened: FileStore) -> AsyncIterator[StoreReader]:
    one = StoreReader(opened, QUICK)
    yield one
    await one.close()


def one(db: Database) -> int:
    (found,) = db.execute("SELECT 1").fetchone()
    return int(found)


def endless(db: Database) -> None:
    db.execute(ENDLESS).fetchone()


async def test_reader_without_a_free_thread_raises_busy_and_later_reads_again(
    reader: StoreReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of the process or of the container can have this effect."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    read: list[str] = []

    def refused(_: Database) -> None:
        read.append("although its caller has got an error")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(StoreError) as caught:
                await reader.run(refused)
            assert caught.value.reason is StoreReason.BUSY
            assert "can't start new thread" in caught.value.message
    assert await reader.run(one) == 1
    assert not read


async def test_reader_reads_while_the_store_writes(opened: FileStore, reader: StoreReader) -> None:
    may_end = threading.Event()

    def write(db: Database) -> None:
        db.execute("INSERT INTO sources (name) VALUES ('acme')")
        may_end.wait(20)

    def names(db: Database) -> list[str]:
        return [name for (name,) in db.execute("SELECT name FROM sources")]

    writing = asyncio.create_task(opened.run(write))
    try:
        assert await reader.run(names) == []
    finally:
        may_end.set()
    await writing
    assert await reader.run(names) == ["acme"]


async def test_reader_sees_one_snapshot(opened: FileStore) -> None:
    reader = StoreReader(opened, ReadingLimits(work_seconds=20))
    first_read, written = threading.Event(), threading.Event()

    def twice(db: Database) -> list[int]:
        count = "SELECT count(*) FROM sources"
        before = db.execute(count).fetchone()[0]
        first_read.set()
        written.wait(20)
        return [before, db.execute(count).fetchone()[0]]

    reading = asyncio.create_task(reader.run(twice))
    await asyncio.to_thread(first_read.wait, 20)
    await opened.run(lambda db: db.execute("INSERT INTO sources (name) VALUES ('acme')"))
    written.set()
    assert await reading == [0, 0]
    await reader.close()


async def test_reader_refuses_to_write(reader: StoreReader) -> None:
    with pytest.raises(StoreError) as refused:
        await reader.run(lambda db: db.execute("DELETE FROM sources"))
    assert refused.value.reason is StoreReason.READ_ONLY


async def test_reader_interrupts_slow_work_and_runs_the_next(reader: StoreReader) -> None:
    began = time.monotonic()
    results = await asyncio.gather(reader.run(endless), reader.run(endless), return_exceptions=True)
    for result in results:
        assert isinstance(result, StoreError)
        assert result.reason is StoreReason.BUSY
        assert "takes longer than 0.3 s" in result.message
    assert time.monotonic() - began < 10
    assert [await reader.run(one) for _ in range(4)] == [1] * 4


async def test_reader_raises_busy_after_waiting_too_long_for_a_turn(opened: FileStore) -> None:
    reader = StoreReader(opened, ReadingLimits(wait_seconds=0.2, work_seconds=60))
    busy = [asyncio.create_task(reader.run(endless)) for _ in range(2)]
    await asyncio.sleep(0)
    patient = asyncio.create_task(reader.run_without_turn_limit(one))
    with pytest.raises(StoreError) as refused:
        await reader.run(one)
    assert refused.value.reason is StoreReason.BUSY
    assert not patient.done()
    for task in busy:
        task.cancel()
    assert await patient == 1
    await reader.close()


async def test_reader_interrupts_cancelled_work(opened: FileStore) -> None:
    reader = StoreReader(opened, ReadingLimits(wait_seconds=20, work_seconds=60))
    given_up = [asyncio.create_task(reader.run(endless)) for _ in range(2)]
    await asyncio.sleep(0.1)
    for task in given_up:
        task.cancel()
    assert await reader.run(one) == 1
    await reader.close()


async def test_reader_close_interrupts_running_work(opened: FileStore) -> None:
    reader = StoreReader(opened, ReadingLimits(work_seconds=60))
    reading = asyncio.create_task(reader.run(endless))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(20):
        await reader.close()
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        await reading


async def test_late_damage_found_by_a_reader_fails_the_store(opened: FileStore, reader: StoreReader) -> None:
    given_up = threading.Event()

    def damaged(_db: Database) -> None:
        given_up.wait()
        error = sqlite3.DatabaseError("malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    with pytest.raises(StoreError) as refused:
        await reader.run(damaged)
    assert refused.value.reason is StoreReason.BUSY
    given_up.set()
    await until(opened.failed.is_set)


async def test_damage_found_by_a_reader_fails_the_store(opened: FileStore, reader: StoreReader) -> None:
    def damaged(_db: Database) -> None:
        error = sqlite3.DatabaseError("malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    with pytest.raises(StoreError):
        await reader.run(damaged)
    await until(opened.failed.is_set)
    with pytest.raises(StoreError) as refused:
        await reader.run(one)
    assert refused.value.reason is StoreReason.CORRUPT
