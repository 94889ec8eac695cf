"""What a rebuild saves, what it touches and what not, and what happens when it is cut off."""

import logging
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from notifier.ledger import housekeeping, records, sources
from notifier.ledger.errors import LedgerError, LedgerReason
from notifier.ledger.ledger import Ledger, open_database
from notifier.ledger.rebuilding import essentials, rebuilds
from notifier.ledger.rebuilding.damage import note_damage
from notifier.ledger.rebuilding.essentials import essentials_file
from notifier.ledger.rebuilding.rebuild import open_or_rebuild
from notifier.ledger.rebuilding.reconciling import SEQUENCE_LEAP
from notifier.ledger.records import Findings
from tests.ledger.rebuilding.lived import (
    DELIVERED,
    HOUR,
    HR,
    NEWS,
    NOW,
    PAGE,
    PENDING,
    SWEPT,
    Place,
    check_the_promise,
    created,
    empty,
    ids,
    read_everything_again,
    root_of,
    scribble_schema,
    waiting,
    zero_header,
)


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
        killed.setattr("notifier.ledger.rebuilding.rebuild.set_aside", killing)
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
    monkeypatch.setattr("notifier.ledger.rebuilding.damage.CHECKED_WHOLE", 0)
    monkeypatch.setattr("notifier.ledger.rebuilding.damage.CHECKED_FULLY", 0)
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
