"""The store in PostgreSQL: who holds it, how it reconnects, and which servers and errors it refuses."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.postgres import connection, holders
from notifier.store.postgres import store as store_module
from notifier.store.postgres.database import PostgresDatabase, PostgresReadingDatabase
from notifier.store.postgres.holders import SKIPPED_EVENT_NUMBERS, Holder
from notifier.store.postgres.location import Location
from notifier.store.postgres.store import PostgresStore
from notifier.store.queries import feed
from notifier.store.reader import ReadingLimits, StoreReader
from notifier.store.tables import names, sources
from notifier.store.tables.names import PersonName
from notifier.store.tables.records import Findings, write
from tests.integration.store.conftest import MakeChange, MakeCompletion, WriteEvents
from tests.support.clocks import FakeClock
from tests.support.pgbouncer import pooled
from tests.support.postgres_server import PostgresServer

NewStore = Callable[..., PostgresStore]


@pytest.fixture
def schema(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"store-{abs(hash(request.node.nodeid)) % 10**9}"
    yield name
    postgres_server.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')


@pytest.fixture
async def new_store(postgres_server: PostgresServer, schema: str) -> AsyncIterator[NewStore]:
    made: list[PostgresStore] = []

    def make(url: str | None = None, name: str = schema) -> PostgresStore:
        location = Location(SecretStr(url or postgres_server.url()), name)
        made.append(PostgresStore(location, FakeClock().now_ms))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
async def store(new_store: NewStore) -> PostgresStore:
    opened = new_store()
    await opened.open()
    return opened


def end_session(server: PostgresServer, store: PostgresStore) -> None:
    """Cut the store's connection on the server's side."""
    assert store._db is not None
    server.end_session(store._db.connection.info.backend_pid)


async def refused(store: PostgresStore) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await store.open()
    return caught.value


async def test_next_holder_reads_the_data_of_the_earlier_one(store: PostgresStore, new_store: NewStore) -> None:
    await store.run(sources.read_or_create, "acme")
    await store.close()
    following = new_store()
    await following.open()
    assert list(await following.run(sources.read_all)) == ["acme"]


async def test_try_open_returns_the_present_holder_and_opens_after_it_closes(
    store: PostgresStore, new_store: NewStore
) -> None:
    second = new_store()
    holder = await second.try_open()
    assert holder == Holder(1, holders.own_name(), FakeClock().now_ms(), None)
    await store.close()
    assert await second.try_open() is None
    assert await second.try_open() is None
    assert (await second.run(holders.latest_holder)) == Holder(2, holders.own_name(), FakeClock().now_ms(), None)


async def test_close_releases_the_lock_before_it_closes_the_connection(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server would release the lock of a closed connection a moment later."""
    was_free = []
    close = PostgresDatabase.close

    def check_and_close(db: PostgresDatabase) -> None:
        with contextlib.closing(connection.connect(store.location)) as other:
            was_free.append(holders.try_lock(other, store.location))
        close(db)

    monkeypatch.setattr(PostgresDatabase, "close", check_and_close)
    await store.close()
    assert was_free == [True]


async def test_open_raises_held_elsewhere_and_names_the_holder(store: PostgresStore, new_store: NewStore) -> None:
    error = await refused(new_store())
    assert error.reason is StoreReason.HELD_ELSEWHERE
    assert f"{holders.own_name()} holds it: stop that process" in error.message
    assert store.fatal_error is None


async def test_stores_in_two_schemas_are_separate(store: PostgresStore, new_store: NewStore, schema: str) -> None:
    other = new_store(name=f"{schema}-2")
    await other.open()
    await other.run(sources.read_or_create, "globex")
    assert await store.run(sources.read_all) == {}
    await other.run(lambda db: db.execute(f'DROP SCHEMA "{schema}-2" CASCADE'))


