"""The cost of a statement does not grow with the state file, in an old version of SQLite and in a new one.

Each function that runs per page, per event or per request is called on two files, one eight times as large. Its
statements are counted in steps of SQLite's machine: by this Python's SQLite as they run, and by a newer one that a
package brings. What has to read all records may cost eight times as much, and never more. On PostgreSQL,
the rows and entries of indexes are counted that the functions of the first kind read.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
import pytest
from msgspec.structs import replace

from notifier.events import Change, Completion, DetectedBy, EventType
from notifier.store.file.connection import FileDatabase, open_database
from notifier.store.postgres import schema
from notifier.store.postgres.connection import connect
from notifier.store.postgres.copying import restore_into_schema
from notifier.store.postgres.database import PostgresDatabase, translate
from notifier.store.queries import event_log, feed, history, record_history, search
from notifier.store.queries.event_log import EventLogFilter
from notifier.store.queries.history import DeliveryCursor, DeliveryFilter
from notifier.store.queries.orphans import orphans
from notifier.store.subscriptions import Subscription
from notifier.store.tables import (
    destinations,
    holds,
    left_out,
    names,
    outbox,
    record_lookups,
    records,
    records_by_date,
    records_by_person,
    requeue,
    second_looks,
    settlements,
    sources,
    sweeps,
)
from notifier.store.tables.left_out import UnreadableRecord
from notifier.store.tables.names import PersonName
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.requeue import RetrySelection
from notifier.store.tables.second_looks import LookKind, SecondLook
from notifier.store.tables.settlements import Settlement
from notifier.store.tables.sweeps import SweptPage
from tests.support.postgres_server import PostgresServer

SMALL: Final = 1_000
LARGE: Final = 8_000
PAGE: Final = 500
A_DAY: Final = 20
"""Number of records of each completion date, and of each person."""

TYPES: Final = frozenset(str(type_) for type_ in EventType)
SUBSCRIPTIONS: Final = [Subscription("hr", TYPES), Subscription("audit", TYPES)]


class Work(Protocol):
    """Work on a state file with so many records."""

    def __call__(self, db: FileDatabase, size: int) -> object: ...


def completion(number: int, notes: str = "") -> Completion:
    day, person = number // A_DAY, number % max(1, SMALL // A_DAY) + number // SMALL * (SMALL // A_DAY)
    raw = b'{"id":%d,"notes":"%b","files":[]}' % (number, notes.encode())
    key = f"v1-{number:016x}"
    date = f"{2000 + day // 336:04}-{day % 336 // 28 + 1:02}-{day % 28 + 1:02}"
    return Completion(key, f"t{number % 50}", f"u{person}", date, None, 10**12 + number, None, None, notes, False, raw)


def newest(size: int, count: int = PAGE) -> list[Completion]:
    return [completion(number) for number in range(size - count, size)]


def keys(size: int, count: int = PAGE) -> list[str]:
    return [one.key for one in newest(size, count)]


def filled(path: Path, size: int) -> Path:
    """Make a state file with so many records, each with an event and two deliveries, attempts, names and looks."""
    with closing(open_database(path)) as db, db.atomic():
        sources.read_or_create(db, "acme")
        sources.write(db, "acme", first_contact_ms=1, swept_at_ms=2)
        for first in range(0, size, 1000):
            created = [
                Change(EventType.CREATED, completion(number), 1, DetectedBy.HEAD, "entered_since_first_meeting")
                for number in range(first, min(size, first + 1000))
            ]
            records.write(db, Findings("acme", "acme", changes=created), SUBSCRIPTIONS, first)
        db.execute("UPDATE deliveries SET state = 'delivered', attempts = 1, last_attempt_at = sequence")
        db.execute("UPDATE deliveries SET state = 'pending' WHERE sequence BETWEEN 10 AND 600 AND destination = 'hr'")
        destinations.read_or_create(db, "hr")
        db.execute(
            "INSERT INTO attempt_runs (first_sequence, last_sequence, destination, attempted_at, milliseconds,"
            " decision, reason) SELECT sequence, sequence, destination, sequence, 5, 'delivered', 'accepted'"
            " FROM deliveries"
        )
        names.store_people(db, "acme", [PersonName(f"u{n}", f"Person {n}", f"E{n}") for n in range(size // A_DAY)])
        names.store_trainings(db, "acme", [(f"t{n}", f"Training {n}") for n in range(50)])
        sweeps.resume_or_start(db, "acme", 5)
        sweep = sweeps.latest(db, "acme")
        assert sweep is not None
        for number in range(1, size // 100):
            page = SweptPage(sweep.id, number, None, number * 100, 0, marks=True)
            sweeps.advance(db, page, changes=0, ids=bytes(800))
        records_by_person.create_index(db)
        noted = [UnreadableRecord(f"x{number}", "date_number", "is no day") for number in range(size)]
        left_out.count_unreadable(db, "acme", noted, (), swept=True)
        for number in range(size):
            second_looks.store_earlier_form(db, "acme", completion(number).key, number, number)
    return path


def look(key: str) -> SecondLook:
    return SecondLook(key, LookKind.REMOVAL, 1, 1, "head", 0, "u1", "t1")


def write_news(db: FileDatabase, size: int) -> object:
    changes = [
        Change(EventType.UPDATED, completion(number, "new"), 2, DetectedBy.HEAD, "content_changed", completion(number))
        for number in range(size - 50, size)
    ]
    changes += [
        Change(EventType.CREATED, completion(number), 1, DetectedBy.HEAD, "entered_since_first_meeting")
        for number in range(size + 1, size + 50)
    ]
    learned = [
        SilentRecord(completion(number), DetectedBy.SWEEP, "entered_before_first_meeting")
        for number in range(10**6, 10**6 + 50)
    ]
    looks = [look(key) for key in keys(size, 10)]
    return records.write(db, Findings("acme", "acme", changes=changes, learned=learned, looks=looks), SUBSCRIPTIONS, 9)


BOUNDED: dict[str, Work] = {
    "lookups.known": lambda db, size: record_lookups.known_records(db, "acme", keys(size)),
    "lookups.unchanged_ids": lambda db, size: record_lookups.unchanged_ids(db, "acme", dict.fromkeys(keys(size), 0)),
    "lookups.known_with_suffixes": lambda db, size: record_lookups.known_with_suffixes(db, "acme", keys(size)),
    "lookups.stored": lambda db, size: record_lookups.stored_json(db, "acme", keys(size)),
    "lookups.alike": lambda db, size: record_lookups.similar_records(db, "acme", newest(size, 100)),
    "lookups.unreadable_keys": lambda db, _: record_lookups.unreadable_keys(db, "acme"),
    "holds.changed_records": lambda db, _: holds.changed_records(db, "acme"),
    "holds.examples": lambda db, _: holds.examples(db, "acme"),
    "records.write": write_news,
    "left_out.count_unreadable": lambda db, size: left_out.count_unreadable(
        db, "acme", [UnreadableRecord(f"x{n}", None, "?") for n in range(size - 20, size + 20)], (), swept=False
    ),
    "left_out.delete_readable": lambda db, _: left_out.delete_readable(db, "acme", [f"x{n}" for n in range(20)]),
    "left_out.of_record": lambda db, _: left_out.of_record(db, "x5"),
    "second_looks.earlier_forms": lambda db, size: second_looks.earlier_forms(db, "acme", keys(size)),
    "second_looks.of_record": lambda db, size: second_looks.of_record(db, "acme", keys(size)[0]),
    "second_looks.count_waiting": lambda db, _: second_looks.count_waiting(db, "acme"),
    "sources.record_success": lambda db, _: sources.record_success(db, "acme", 5, longest_outage_ms=1),
    "sweeps.latest": lambda db, _: sweeps.latest(db, "acme"),
    "sweeps.latest_of_each": lambda db, _: sweeps.latest_of_each(db),
    "sweeps.read_page_ids": lambda db, _: sweeps.read_page_ids(db, 1, 3, 5),
    "sweeps.advance": lambda db, _: sweeps.advance(db, SweptPage(1, 3, 9, 1, 0, True), changes=1, ids=b""),
    "days.ids_of": lambda db, size: records_by_date.ids_of(db, "acme", keys(size)),
    "days.suspects": lambda db, size: records_by_date.removal_candidates(db, range(size - 100, size)),
    "days.ids_after": lambda db, _: records_by_date.ids_after(db, "acme", records_by_date.BEFORE_ALL, 100),
    "days.ids_between": lambda db, size: records_by_date.ids_between(
        db, "acme", completion(size - 99).completed_on, completion(size - 1).completed_on or ""
    ),
    "records_by_person.occasions": lambda db, size: records_by_person.occasions(
        db,
        "acme",
        [
            Change(EventType.CREATED, replace(completion(number), key="new"), 1, DetectedBy.HEAD, "new")
            for number in range(size - 50, size)
        ],
    ),
    "names.find_names": lambda db, _: names.find_names(
        db, "acme", {f"u{n}" for n in range(20)}, {f"t{n}" for n in range(20)}
    ),
    "names.last_fetches": lambda db, _: names.last_fetches(db, "acme"),
    "feed.page_after": lambda db, size: feed.page_after(db, size - 200, feed.EventFilter(), 100, 10**6),
    "event_log, of all": lambda db, _: event_log.read_page(db, EventLogFilter(), None, 50, max_examined=PAGE),
    "event_log, what fits nothing": lambda db, size: event_log.read_page(
        db, EventLogFilter(destination="nobody"), size - 50, 50, max_examined=PAGE
    ),
    "event_log, unfinished": lambda db, _: event_log.read_page(
        db, EventLogFilter(state=DeliveryState.PENDING, source="acme"), None, 50, max_examined=PAGE
    ),
    "event_log, given up": lambda db, size: event_log.read_page(
        db, EventLogFilter(state=DeliveryState.DEAD, destination="hr"), size, 50, max_examined=PAGE
    ),
    "event_log, of a time": lambda db, _: event_log.read_page(
        db, EventLogFilter(since_ms=0, until_ms=1, source="?"), None, 50, max_examined=PAGE
    ),
    "event_log.numbered": lambda db, size: history.events_numbered(db, range(size - 100, size)),
    "feed.highest_sequence": lambda db, _: feed.highest_sequence(db),
    "history.events_after": lambda db, size: history.events_after(db, size - 100, 100),
    "history.sequence_before_latest": lambda db, _: history.sequence_before_latest(db, 50),
    "history.deliveries_after": lambda db, size: history.deliveries_after(
        db, DeliveryCursor(size - 60, "hr"), DeliveryFilter(), 100
    ),
    "history.latest_deliveries": lambda db, _: history.latest_deliveries(db, DeliveryFilter(), 50),
    "outbox.read_due": lambda db, _: outbox.read_due(db, "hr", now_ms=10, horizon_ms=10**9, limit=100, in_flight=()),
    "settlements.store_settlements": lambda db, size: settlements.store_settlements(
        db, [Settlement(tuple(range(size - 50, size)), "hr", DeliveryState.DELIVERED, "d", "r", 200, "", 10**9, 5, 0)]
    ),
    "settlements.store_settlements one by one": lambda db, size: settlements.store_settlements(
        db,
        [
            Settlement((sequence,), "hr", DeliveryState.DELIVERED, "d", "r", 200, "", 10**9, 5, 0)
            for sequence in range(size - 100, size)
        ],
    ),
    "destinations.due_events": lambda db, _: destinations.due_events(
        db, "hr", now_ms=10**9, horizon_ms=10**10, late_ms=1
    ),
    "orphans.orphans": lambda db, _: orphans(db, ["hr"]),
    "again.retry": lambda db, size: requeue.retry(
        db, RetrySelection(DeliveryState.DELIVERED, (event_of(db, size - 5),)), ["hr"], 10**9
    ),
    "record_history.record_histories": lambda db, size: record_history.record_histories(db, keys(size, 1)[0]),
}


def event_of(db: FileDatabase, sequence: int) -> str:
    (found,) = db.execute("SELECT id FROM events WHERE sequence = ?", [sequence]).fetchone()
    return str(found)


READS_ALL: dict[str, Work] = {
    "days.counts": lambda db, _: records_by_date.count_by_day(db, "acme"),
    "days.landmark": lambda db, _: records_by_date.random_day_boundary(db, "acme", 0.1),
    "finding.find": lambda db, _: search.find(db, "person 7"),
    # The list of people is read whole, their events are not.
    "event_log, of a person": lambda db, _: event_log.read_page(
        db, EventLogFilter(person="person 7"), None, 50, max_examined=PAGE
    ),
    "left_out.correct_after_sweep": lambda db, _: left_out.correct_after_sweep(
        db, sweeps.resume_or_start(db, "acme", 1), 3
    ),
}


@dataclass(slots=True)
class Steps:
    """How many steps SQLite's machine took, and which statements it ran."""

    count: int = 0
    statements: list[str] = field(default_factory=list)

    def step(self) -> int:
        self.count += 1
        return 0


