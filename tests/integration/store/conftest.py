"""State files, also used ones, and values for tests of the functions of the store."""

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
WriteEvents = Callable[..., list[int]]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Run a private PostgreSQL server."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session", params=list(Engine), ids=str)
def new_database(request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    """Return a function that creates empty tables with the source acme, for tests of many databases; both engines."""
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
    """A database with empty tables in SQLite, for tests of SQLite's behaviour."""
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
    """Return a function that creates a completion. `raw` replaces fields of its JSON, other arguments its fields."""

    def make(key: str = "1238", raw: dict[str, Any] | None = None, **fields: Any) -> Completion:
        return completions.completion(key, json.dumps({"id": key} | (raw or {})).encode(), **fields)

    return make


@pytest.fixture(scope="session")
def change(completion: MakeCompletion) -> MakeChange:
    """Return a function that creates a change of one completion, by default a new completion."""

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
def write_events(change: MakeChange) -> WriteEvents:
    """Return a function that writes an event for each key, to each destination in `to`, and returns their numbers."""

    def write_all(db: Database, *keys: str, to: tuple[str, ...] = ("hr",), now_ms: int = 0) -> list[int]:
        subscriptions = [Subscription(destination, EVENTS) for destination in to]
        findings = Findings("acme", "acme", changes=[change(key) for key in keys])
        return [event.sequence for event in write(db, findings, subscriptions, now_ms)]

    return write_all
