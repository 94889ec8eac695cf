"""A state file moves into a schema and back, and nothing of it changes."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from notifier.events import Change, DetectedBy, EventType
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.backup import BackupError
from notifier.store.file.connection import open_database, open_for_reading
from notifier.store.postgres.copying import back_up_schema, restore_into_schema
from notifier.store.postgres.holders import SEQUENCE_LEAP
from notifier.store.postgres.location import Location
from notifier.store.postgres.reading import open_schema_to_read
from notifier.store.postgres.store import PostgresStore
from notifier.store.queries import feed
from notifier.store.subscriptions import Subscription
from notifier.store.tables import names, records, sources, sweeps
from notifier.store.tables.names import PersonName
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.settlements import Settlement, settle
from notifier.store.tables.sweeps import SweptPage
from tests.support.postgres_server import PostgresServer
from tests.support.table_rows import STORE_TABLES, table_rows
from tests.unit.store.conftest import MakeCompletion, Tell

COPIED = [table for table in STORE_TABLES if table != "essentials_stamps"]


@pytest.fixture
def location(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Location]:
    name = f"copy-{abs(hash(request.node.nodeid)) % 10**9}"
    yield postgres_server.location(name)
    postgres_server.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')


@pytest.fixture
def lived_in(path: Path, tell: Tell, completion: MakeCompletion) -> Path:
    """A state file with a bit of everything: large numbers, odd letters, NULLs, binary marks."""
    with closing(open_database(path)) as db, db.atomic():
        sources.recall(db, "acme")
        sources.write(db, "acme", met_at_ms=2**63 - 1, last_success_ms=5)
        tell(db, "1", "2", to=("hr", "gate"))
        odd = completion("\U0001f9ef'\"", {"notes": "\x00\\u0000 \ud83e\uddef"}, notes="\x00", completed_on=None)
        learned = [SilentRecord(odd, DetectedBy.SWEEP, "history")]
        gone = Change(EventType.REMOVED, completion("2"), 2, DetectedBy.SWEEP, "gone")
        found = Findings("acme", "acme", learned, [gone])
        records.write(db, found, [Subscription("hr", frozenset(EventType))], 7)
        settle(db, [Settlement((1,), "hr", DeliveryState.DEAD, "d", "r", 400, "no", 5, 9, 0, detected_ms=(1,))])
        names.learn_people(db, "acme", [PersonName("1", "Zo\u00eb \U0001f9ef", None)])
        sweep = sweeps.resume(db, "acme", 5)
        sweeps.advance(db, SweptPage(sweep.id, 1, None, 3, 0, marks=True), changes=0, ids=bytes(range(256)))
    return path


def unseen(_done: int, _total: int) -> None:
    pass


def test_everything_comes_along_both_ways(lived_in: Path, location: Location, tmp_path: Path) -> None:
    copy = restore_into_schema(location, lived_in, unseen)
    assert (copy.last_success_ms, copy.pending) == (5, 4)
    back = tmp_path / "back.db"
    assert back_up_schema(location, back, unseen).pending == 4
    assert back.stat().st_mode & 0o777 == 0o600
    with (
        closing(open_for_reading(lived_in)) as one,
        closing(open_schema_to_read(location)) as there,
        closing(open_for_reading(back)) as other,
    ):
        for table in COPIED:
            assert table_rows(one, table) == table_rows(there, table) == table_rows(other, table), table
        assert feed.position(one) == 3
        assert feed.position(there) == 3 + SEQUENCE_LEAP
        assert feed.position(other) == 3 + 2 * SEQUENCE_LEAP
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_daemon_goes_on_with_it(lived_in: Path, location: Location, tell: Tell) -> None:
    restore_into_schema(location, lived_in, unseen)
    store = PostgresStore(location, lambda: 9)
    await store.open()
    assert await store.run(tell, "3") == [4 + SEQUENCE_LEAP]
    sweep = await store.run(sweeps.latest, "acme")
    assert sweep is not None
    assert sweep.next_page == 2
    with pytest.raises(StoreError, match="a daemon holds it") as caught:
        restore_into_schema(location, lived_in, unseen)
    assert caught.value.reason is StoreReason.HELD_ELSEWHERE
    await store.close()


def test_a_schema_that_has_a_state_is_left_alone(lived_in: Path, location: Location) -> None:
    restore_into_schema(location, lived_in, unseen)
    with pytest.raises(StoreError, match="has a state already"):
        restore_into_schema(location, lived_in, unseen)


def test_what_is_no_state_file_fills_nothing(
    location: Location, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    other = tmp_path / "other.db"
    other.write_text("no database")
    with pytest.raises(BackupError):
        restore_into_schema(location, other, unseen)
    there = "SELECT count(*) FROM pg_namespace WHERE nspname = %s"
    assert postgres_server.execute(there, location.schema) == [(0,)]


def test_no_file_is_overwritten_unless_it_is_meant(lived_in: Path, location: Location, tmp_path: Path) -> None:
    restore_into_schema(location, lived_in, unseen)
    target = tmp_path / "there.db"
    target.write_text("mine")
    with pytest.raises(BackupError, match="exists"):
        back_up_schema(location, target, unseen)
    assert target.read_text() == "mine"
    back_up_schema(location, target, unseen, overwrite=True)
    assert [it.name for it in tmp_path.iterdir() if it.name.startswith(".")] == []


def test_without_a_store_there_is_nothing_to_back_up(location: Location, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="start `notifier run`"):
        back_up_schema(location, tmp_path / "x.db", unseen)
