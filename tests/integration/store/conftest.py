"""State files, also one with a past, and what the functions of the store are about."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from notifier.events import Change, Completion, DetectedBy, EventType
from notifier.store.database import Database, Engine
from notifier.store.file.connection import FileDatabase
from notifier.store.file.store import FileStore
from notifier.store.subscriptions import Subscription
from notifier.store.tables import sources
from notifier.store.tables.records import Findings, write
from tests.support import completions
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.postgres_tables import EmptyTables
from tests.support.tables_in_memory import tables_in_memory
from tests.support.used_state_file import lived, place

__all__ = ["lived", "place"]

EVENTS = frozenset({"completion.created", "completion.updated", "completion.removed"})

NewDatabase = Callable[[], AbstractContextManager[Database]]
MakeCompletion = Callable[..., Completion]
MakeChange = Callable[..., Change]
Tell = Callable[..., list[int]]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Run a private PostgreSQL server."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session", params=list(Engine), ids=str)
def new_database(request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    """Make empty tables, for tests that need many databases; they know of one source, acme. On both engines."""
    if request.param is Engine.SQLITE:
        yield _in_memory
        return
    tables = EmptyTables(request.getfixturevalue("postgres_server"))

    @contextmanager
    def make() -> Iterator[Database]:
        with tables.lend() as db:
            sources.read_or_create(db, "acme")
            yield db

    yield make
    tables.close()


@contextmanager
def _in_memory() -> Iterator[FileDatabase]:
    with closing(tables_in_memory()) as db:
        db.execute("PRAGMA foreign_keys = ON")
        sources.read_or_create(db, "acme")
        yield db


@pytest.fixture
def db(new_database: NewDatabase) -> Iterator[Database]:
    with new_database() as database:
        yield database


@pytest.fixture
def file_db() -> Iterator[FileDatabase]:
    """Make the tables in SQLite, for tests about how SQLite does it."""
    with _in_memory() as database:
        yield database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[FileStore]:
    """Open a real state file."""
    opened = FileStore(path)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def completion() -> MakeCompletion:
    """Make a completion by its key; other fields, and those of its JSON (`raw`), where the test says so."""

    def make(key: str = "1238", raw: dict[str, Any] | None = None, **fields: Any) -> Completion:
        return completions.completion(key, json.dumps({"id": key} | (raw or {})).encode(), **fields)

    return make


@pytest.fixture(scope="session")
def change(completion: MakeCompletion) -> MakeChange:
    """Make a change of one completion, which is new unless the test says otherwise."""

    def make(
        of: Completion | str = "1238",
        type_: EventType = EventType.CREATED,
        revision: int = 1,
        previous: Completion | None = None,
    ) -> Change:
        what = completion(of) if isinstance(of, str) else of
        return Change(type_, what, revision, DetectedBy.HEAD, "entered_since_first_meeting", previous)

    return make


@pytest.fixture(scope="session")
def tell(change: MakeChange) -> Tell:
    """Write one event for each key, to be delivered to each destination; return their numbers."""

    def tell_all(db: Database, *keys: str, to: tuple[str, ...] = ("hr",), now_ms: int = 0) -> list[int]:
        subscriptions = [Subscription(destination, EVENTS) for destination in to]
        findings = Findings("acme", "acme", changes=[change(key) for key in keys])
        return [event.sequence for event in write(db, findings, subscriptions, now_ms)]

    return tell_all
