"""The database's answer to a commit is lost: events that were committed nevertheless are delivered at once."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg
import pytest
from pydantic import SecretStr

from notifier.clock import SystemClock
from notifier.daemon.daemon import Daemon
from notifier.store.postgres.location import Location
from notifier.store.postgres.store import PostgresStore
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.daemon import World


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as this:
        yield this


async def test_events_whose_commit_got_no_answer_are_delivered(
    world: "World", server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(Location(SecretStr(server.url()), "lost"), SystemClock().now_ms)
    daemon = Daemon(world.settings(), store=store)
    await daemon.start()
    try:
        await until(lambda: not daemon.operations.unready())
        await until(lambda: not daemon._sources.watcher("acme-1").is_sweeping)
        db = store._db
        assert db is not None
        control, wrote = db._control, db.execute
        events = 0

        def note_events(sql: str, *more: object) -> object:
            nonlocal events
            events += "INSERT INTO events" in sql
            return wrote(sql, *more)  # type: ignore[arg-type]

        def lose_answer(statement: str) -> str | None:
            done = control(statement)
            if statement == "COMMIT" and events:
                db.connection.close()
                raise psycopg.OperationalError("the connection was closed")
            return done

        monkeypatch.setattr(db, "execute", note_events)
        monkeypatch.setattr(db, "_control", lose_answer)
        key = world.complete()
        await until(lambda: [event["subject"] for event in world.received] == [key])
        assert store._db is not db
    finally:
        await daemon.stop()
