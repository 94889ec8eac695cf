"""Real damage to a state file: it is set aside and rebuilt, nothing is told twice, nothing undelivered is lost."""

import logging
import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from notifier.completions import Change, Completion, EventType, Net, event_id
from notifier.config import FirstRun
from notifier.ledger import destinations, essentials, housekeeping, outbox, rebuilds, records, sources, sweeps
from notifier.ledger.damage import note_damage
from notifier.ledger.destinations import Health, HealthState
from notifier.ledger.errors import LedgerError, LedgerReason
from notifier.ledger.essentials import essentials_file
from notifier.ledger.ledger import Ledger, open_database
from notifier.ledger.outbox import DeliveryState, Settlement
from notifier.ledger.rebuild import open_or_rebuild
from notifier.ledger.reconciling import SEQUENCE_LEAP
from notifier.ledger.records import Findings, Learned
from notifier.ledger.subscriptions import Subscription
from notifier.watch.verdicts import Baseline, Reason, judge

HOUR = 3_600_000
NOW = 1_795_280_400_000
MET = NOW - 72 * HOUR
SWEPT = NOW - 40 * HOUR
HISTORY, NEWS = range(600), range(600, 900)
DELIVERED, DEAD, PENDING = NEWS[:280], NEWS[280:283], NEWS[283:]
PAGE = 4096

HR = [Subscription("hr", frozenset({"completion.created", "completion.updated", "completion.removed"}))]


def completion(number: int) -> Completion:
    """Make a record: the first ones were entered before the first meeting, the others evenly since."""
    entered = (
        MET - HOUR * (1 + number) if number in HISTORY else MET + (number - HISTORY.stop) * (NOW - MET) // len(NEWS)
    )
    raw = orjson.dumps({"id": number, "notes": "A remark of some length. " * (number % 7)})
    return Completion(str(number), "7", f"u{number % 50}", "2026-01-01", None, entered, None, None, "", False, raw)


def created(number: int) -> Change:
    return Change(EventType.CREATED, completion(number), 1, Net.HEAD, Reason.ENTERED_SINCE)


def live(path: Path) -> None:
    """Make a state file with a past: history, news that was delivered, dead or still waits, and a parked receiver."""
    with closing(open_database(path)) as db:
        with db.atomic():
            sources.recall(db, "acme")
            sources.meet(db, "acme", MET)
            destinations.recall(db, "hr")
            destinations.recall(db, "gone")
            destinations.remember(db, "gone", Health(HealthState.DISABLED, "gone", NOW))
            learned = [Learned(completion(number), Net.SWEEP, Reason.ENTERED_BEFORE) for number in HISTORY]
            records.write(db, Findings("acme", "acme", learned=learned), HR, MET)
            sweep = sweeps.resume(db, "acme", SWEPT)
            sweeps.finish(db, sweep, SWEPT + HOUR)
        for number in NEWS:
            with db.atomic():
                detected_ms = (completion(number).recorded_at or 0) + 60_000
                (event,) = records.write(db, Findings("acme", "acme", changes=[created(number)]), HR, detected_ms)
                state = DeliveryState.DELIVERED if number in DELIVERED else DeliveryState.DEAD
                if number not in PENDING:
                    settled = Settlement((event.sequence,), "hr", state, "test", "test", 200, "", detected_ms, 1, 0)
                    outbox.settle(db, [settled])
        with db.atomic():
            sources.succeed(db, "acme", NOW)
        essentials.write(essentials_file(path), essentials.gather(db, NOW))


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lived")
    live(folder / "notifier.db")
    return folder


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

    def open(self) -> Database:
        return open_or_rebuild(self.path, NOW + HOUR)

    def set_aside(self) -> list[Path]:
        return sorted(self.path.parent.glob("notifier.db.damaged-*Z"))


@pytest.fixture
def place(lived: Path, tmp_path: Path) -> Place:
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path / "notifier.db")


def ids(numbers: range) -> set[str]:
    return {event_id("acme", created(number)) for number in numbers}


def waiting(db: Database, state: str = "pending") -> set[str]:
    rows = db.execute("SELECT e.id FROM deliveries d JOIN events e USING (sequence) WHERE d.state = ?", [state])
    return {id_ for (id_,) in rows}