async def test_store_reconnects_after_its_connection_is_lost(
    store: PostgresStore, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    await store.run(sources.read_or_create, "acme")
    end_session(postgres_server, store)
    with pytest.raises(StoreError) as caught:
        await store.run(sources.read_or_create, "globex")
    assert caught.value.reason is StoreReason.UNREACHABLE
    assert str(store.last_error) == str(caught.value)
    await store.run(sources.read_or_create, "globex")
    assert (store.last_error, store.fatal_error) == (None, None)
    assert list(await store.run(sources.read_all)) == ["acme", "globex"]
    assert [
        holder for (holder,) in postgres_server.execute(f'SELECT epoch FROM "{store.location.schema}".holders')
    ] == [1]
    assert [record.message for record in caplog.records] == [
        "the connection to the database is lost",
        "the database is reached again, and no other process has used it meanwhile",
    ]


async def test_store_refuses_to_write_after_another_process_took_over(
    store: PostgresStore, new_store: NewStore, postgres_server: PostgresServer
) -> None:
    end_session(postgres_server, store)
    second = new_store()
    assert await second.try_open() is None
    with pytest.raises(StoreError):
        await store.check_access()
    with pytest.raises(StoreError) as caught:
        await store.run(sources.read_or_create, "acme")
    assert caught.value.reason is StoreReason.HELD_ELSEWHERE
    assert store.failed.is_set()
    with pytest.raises(StoreError, match="holds it"):
        await store.run(sources.read_or_create, "acme")
    assert await second.run(sources.read_all) == {}


async def test_store_refuses_to_resume_after_another_process_held_it_in_between(
    store: PostgresStore, new_store: NewStore, postgres_server: PostgresServer
) -> None:
    end_session(postgres_server, store)
    second = new_store()
    await second.open()
    await second.close()
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            await store.check_access()
    assert caught.value.reason is StoreReason.HELD_ELSEWHERE


async def test_store_retries_while_the_server_still_has_its_earlier_session(
    store: PostgresStore,
) -> None:
    """After an interruption of the network, the server may still have the earlier session and its lock."""
    assert store._db is not None
    earlier = store._db.connection
    with contextlib.closing(earlier):
        store._db.connection = connection.connect(store.location)
        store._db.connection.close()
        with pytest.raises(StoreError, match="has not noticed yet") as caught:
            await store.run(sources.read_or_create, "acme")
        assert caught.value.reason is StoreReason.UNREACHABLE
    store._next_try_at = 0
    await store.run(sources.read_or_create, "acme")


async def test_store_fails_with_held_elsewhere_when_the_server_stays_unreachable(
    store: PostgresStore, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(_: Location) -> Any:
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(store_module, "connect", unreachable)
    monkeypatch.setattr(store_module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(store_module, "RECONNECT_WITHIN_SECONDS", 0.05)
    end_session(postgres_server, store)
    reasons = []
    while not store.failed.is_set():
        with pytest.raises(StoreError) as caught:
            await store.check_access()
        reasons.append(caught.value.reason)
        await asyncio.sleep(0.01)
    assert set(reasons[:-1]) == {StoreReason.UNREACHABLE}
    assert reasons[-1] is StoreReason.HELD_ELSEWHERE


async def test_event_numbers_skip_ahead_after_a_holder_without_orderly_stop(
    store: PostgresStore, new_store: NewStore, postgres_server: PostgresServer, write_events: WriteEvents
) -> None:
    await store.run(sources.read_or_create, "acme")
    assert await store.run(write_events, "1", "2") == [1, 2]
    await store.close()
    second = new_store()
    await second.open()
    assert await second.run(write_events, "3") == [3]
    end_session(postgres_server, second)
    third = new_store()
    await third.open()
    assert await third.run(feed.highest_sequence) == 3 + SKIPPED_EVENT_NUMBERS
    assert await third.run(write_events, "4") == [4 + SKIPPED_EVENT_NUMBERS]


async def test_store_configured_names_stores_sources_and_destinations(store: PostgresStore) -> None:
    await store.store_configured_names(["globex", "acme"], ["hr"])
    latest = await store.run(holders.latest_holder)
    assert latest is not None
    assert (sorted(latest.sources), sorted(latest.destinations)) == (["acme", "globex"], ["hr"])


async def test_store_configured_names_logs_names_that_the_configuration_lacks(
    store: PostgresStore, new_store: NewStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.store_configured_names(["globex", "acme"], ["hr", "gate"])
    await store.close()
    second = new_store()
    await second.open()
    await second.store_configured_names(["acme"], ["hr"])
    facts = [record.__dict__ for record in caplog.records if "configuration lacks" in record.message]
    assert [(fact.get("source"), fact.get("destination")) for fact in facts] == [("globex", None), (None, "gate")]


async def test_commit_with_a_lost_answer_is_stored_and_can_be_repeated(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store._db is not None
    control = store._db._control

    def lose_answer(statement: str) -> str | None:
        done = control(statement)
        if statement == "COMMIT":
            assert store._db is not None
            store._db.connection.close()
            raise psycopg.OperationalError("the connection was closed")
        return done

    monkeypatch.setattr(store._db, "_control", lose_answer)
    with pytest.raises(StoreError) as caught:
        await store.run(sources.read_or_create, "acme")
    assert caught.value.reason is StoreReason.UNREACHABLE
    # It was committed.
    assert list(await store.run(sources.read_all)) == ["acme"]
    await store.run(sources.read_or_create, "acme")
    assert list(await store.run(sources.read_all)) == ["acme"]


async def test_event_of_5_megabytes_is_stored_whole(
    store: PostgresStore, completion: MakeCompletion, change: MakeChange
) -> None:
    large = completion("1", {"notes": "x" * 5_000_000})
    found = Findings("acme", "acme", changes=[change(large)])
    await store.run(sources.read_or_create, "acme")
    (event,) = await store.run(write, found, [], 0)
    (data,) = await store.run(
        lambda db: db.execute("SELECT data FROM events WHERE sequence = ?", [event.sequence]).fetchone()
    )
    assert len(data) > 5_000_000


async def test_error_in_a_transaction_rolls_it_back(store: PostgresStore) -> None:
    def fail(db: Any) -> None:
        sources.read_or_create(db, "acme")
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        await store.run(fail)
    assert await store.run(sources.read_all) == {}


async def test_suppressed_sql_error_still_fails_and_rolls_back_the_transaction(store: PostgresStore) -> None:
    def pass_over(db: Any) -> None:
        sources.read_or_create(db, "acme")
        with contextlib.suppress(psycopg.Error):
            db.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await store.run(pass_over)
    assert await store.run(sources.read_all) == {}


async def test_null_characters_in_text_are_replaced(store: PostgresStore) -> None:
    await store.run(names.store_people, "acme", [PersonName("a\x00", "A\x00na", None)])
    found = await store.run(names.find_names, "acme", ["a\x00"], [])
    assert found.people == {"a\ufffd": "A\ufffdna"}


async def test_reader_reads_the_store_and_refuses_to_write(store: PostgresStore) -> None:
    reader = StoreReader(store)
    await store.run(sources.read_or_create, "acme")
    assert list(await reader.run(sources.read_all)) == ["acme"]
    with pytest.raises(StoreError) as caught:
        await reader.run(sources.read_or_create, "globex")
    assert caught.value.reason is StoreReason.READ_ONLY
    assert store.fatal_error is None
    await reader.close()


async def test_slow_reader_query_raises_busy_and_the_next_one_succeeds(store: PostgresStore) -> None:
    reader = StoreReader(store, ReadingLimits(max_readers=1, wait_seconds=5.0, work_seconds=0.2))
    with pytest.raises(StoreError, match="takes longer") as caught:
        await reader.run(lambda db: db.execute("SELECT pg_sleep(30)"))
    assert caught.value.reason is StoreReason.BUSY
    assert await reader.run(sources.read_all) == {}
    await reader.close()


async def test_reader_connection_opened_too_late_serves_the_next_query(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = store.open_reader

    def connect_slowly() -> PostgresReadingDatabase:
        time.sleep(0.5)
        return connect()

    monkeypatch.setattr(store, "open_reader", connect_slowly)

    def read(db: Database) -> Any:
        return db.execute("SELECT 7 FROM pg_sleep(0.1)").fetchone()

    reader = StoreReader(store, ReadingLimits(max_readers=1, wait_seconds=5.0, work_seconds=0.3))
    with pytest.raises(StoreError, match="takes longer"):
        await reader.run(read)
    assert await reader.run(read) == (7,)
    await reader.close()


async def test_reader_reconnects_after_its_connection_is_lost(
    store: PostgresStore, postgres_server: PostgresServer
) -> None:
    reader = StoreReader(store, ReadingLimits(max_readers=1))
    (pid,) = await reader.run(lambda db: db.execute("SELECT pg_backend_pid()").fetchone())
    postgres_server.end_session(pid)
    with pytest.raises(StoreError) as caught:
        await reader.run(sources.read_all)
    assert caught.value.reason is StoreReason.UNREACHABLE
    assert await reader.run(sources.read_all) == {}
    await reader.close()


EXPECTED_ERRORS = {
    "53100": (StoreReason.DISK_FULL, "disk is full"),
    "25006": (StoreReason.READ_ONLY, "takes no writes"),
    "55P03": (StoreReason.LOCKED, "locks its tables"),
    "57014": (StoreReason.BUSY, "took too long"),
    "58030": (StoreReason.IO_ERROR, "SQLSTATE 58030"),
    "XX001": (StoreReason.CORRUPT, "SQLSTATE XX001"),
    "53200": (StoreReason.BUSY, "SQLSTATE 53200"),
    "40001": (StoreReason.BUSY, "try again"),
}


@pytest.mark.parametrize("state", EXPECTED_ERRORS)
async def test_server_errors_are_mapped_to_store_reasons(store: PostgresStore, state: str) -> None:
    raised = f"DO $$ BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(StoreError) as caught:
        await store.run(lambda db: db.execute(raised))
    reason, words = EXPECTED_ERRORS[state]
    assert caught.value.reason is reason
    assert words in caught.value.message
    assert caught.value.message.startswith('database "postgres" on ')
    assert store.fatal_error is None


async def test_missing_column_or_table_is_reported_with_its_sqlstate(store: PostgresStore) -> None:
    await store.run(lambda db: db.execute("ALTER TABLE sources DROP COLUMN met_at CASCADE"))
    with pytest.raises(StoreError, match=r"met_at.*SQLSTATE 42703.*restore a backup") as caught:
        await store.run(sources.read_all)
    assert caught.value.reason is StoreReason.TABLES_CHANGED
    await store.run(lambda db: db.execute("DROP TABLE sources CASCADE"))
    with pytest.raises(StoreError, match="SQLSTATE 42P01"):
        await store.run(sources.read_all)
    assert store.fatal_error is None


async def test_sql_syntax_error_is_not_converted_to_a_store_error(store: PostgresStore) -> None:
    with pytest.raises(psycopg.errors.SyntaxError):
        await store.run(lambda db: db.execute("SELEC"))


async def test_open_refuses_a_missing_database(new_store: NewStore, postgres_server: PostgresServer) -> None:
    error = await refused(new_store(postgres_server.tcp_url(database="nowhere")))
    assert error.reason is StoreReason.REFUSED
    assert "no such database" in error.message


async def test_try_open_reports_an_unreachable_server_without_the_password(new_store: NewStore) -> None:
    store = new_store("postgresql://postgres:the-password@127.0.0.1:1/postgres")
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be reached") as caught:
            await store.try_open()
        assert caught.value.reason is StoreReason.UNREACHABLE
        assert "the-password" not in str(caught.value)


async def test_wrong_password_is_refused_and_not_printed(new_store: NewStore, postgres_server: PostgresServer) -> None:
    with postgres_server.requiring_passwords():
        error = await refused(new_store(postgres_server.tcp_url("postgres:wrong-one")))
    assert error.reason is StoreReason.REFUSED
    assert "correct user and password" in error.message
    assert "wrong-one" not in error.message


async def test_open_names_the_missing_grant_for_a_user_without_rights(
    new_store: NewStore, postgres_server: PostgresServer, schema: str
) -> None:
    postgres_server.execute("CREATE ROLE clerk LOGIN")
    error = await refused(new_store(postgres_server.tcp_url("clerk")))
    assert error.reason is StoreReason.NOT_WRITABLE
    assert 'GRANT CREATE ON DATABASE "postgres" TO "clerk"' in error.message
    postgres_server.execute(f'CREATE SCHEMA "{schema}" AUTHORIZATION clerk')
    store = new_store(postgres_server.tcp_url("clerk"))
    await store.open()
    await store.run(sources.read_or_create, "acme")
    await store.close()
    postgres_server.execute("DROP OWNED BY clerk CASCADE")
    postgres_server.execute("DROP ROLE clerk")


async def test_store_reconnects_to_a_server_that_hides_its_timeline(
    new_store: NewStore, postgres_server: PostgresServer, schema: str
) -> None:
    postgres_server.execute("CREATE ROLE usher LOGIN")
    postgres_server.execute(f'CREATE SCHEMA "{schema}" AUTHORIZATION usher')
    postgres_server.execute("REVOKE EXECUTE ON FUNCTION pg_walfile_name FROM PUBLIC")
    try:
        store = new_store(postgres_server.tcp_url("usher"))
        await store.open()
        end_session(postgres_server, store)
        with pytest.raises(StoreError):
            await store.check_access()
        await store.run(sources.read_or_create, "acme")
        assert store.fatal_error is None
        await store.close()
    finally:
        postgres_server.execute("GRANT EXECUTE ON FUNCTION pg_walfile_name TO PUBLIC")
        postgres_server.execute("DROP OWNED BY usher CASCADE")
        postgres_server.execute("DROP ROLE usher")


async def test_store_fails_when_the_server_has_another_timeline(
    store: PostgresStore, postgres_server: PostgresServer
) -> None:
    """A promoted replica has a new timeline; here the store remembers another one instead."""
    assert store._timeline == "00000001"
    store._timeline = "00000000"
    end_session(postgres_server, store)
    with pytest.raises(StoreError) as caught:
        await store.check_access()
    with pytest.raises(StoreError) as caught:
        await store.check_access()
    assert caught.value.reason is StoreReason.HELD_ELSEWHERE
    assert "a replica was promoted" in caught.value.message
    assert store.fatal_error is caught.value


async def test_open_refuses_a_read_only_server(new_store: NewStore, postgres_server: PostgresServer) -> None:
    url = postgres_server.url(options="-c%20default_transaction_read_only%3Don")
    error = await refused(new_store(url))
    assert error.reason is StoreReason.READ_ONLY
    assert "connect to the primary" in error.message


async def test_open_refuses_a_server_that_is_too_old(new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "OLDEST_VERSION", 990_000)
    error = await refused(new_store())
    assert error.reason is StoreReason.REFUSED
    assert "99 or newer is needed" in error.message


async def test_open_refuses_a_database_without_utf8_encoding(
    new_store: NewStore, postgres_server: PostgresServer
) -> None:
    postgres_server.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    error = await refused(new_store(postgres_server.tcp_url(database="latin")))
    assert error.reason is StoreReason.REFUSED
    assert "ENCODING 'UTF8'" in error.message


async def test_open_refuses_a_pooler_in_transaction_mode(new_store: NewStore, postgres_server: PostgresServer) -> None:
    with pooled(postgres_server, "transaction") as url:
        error = await refused(new_store(url))
    assert error.reason is StoreReason.REFUSED
    assert "pooler in transaction mode" in error.message


async def test_run_refuses_a_pooler_that_changed_the_session_and_writes_nothing(
    new_store: NewStore, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holders, "check_session", lambda *_: None)
    with pooled(postgres_server, "transaction") as url:
        store = new_store(url)
        await store.open()
        with psycopg.connect(url) as other:
            # It now uses the session of the store, so the next transaction of the store gets another one.
            other.execute("SELECT 1")
            with pytest.raises(StoreError, match="pooler in transaction mode") as caught:
                await store.run(sources.read_or_create, "acme")
        await store.close()
    assert caught.value.reason is StoreReason.REFUSED
    assert store.fatal_error is caught.value
    assert postgres_server.execute(f'SELECT * FROM "{store.location.schema}".sources') == []


async def test_run_refuses_to_write_after_the_session_was_reset(store: PostgresStore) -> None:
    assert store._db is not None
    store._db.connection.execute("DISCARD ALL")
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            await store.run(sources.read_or_create, "acme")
        assert caught.value.reason is StoreReason.REFUSED
    assert store.failed.is_set()


async def test_open_accepts_a_pooler_in_session_mode(new_store: NewStore, postgres_server: PostgresServer) -> None:
    with pooled(postgres_server, "session") as url:
        store = new_store(url)
        await store.open()
        assert await new_store().try_open() is not None
        await store.run(sources.read_or_create, "acme")
        await store.close()


async def test_open_refuses_a_server_without_working_advisory_locks(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CockroachDB answers that every lock was taken."""
    monkeypatch.setattr(holders, "try_lock", lambda *_: True)
    error = await refused(new_store())
    assert error.reason is StoreReason.REFUSED
    assert "does not keep advisory locks" in error.message


async def test_try_open_by_two_stores_at_once_opens_exactly_one(new_store: NewStore) -> None:
    both = [new_store(), new_store()]
    answers = await asyncio.gather(*(store.try_open() for store in both))
    assert [answer is None for answer in answers].count(True) == 1
    loser = both[answers.index(next(it for it in answers if it is not None))]
    await next(it for it in both if it is not loser).close()
    # The server may end the other session a little later.
    while await loser.try_open() is not None:
        await asyncio.sleep(0.01)
