"""State files, and what the ledger's functions are about."""

import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from notifier.completions import Change, Completion, EventType, Net
from notifier.ledger import sources
from notifier.ledger.ledger import Ledger
from notifier.ledger.records import Findings, write
from notifier.ledger.schema import migrations
from notifier.ledger.subscriptions import Subscription
from tests.ledger.rebuilding.lived import Place, live

EVENTS = frozenset({"completion.created", "completion.updated", "completion.removed"})

NewDatabase = Callable[[], closing[Database]]
MakeCompletion = Callable[..., Completion]
MakeChange = Callable[..., Change]
Tell = Callable[..., list[int]]


@pytest.fixture(scope="session")
def new_database() -> NewDatabase:
    """Make the tables in memory, for tests that need many databases; they know of one source, acme."""

    def make() -> closing[Database]:
        db = Database(memory=True)
        migrations.apply(db)
        db.execute("PRAGMA foreign_keys = ON")
        sources.recall(db, "acme")
        return closing(db)

    return make


@pytest.fixture
def db(new_database: NewDatabase) -> Iterator[Database]:
    with new_database() as database:
        yield database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[Ledger]:
    """Open a real state file."""
    opened = Ledger(path)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def completion() -> MakeCompletion:
    """Make a completion by its key; other fields, and those of its JSON (`raw`), where the test says so."""

    def make(key: str = "1238", raw: dict[str, Any] | None = None, **fields: Any) -> Completion:
        defaults: dict[str, Any] = {
            "training_id": "1046",
            "user_id": "5e580f0cb780600088bd2c11",
            "completed_on": "2020-02-27",
            "expires_on": None,
            "recorded_at": 1_582_830_441_803,
            "instructor_id": None,
            "group_training_id": None,
            "notes": "",
            "has_attachments": False,
        }
        return Completion(key=key, raw=json.dumps({"id": key} | (raw or {})).encode(), **(defaults | fields))

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
        return Change(type_, what, revision, Net.HEAD, "entered_since_first_meeting", previous)

    return make


@pytest.fixture(scope="session")
def tell(change: MakeChange) -> Tell:
    """Write one event for each key, to be delivered to each destination; return their numbers."""

    def tell_all(db: Database, *keys: str, to: tuple[str, ...] = ("hr",), now_ms: int = 0) -> list[int]:
        subscriptions = [Subscription(destination, EVENTS) for destination in to]
        findings = Findings("acme", "acme", changes=[change(key) for key in keys])
        return [event.sequence for event in write(db, findings, subscriptions, now_ms)]

    return tell_all


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a state file that has a past."""
    folder = tmp_path_factory.mktemp("lived")
    live(folder / "notifier.db")
    return folder


@pytest.fixture
def place(lived: Path, tmp_path: Path) -> Place:
    """A copy of that state file, to be damaged."""
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path / "notifier.db")