def read_everything_again(db: Database, more: tuple[int, ...] = ()) -> set[str]:
    """Do what polls and a sweep do, with the rules that tell news from history; return the ids of what is told."""
    told: set[str] = set()
    numbers = [*more, *reversed(NEWS), *HISTORY]
    for start in range(0, len(numbers), 500):
        page = [completion(number) for number in numbers[start : start + 500]]
        memory = sources.recall(db, "acme")
        baseline = Baseline(memory.met_at_ms, memory.swept_at_ms is not None, FirstRun.SILENT, memory.told_until_ms)
        known = records.known(db, "acme", [it.key for it in page])
        judged = judge(page, known, baseline, Net.SWEEP)
        findings = Findings("acme", "acme", judged.learned, judged.changes)
        with db.atomic():
            told |= {event.id for event in records.write(db, findings, HR, NOW + 2 * HOUR)}
    return told


def check_the_promise(db: Database) -> None:
    """Nothing undelivered is lost, nothing that was delivered is told again, numbers grow, what is new is news."""
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert waiting(db) >= ids(PENDING)
    assert waiting(db, "dead") == ids(DEAD)
    assert not waiting(db) & ids(DELIVERED)
    assert db.execute("SELECT state FROM destinations WHERE name = 'gone'").fetchone() == ("disabled",)
    newest = db.execute("SELECT max(sequence) FROM events").fetchone()[0]
    assert newest == len(NEWS)
    new = NEWS.stop + 40
    assert read_everything_again(db, more=(new,)) == ids(range(new, new + 1))
    assert db.execute("SELECT max(sequence) FROM events").fetchone()[0] > newest
    known = db.execute("SELECT count(*), count(DISTINCT key) FROM records WHERE removed_at IS NULL").fetchone()
    assert known == (len(HISTORY) + len(NEWS) + 1,) * 2
    assert sources.recall(db, "acme").records == known[0]


def nothing(_: Place) -> None:
    pass


def zero_header(place: Place) -> None:
    place.overwrite(0, bytes(100))


def zero_first_page(place: Place) -> None:
    place.overwrite(0, bytes(PAGE))


def scribble_schema(place: Place) -> None:
    place.overwrite(100, b"\xab" * (PAGE - 100))


def empty(place: Place) -> None:
    os.truncate(place.path, 0)


