"""A state file with data, which tests damage, and a check of the guarantees that hold after its recovery."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace

from notifier.config import FirstRun
from notifier.events import Change, Completion, DetectedBy, EventType, event_id
from notifier.store.database import Database
from notifier.store.file.connection import open_database
from notifier.store.recovery import essentials, snapshot
from notifier.store.recovery.opener import open_state_file
from notifier.store.subscriptions import Subscription
from notifier.store.tables import destinations, record_lookups, records, sources, sweeps
from notifier.store.tables.destinations import Health, HealthState
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.settlements import Settlement, store_settlements
from notifier.watch.detection.evidence import AnswerContext, Evidence, HoldState, evaluate_records
from notifier.watch.detection.holds import HoldLimits
from notifier.watch.detection.news import Baseline, NewsReason

HOUR = 3_600_000
NOW = 1_795_280_400_000
MET = NOW - 72 * HOUR
SWEPT = NOW - 40 * HOUR
HISTORY, NEWS = range(600), range(600, 900)
DELIVERED, DEAD, PENDING = NEWS[:280], NEWS[280:283], NEWS[283:]
PAGE = 4096

HR = [Subscription("hr", frozenset({"completion.created", "completion.updated", "completion.removed"}))]


def completion(number: int) -> Completion:
    """Return a record. Records of HISTORY were entered before the first poll, those of NEWS at intervals since."""
    entered = (
        MET - HOUR * (1 + number) if number in HISTORY else MET + (number - HISTORY.stop) * (NOW - MET) // len(NEWS)
    )
    raw = orjson.dumps({"id": number, "notes": "A remark of some length. " * (number % 7)})
    return Completion(str(number), "7", f"u{number % 50}", "2026-01-01", None, entered, None, None, "", False, raw)


def created(number: int) -> Change:
    return Change(EventType.CREATED, completion(number), 1, DetectedBy.HEAD, NewsReason.ENTERED_SINCE)


def live(path: Path) -> None:
    """Create a state file with history, delivered, dead and pending deliveries, and a disabled destination."""
    with closing(open_database(path)) as db:
        fill(db)
        write_essentials(path, db)


def fill(db: Database) -> None:
    """Write the data of `live` into a new state file."""
    with db.atomic():
        sources.read_or_create(db, "acme")
        sources.update(db, "acme", first_contact_ms=MET)
        destinations.read_or_create(db, "hr")
        destinations.read_or_create(db, "gone")
        destinations.store_health(db, "gone", Health(HealthState.DISABLED, "gone", NOW))
        learned = [SilentRecord(completion(number), DetectedBy.SWEEP, NewsReason.ENTERED_BEFORE) for number in HISTORY]
        records.write(db, Findings("acme", "acme", learned=learned), HR, MET)
        sweep = sweeps.resume_or_start(db, "acme", SWEPT)
        sweeps.finish(db, sweep, SWEPT + HOUR)
        sweeps.store_proof(db, replace(sweep, finished_ms=SWEPT + HOUR))
    for number in NEWS:
        with db.atomic():
            detected_ms = (completion(number).recorded_at or 0) + 60_000
            (event,) = records.write(db, Findings("acme", "acme", changes=[created(number)]), HR, detected_ms)
            state = DeliveryState.DELIVERED if number in DELIVERED else DeliveryState.DEAD
            if number not in PENDING:
                settled = Settlement(
                    (event.sequence,),
                    "hr",
                    state,
                    "test",
                    "test",
                    200,
                    "",
                    detected_ms,
                    1,
                    0,
                    detected_ms=(detected_ms,),
                )
                store_settlements(db, [settled])
    with db.atomic():
        sources.record_success(db, "acme", NOW)


def write_essentials(path: Path, db: Database, now_ms: int = NOW) -> None:
    with db.atomic():
        known = snapshot.take_snapshot(db, now_ms)
    essentials.write(path, known)


@dataclass
class Place:
    """A copy of that state file, to be damaged."""

    path: Path

    @property
    def pages(self) -> int:
        return self.path.stat().st_size // PAGE

    def overwrite(self, offset: int, content: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(content)

    def open(self, now_ms: int = NOW + HOUR) -> Database:
        return open_state_file(self.path, now_ms)

    def set_aside(self) -> list[Path]:
        return sorted(self.path.parent.glob("notifier.db.damaged-*Z"))


def ids(numbers: range) -> set[str]:
    return {event_id("acme", created(number)) for number in numbers}


def waiting(db: Database, state: str = "pending") -> set[str]:
    rows = db.execute("SELECT e.id FROM deliveries d JOIN events e USING (sequence) WHERE d.state = ?", [state])
    return {id_ for (id_,) in rows}


def read_all_records(db: Database, more: tuple[int, ...] = (), subscriptions: Sequence[Subscription] = HR) -> set[str]:
    """Read all records as polls and a sweep do; return the ids of the events that are created."""
    told: set[str] = set()
    numbers = [*more, *reversed(NEWS), *HISTORY]
    for start in range(0, len(numbers), 500):
        page = [completion(number) for number in numbers[start : start + 500]]
        memory = sources.read_or_create(db, "acme")
        baseline = Baseline(
            memory.first_contact_ms, memory.swept_at_ms is not None, FirstRun.SILENT, memory.announced_until_ms
        )
        known = record_lookups.known_records(db, "acme", [it.key for it in page])
        holds = HoldState(HoldLimits(len(numbers), len(numbers)))
        context = AnswerContext("acme", "acme", DetectedBy.SWEEP, 0.0, NOW + 2 * HOUR, baseline, holds)
        findings = evaluate_records(page, Evidence(known), context)
        with db.atomic():
            told |= {event.id for event in records.write(db, findings, subscriptions, NOW + 2 * HOUR)}
    return told


def check_guarantees(db: Database) -> None:
    """Check that no delivery is lost, no event is created twice, sequences grow, and new records are news."""
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert waiting(db) >= ids(PENDING)
    assert waiting(db, "dead") == ids(DEAD)
    assert not waiting(db) & ids(DELIVERED)
    assert db.execute("SELECT state FROM destinations WHERE name = 'gone'").fetchone() == ("disabled",)
    newest = db.execute("SELECT max(sequence) FROM events").fetchone()[0]
    assert newest == len(NEWS)
    new = NEWS.stop + 40
    assert read_all_records(db, more=(new,)) == ids(range(new, new + 1))
    assert db.execute("SELECT max(sequence) FROM events").fetchone()[0] > newest
    known = db.execute("SELECT count(*), count(DISTINCT key) FROM records WHERE removed_at IS NULL").fetchone()
    assert known == (len(HISTORY) + len(NEWS) + 1,) * 2
    assert sources.read_or_create(db, "acme").records == known[0]


def zero_root_page(table: str) -> Callable[[Place], None]:
    def scribble(place: Place) -> None:
        with closing(sqlite3.connect(place.path)) as db:
            (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
        place.overwrite((page - 1) * PAGE, bytes(PAGE))

    return scribble


def zero_header(place: Place) -> None:
    place.overwrite(0, bytes(100))


def scribble_schema(place: Place) -> None:
    place.overwrite(100, b"\xab" * (PAGE - 100))


def empty(place: Place) -> None:
    os.truncate(place.path, 0)


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the state file that `live` creates."""
    folder = tmp_path_factory.mktemp("lived")
    live(folder / "notifier.db")
    return folder


@pytest.fixture
def place(lived: Path, tmp_path: Path) -> Place:
    """A copy of that state file, to be damaged."""
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path / "notifier.db")