@dataclass(frozen=True, slots=True)
class Files:
    small: Path
    large: Path


@pytest.fixture(scope="module", params=["never analyzed", "analyzed"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("plans")
    made = Files(filled(folder / "small.db", SMALL), filled(folder / "large.db", LARGE))
    if request.param == "analyzed":
        for path in (made.small, made.large):
            with closing(open_database(path)) as db:
                db.execute("ANALYZE")
    return made


def steps_here(path: Path, work: Callable[[FileDatabase], object]) -> Steps:
    """Count the steps of this Python's SQLite; what is written is rolled back."""
    steps = Steps()
    with closing(open_database(path)) as db:
        db.execute("BEGIN")
        db.conn.set_trace_callback(steps.statements.append)
        db.conn.set_progress_handler(steps.step, 1)
        work(db)
        db.conn.set_progress_handler(None, 0)
        db.conn.set_trace_callback(None)
        db.execute("ROLLBACK")
    return steps


def steps_of_newest(path: Path, statements: list[str]) -> int:
    """Count the steps of the newest SQLite for the same statements."""
    import apsw  # noqa: PLC0415 - where it is installed

    steps = Steps()
    with closing(apsw.Connection(str(path))) as db:
        db.execute("BEGIN")
        db.set_progress_handler(lambda: bool(steps.step()), 1)
        for statement in statements:
            db.execute(statement).fetchall()
        db.set_progress_handler(None)
        db.execute("ROLLBACK")
    return steps.count


def measured(files: Files, work: Work, sqlite: str) -> Iterator[int]:
    for path, size in ((files.small, SMALL), (files.large, LARGE)):
        steps = steps_here(path, partial(_call, work, size))
        yield steps.count if sqlite == "of this Python" else steps_of_newest(path, steps.statements)


def _call(work: Work, size: int, db: FileDatabase) -> Any:
    found = work(db, size)
    return found if not isinstance(found, Iterator) else list(found)


sqlites = pytest.mark.parametrize(
    "sqlite",
    [
        "of this Python",
        pytest.param(
            "newest",
            marks=pytest.mark.skipif(
                find_spec("apsw") is None and "TESTS_MUST_NOT_SKIP" not in os.environ, reason="needs the package apsw"
            ),
        ),
    ],
)


@sqlites
@pytest.mark.parametrize("name", BOUNDED)
def test_sqlite_steps_of_bounded_work_do_not_grow_with_the_state_file(files: Files, name: str, sqlite: str) -> None:
    small, large = measured(files, BOUNDED[name], sqlite)
    assert large <= 1.3 * small + 200, f"{small:,} steps at {SMALL:,} records, {large:,} at {LARGE:,}"


@sqlites
@pytest.mark.parametrize("name", READS_ALL)
def test_sqlite_steps_of_work_that_reads_all_records_grow_linearly(files: Files, name: str, sqlite: str) -> None:
    small, large = measured(files, READS_ALL[name], sqlite)
    assert large <= 1.3 * LARGE / SMALL * small + 200, f"{small:,} steps at {SMALL:,} records, {large:,} at {LARGE:,}"


# The same functions on PostgreSQL. Small tables would be read whole even where an index leads to the rows, so that is
# made expensive here.

ROWS_READ = (
    "SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(oid)), 0) FROM pg_class"
    " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'i')"
)

Databases = dict[int, PostgresDatabase]


@pytest.fixture(scope="module")
def databases(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    folder = tmp_path_factory.mktemp("rows")
    made: Databases = {}
    for size in (SMALL, LARGE):
        location = postgres_server.location(f"rows-{size}")
        restore_into_schema(location, filled(folder / f"{size}.db", size), lambda *_: None, now_ms=0)
        connection = connect(location)
        connection.execute("ANALYZE")
        connection.execute("SET enable_seqscan = off")
        made[size] = PostgresDatabase(connection)
    yield made
    for db in made.values():
        db.close()


def rows_read(db: PostgresDatabase, work: Any, size: int) -> int:
    """Return how many rows and entries of indexes were read; what was written is rolled back."""
    db.connection.execute("BEGIN")
    db._depth = 1
    (before,) = db.execute(ROWS_READ).fetchone() or (0,)
    answer = work(db, size)
    if isinstance(answer, Iterator):
        list(answer)
    (after,) = db.execute(ROWS_READ).fetchone() or (0,)
    db._depth = 0
    db.connection.execute("ROLLBACK")
    return int(after - before)


@pytest.mark.parametrize("name", BOUNDED)
def test_postgres_rows_read_by_bounded_work_do_not_grow_with_the_tables(databases: Databases, name: str) -> None:
    small, large = (rows_read(databases[size], BOUNDED[name], size) for size in (SMALL, LARGE))
    assert large <= 1.5 * small + 200, f"{small:,} rows read of {SMALL:,} records, {large:,} of {LARGE:,}"


def test_rows_read_counts_every_row(databases: Databases) -> None:
    assert rows_read(databases[LARGE], lambda db, _: db.execute("SELECT count(data) FROM events"), LARGE) >= LARGE


def test_postgres_key_lookup_without_statistics_uses_the_index_by_key(postgres_server: PostgresServer) -> None:
    """As in a first sweep: the server learns only later how large the table is."""
    location = postgres_server.location("no-statistics")
    with closing(connect(location)) as connection:
        schema.create_or_update(connection, location)
        db = PostgresDatabase(connection)
        sources.read_or_create(db, "acme")
        db.execute(
            "INSERT INTO records"
            " (source, key, revision, user_id, training_id, seen_at, net, reason, fingerprint, record)"
            " SELECT 'acme', CAST(n AS TEXT), 1, 'a', 'b', 0, 'head', 'history', 0, '{}'"
            " FROM generate_series(1, 5000) n"
        )
        keys = orjson.dumps([str(number) for number in range(1000)]).decode()
        sql = translate("SELECT id FROM records WHERE source = ? AND key IN (SELECT value FROM json_each(?))")
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {sql}".encode(), ["acme", keys]).fetchall())
        assert "records_by_key" in plan
        assert "key = ANY" in plan
    postgres_server.execute('DROP SCHEMA "no-statistics" CASCADE')