def cut_in_half(place: Place) -> None:
    os.truncate(place.path, place.pages // 2 * PAGE)


def cut_within_a_page(place: Place) -> None:
    os.truncate(place.path, place.pages // 3 * PAGE + 1000)


def remove(place: Place) -> None:
    place.path.unlink()


def scribble_all_but_the_first(place: Place) -> None:
    place.overwrite(PAGE, b"\xab" * (place.pages - 1) * PAGE)


def scribble_every_third(place: Place) -> None:
    for number in range(2, place.pages, 3):
        place.overwrite(number * PAGE, random.Random(number).randbytes(PAGE))


def root_of(table: str) -> Callable[[Place], None]:
    def scribble(place: Place) -> None:
        with closing(sqlite3.connect(place.path)) as db:
            (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
        place.overwrite((page - 1) * PAGE, bytes(PAGE))

    return scribble


TABLES = ("records", "events", "deliveries", "attempt_runs", "sources", "destinations", "_sqlite_migrations")
INDEXES = ("deliveries_unfinished", "records_by_key", "events_by_time", "sqlite_autoindex_events_1")
DAMAGES = {
    "the header": zero_header,
    "the first page": zero_first_page,
    "the schema": scribble_schema,
    "empty": empty,
    "half": cut_in_half,
    "cut within a page": cut_within_a_page,
    "gone": remove,
    "all but the first page": scribble_all_but_the_first,
    "every third page": scribble_every_third,
} | {f"the root of {name}": root_of(name) for name in TABLES + INDEXES}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_set_aside_and_rebuilt_and_keeps_the_promise(
    place: Place, damage: Callable[[Place], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(place)
    left = place.path.read_bytes() if place.path.exists() else None
    with closing(place.open()) as db:
        rebuild = rebuilds.latest(db)
        assert rebuild is not None
        assert (rebuild.at_ms, rebuild.problem != "") == (NOW + HOUR, True)
        check_the_promise(db)
    if left is None:
        assert (place.set_aside(), rebuild.set_aside) == ([], None)
    else:
        assert place.set_aside() == [place.path.with_name("notifier.db.damaged-20261121T180000Z")]
        assert rebuild.set_aside == str(place.set_aside()[0])
        assert place.set_aside()[0].read_bytes() == left
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600
    assert [record.levelname for record in caplog.records] == ["CRITICAL", "WARNING"]
    beside = {path.name.removeprefix("notifier.db") for path in place.path.parent.iterdir()}
    assert {name for name in beside if not name.startswith(".damaged-")} == {"", ".essentials"}


@settings(max_examples=12)
@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(1, 12), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6
    )
)
def test_wherever_pages_are_overwritten_the_promise_is_kept(
    lived: Path, tmp_path_factory: pytest.TempPathFactory, scribbles: list[tuple[int, int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("scribbled")
    shutil.copytree(lived, folder, dirs_exist_ok=True)
    place = Place(folder / "notifier.db")
    for where, pages, content in scribbles:
        first = where % place.pages
        size = min(pages, place.pages - first) * PAGE
        place.overwrite(first * PAGE, (content * size)[:size])
    with closing(place.open()) as db:
        check_the_promise(db)
    shutil.rmtree(folder)


@settings(max_examples=12)
@given(st.lists(st.tuples(st.integers(0, 10**7), st.binary(min_size=1, max_size=300)), min_size=1, max_size=8))
def test_whatever_bytes_are_overwritten_it_starts_with_a_sound_file(
    lived: Path, tmp_path_factory: pytest.TempPathFactory, scribbles: list[tuple[int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("scribbled")
    shutil.copytree(lived, folder, dirs_exist_ok=True)
    place = Place(folder / "notifier.db")
    size = place.path.stat().st_size
    for where, content in scribbles:
        place.overwrite(where % (size - 300), content)
    with closing(place.open()) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert sources.recall(db, "acme").met_at_ms == MET
        read_everything_again(db)
    shutil.rmtree(folder)


@pytest.mark.parametrize("damage", ["name of a table", "steps of the schema"])
def test_a_file_whose_words_are_garbled_is_read_by_this_versions_own(place: Place, damage: str) -> None:
    content = place.path.read_bytes()
    old, new = {
        "name of a table": (b"CREATE TABLE deliveries", b"CREATE TABLE de\xffiveries"),
        "steps of the schema": (b"three_nets", b"three_pets"),
    }[damage]
    place.path.write_bytes(content.replace(old, new, 1))
    if damage == "steps of the schema":
        root_of("attempt_runs")(place)
    with closing(place.open()) as db:
        assert rebuilds.latest(db) is not None
        check_the_promise(db)


def test_a_whole_file_is_opened_as_it_is(place: Place) -> None:
    with closing(place.open()) as db:
        assert rebuilds.latest(db) is None
        assert essentials.highest_sequence(db) == len(NEWS)
        check_the_promise(db)
    assert place.set_aside() == []


@pytest.mark.parametrize("table", ["events", "deliveries", "records"])
def test_what_has_come_in_since_the_essentials_were_written_is_not_lost_either(place: Place, table: str) -> None:
    late = range(NEWS.stop, NEWS.stop + 3)
    with closing(open_database(place.path)) as db, db.atomic():
        records.write(db, Findings("acme", "acme", changes=[created(number) for number in late]), HR, NOW)
    root_of(table)(place)
    with closing(place.open()) as db:
        told = read_everything_again(db, more=tuple(late))
        assert told == (ids(late) if table == "events" else set())
        assert waiting(db) >= ids(late) | ids(PENDING)
        assert not waiting(db) & ids(DELIVERED)


def test_a_leaf_that_is_lost_costs_its_own_rows_and_nothing_else(place: Place) -> None:
    root_of("attempt_runs")(place)
    with closing(place.open()) as db:
        rebuild = rebuilds.latest(db)
        assert rebuild is not None
        assert rebuild.lost == "attempt_runs"
        memory = sources.recall(db, "acme")
        assert (memory.swept_at_ms, memory.told_until_ms) == (SWEPT + HOUR, None)
        assert db.execute("SELECT count(*) FROM deliveries").fetchone() == (len(NEWS),)


def test_what_is_committed_but_not_in_the_file_yet_is_saved_too(place: Place) -> None:
    with closing(open_database(place.path)) as db:
        with db.atomic():
            records.write(db, Findings("acme", "acme", changes=[created(NEWS.stop)]), HR, NOW)
        root_of("attempt_runs")(place)
        copy = Place(place.path.parent / "copy" / "notifier.db")
        copy.path.parent.mkdir()
        for part in ("", "-wal", ".essentials"):
            shutil.copy(f"{place.path}{part}", f"{copy.path}{part}")
    with closing(copy.open()) as db:
        assert ids(range(NEWS.stop, NEWS.stop + 1)) <= waiting(db)
    (aside,) = copy.set_aside()
    assert aside.with_name(f"{aside.name}-wal").stat().st_size > PAGE


def killing(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("left", ["file", "log", "nothing"])
def test_a_process_that_was_killed_while_it_exchanged_the_files_goes_on(
    place: Place, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root_of("attempt_runs")(place)
    moved = place.path.with_name("elsewhere")
    with monkeypatch.context() as killed:
        killed.setattr("notifier.ledger.rebuild.set_aside", killing)
        with pytest.raises(KeyboardInterrupt):
            place.open()
    match left:
        case "log":
            place.path.rename(moved)
            place.path.with_name("notifier.db-wal").write_bytes(b"the log of another file")
        case "nothing":
            place.path.rename(moved)
        case _:
            pass
    with closing(place.open()) as db:
        assert rebuilds.latest(db) is not None
        check_the_promise(db)


def test_the_next_number_is_beyond_all_that_anybody_may_have_seen(place: Place) -> None:
    zero_header(place)
    with closing(place.open()) as db:
        assert essentials.highest_sequence(db) == len(NEWS) + SEQUENCE_LEAP


def test_an_older_file_put_back_by_hand_gives_no_number_twice(place: Place) -> None:
    known = essentials.read(essentials_file(place.path))
    assert known is not None
    with closing(open_database(place.path)) as db, db.atomic():
        db.execute("UPDATE sqlite_sequence SET seq = 5 WHERE name = 'events'")
        db.execute("DELETE FROM deliveries WHERE sequence > 5")
        db.execute("DELETE FROM attempt_runs WHERE first_sequence > 5")
        db.execute("DELETE FROM events WHERE sequence > 5")
    with closing(place.open()) as db:
        assert essentials.highest_sequence(db) == known.sequence + SEQUENCE_LEAP


@pytest.mark.parametrize("damage", [zero_header, scribble_schema, empty])
def test_without_essentials_only_what_bears_our_mark_is_touched(place: Place, damage: Callable[[Place], None]) -> None:
    essentials_file(place.path).unlink()
    damage(place)
    left = place.path.read_bytes()
    if damage is zero_header:
        with pytest.raises(LedgerError) as refused:
            place.open()
        assert refused.value.reason is LedgerReason.NOT_A_STATE_FILE
        assert place.path.read_bytes() == left
    else:
        with closing(place.open()) as db:
            assert sources.everything(db) == {}
    assert len(place.set_aside()) == (1 if damage is scribble_schema else 0)


def test_another_programs_database_is_refused_though_essentials_lie_beside_it(place: Place) -> None:
    place.path.unlink()
    with closing(sqlite3.connect(place.path)) as db, db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(LedgerError) as refused:
        place.open()
    assert refused.value.reason is LedgerReason.NOT_A_STATE_FILE
    assert place.set_aside() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 99}', b'{"format": 1, "sources": 7}', b"\xff"])
def test_essentials_that_cannot_be_read_count_as_none(place: Place, content: bytes) -> None:
    essentials_file(place.path).write_bytes(content)
    assert essentials.read(essentials_file(place.path)) is None
    with closing(place.open()) as db:
        check_the_promise(db)


def test_what_a_rebuilt_file_remembers_of_the_old_one_is_forgotten_in_time(place: Place) -> None:
    zero_header(place)
    with closing(place.open()) as db:
        assert db.execute("SELECT count(*) FROM told_before").fetchone()[0] > 100
        housekeeping.prune(db, NOW + HOUR + housekeeping.TOLD_BEFORE_FOR + 1)
        assert db.execute("SELECT count(*) FROM told_before").fetchone()[0] == 0
        assert rebuilds.latest(db) is not None


async def test_damage_that_is_met_in_use_ends_all_work_and_is_mended_by_the_next_start(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    monkeypatch.setattr("notifier.ledger.damage.CHECKED_WHOLE", 0)
    monkeypatch.setattr("notifier.ledger.damage.CHECKED_FULLY", 0)
    root_of("records")(place)
    ledger = Ledger(place.path, lambda path: open_or_rebuild(path, NOW + HOUR))
    await ledger.open()
    assert place.set_aside() == []
    with pytest.raises(LedgerError) as met:
        await ledger.run(records.known, "acme", ["7"])
    assert met.value.reason is LedgerReason.CORRUPT
    assert ledger.damaged.is_set()
    with pytest.raises(LedgerError, match="it is damaged"):
        await ledger.run(sources.recall, "acme")
    await ledger.close()
    again = Ledger(place.path, lambda path: open_or_rebuild(path, NOW + HOUR))
    await again.open()
    await again.run(check_the_promise)
    await again.close()
    assert len(place.set_aside()) == 1
    assert not place.path.with_name("notifier.db.damage-met").exists()


def test_a_note_of_damage_that_turns_out_to_be_none_is_taken_away(place: Place) -> None:
    note_damage(place.path)
    with closing(place.open()) as db:
        assert rebuilds.latest(db) is None
    assert not place.path.with_name("notifier.db.damage-met").exists()
