"""What a rebuild saves, which files it changes, and what happens when it is interrupted."""

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from notifier.store import pruning
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.backup import BackupError, back_up, restore
from notifier.store.file.connection import note_damage, open_database, open_file_read_only
from notifier.store.file.files import ESSENTIALS, sibling_path
from notifier.store.file.store import FileStore
from notifier.store.queries.feed import highest_sequence
from notifier.store.recovery import compare, essentials
from notifier.store.recovery.compare import SKIPPED_EVENT_NUMBERS
from notifier.store.recovery.essentials import EssentialsState
from notifier.store.recovery.opener import open_state_file, open_store
from notifier.store.tables import record_lookups, records, retention, sources
from notifier.store.tables.records import Findings
from tests.support.used_state_file import (
    DEAD,
    DELIVERED,
    HOUR,
    HR,
    NEWS,
    NOW,
    PAGE,
    PENDING,
    SWEPT,
    Place,
    check_guarantees,
    created,
    empty,
    ids,
    read_all_records,
    scribble_schema,
    waiting,
    write_essentials,
    zero_header,
    zero_root_page,
)


def scribble_all(place: Place) -> None:
    place.overwrite(0, b"\xab" * place.pages * PAGE)


def test_open_leaves_an_undamaged_file_unchanged(place: Place) -> None:
    with closing(place.open()) as db:
        assert compare.latest_comparison(db) is None
        assert highest_sequence(db) == len(NEWS)
        check_guarantees(db)
    assert place.set_aside() == []


@pytest.mark.parametrize("table", ["events", "deliveries", "records"])
def test_rebuild_keeps_events_written_after_the_essentials(place: Place, table: str) -> None:
    late = range(NEWS.stop, NEWS.stop + 3)
    with closing(open_database(place.path)) as opened, opened.atomic():
        records.write(opened, Findings("acme", "acme", changes=[created(number) for number in late]), HR, NOW)
    zero_root_page(table)(place)
    with closing(place.open()) as db:
        told = read_all_records(db, more=tuple(late))
        assert told == (ids(late) if table == "events" else set())
        assert waiting(db) >= ids(late) | ids(PENDING)
        assert not waiting(db) & ids(DELIVERED)


def test_rebuild_of_a_file_with_damaged_attempts_loses_only_attempts(place: Place) -> None:
    zero_root_page("attempt_runs")(place)
    with closing(place.open()) as db:
        rebuild = compare.latest_comparison(db)
        assert rebuild is not None
        assert rebuild.lost == "attempt_runs"
        memory = sources.read_or_create(db, "acme")
        assert (memory.swept_at_ms, memory.announced_until_ms) == (SWEPT + HOUR, None)
        assert db.execute("SELECT count(*) FROM deliveries").fetchone() == (len(NEWS),)


def test_rebuild_keeps_events_that_are_only_in_the_write_ahead_log(place: Place) -> None:
    with closing(open_database(place.path)) as db:
        with db.atomic():
            records.write(db, Findings("acme", "acme", changes=[created(NEWS.stop)]), HR, NOW)
        zero_root_page("attempt_runs")(place)
        copy = Place(place.path.parent / "copy" / "notifier.db")
        copy.path.parent.mkdir()
        for part in ("", "-wal", ".essentials"):
            shutil.copy(f"{place.path}{part}", f"{copy.path}{part}")
    with closing(copy.open()) as db:
        assert ids(range(NEWS.stop, NEWS.stop + 1)) <= waiting(db)
    (aside,) = copy.set_aside()
    with closing(sqlite3.connect(aside)) as kept:
        assert kept.execute("SELECT max(sequence) FROM events").fetchone() == (len(NEWS) + 1,)


def raise_keyboard_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("left", ["file", "log", "nothing"])
def test_rebuild_killed_before_the_replacement_is_finished_by_the_next_open(
    place: Place, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zero_root_page("attempt_runs")(place)
    moved = place.path.with_name("elsewhere")
    with monkeypatch.context() as killed:
        killed.setattr("notifier.store.recovery.exchange._replace", raise_keyboard_interrupt)
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
        assert compare.latest_comparison(db) is not None
        check_guarantees(db)


def test_rebuild_skips_event_numbers(place: Place) -> None:
    zero_header(place)
    with closing(place.open()) as db:
        assert highest_sequence(db) == len(NEWS) + SKIPPED_EVENT_NUMBERS


def test_older_file_put_back_by_hand_skips_event_numbers(place: Place) -> None:
    older = place.path.read_bytes()
    with closing(open_database(place.path)) as db:
        with db.atomic():
            records.write(
                db, Findings("acme", "acme", changes=[created(number) for number in range(900, 910)]), HR, NOW
            )
        write_essentials(place.path, db)
    place.path.write_bytes(older)
    with closing(place.open()) as db:
        assert highest_sequence(db) == len(NEWS) + 10 + SKIPPED_EVENT_NUMBERS


@pytest.mark.parametrize("damage", [zero_header, scribble_schema, empty])
def test_open_without_essentials_refuses_an_unmarked_file(place: Place, damage: Callable[[Place], None]) -> None:
    sibling_path(place.path, ESSENTIALS).unlink()
    damage(place)
    left = place.path.read_bytes()
    if damage is zero_header:
        with pytest.raises(StoreError) as refused:
            place.open()
        assert refused.value.reason is StoreReason.NOT_A_STATE_FILE
        assert place.path.read_bytes() == left
    else:
        with closing(place.open()) as db:
            assert sources.read_all(db) == {}
    assert len(place.set_aside()) == (1 if damage is scribble_schema else 0)


def test_open_refuses_another_programs_database_beside_essentials(place: Place) -> None:
    place.path.unlink()
    with closing(sqlite3.connect(place.path)) as db, db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(StoreError) as refused:
        place.open()
    assert refused.value.reason is StoreReason.NOT_A_STATE_FILE
    assert place.set_aside() == []


UNREADABLE = [b"", b"{", b"[]", b'{"format": 1, "sources": 7}', b'{"format": 2}', b"\xff", b'{"format": "x"}']


@pytest.mark.parametrize("content", [*UNREADABLE, b'{"format": 99}'])
def test_unreadable_essentials_beside_an_undamaged_file_are_set_aside(
    place: Place, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    sibling_path(place.path, ESSENTIALS).write_bytes(content)
    newer = content not in UNREADABLE
    assert essentials.read(place.path).state is (EssentialsState.NEWER if newer else EssentialsState.UNREADABLE)
    with closing(place.open()) as db:
        check_guarantees(db)
    assert sibling_path(place.path, ".essentials.unreadable").read_bytes() == content
    assert "cannot be read; they are set aside" in caplog.text


@pytest.mark.parametrize("content", [*UNREADABLE, b'{"format": 99}'])
@pytest.mark.parametrize("damage", [empty, lambda place: place.path.unlink(), scribble_all])
def test_open_refuses_a_lost_file_with_unreadable_essentials(
    place: Place, content: bytes, damage: Callable[[Place], None]
) -> None:
    sibling_path(place.path, ESSENTIALS).write_bytes(content)
    damage(place)
    newer = content not in UNREADABLE
    for _ in range(2):
        with pytest.raises(StoreError) as refused:
            place.open()
        assert refused.value.reason is (StoreReason.NEWER_VERSION if newer else StoreReason.ESSENTIALS_UNREADABLE)
    assert ("install that version again" if newer else "restore a backup, or delete both") in refused.value.message


def test_rebuild_uses_the_previous_essentials_if_the_latest_are_unreadable(place: Place) -> None:
    with closing(place.open()) as db:
        write_essentials(place.path, db)
    sibling_path(place.path, ESSENTIALS).write_bytes(b"torn")
    place.path.unlink()
    with closing(place.open()) as db:
        check_guarantees(db)


def test_essentials_with_a_changed_digit_are_unreadable(place: Place) -> None:
    side_file = sibling_path(place.path, ESSENTIALS)
    side_file.write_bytes(side_file.read_bytes().replace(b'"sequence":300', b'"sequence":301', 1))
    assert essentials.read(place.path).state is EssentialsState.UNREADABLE


def test_essentials_stay_readable_after_a_kill_while_they_are_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(essentials, "replace_durably", end)
    with closing(place.open()) as db, pytest.raises(KeyboardInterrupt):
        write_essentials(place.path, db)
    place.path.unlink()
    with closing(place.open()) as db:
        check_guarantees(db)
    other = place.path.with_name("other")
    os.link(sibling_path(place.path, ESSENTIALS), other)
    assert essentials.read(place.path).detail == "it has a second name"


def spoil_a_table_name(place: Place) -> None:
    """Make a text of the schema undecodable, so that SQLite's error message is undecodable, too."""
    place.overwrite(place.path.read_bytes().index(b"CREATE TABLE owed"), b"CREATE\xe1TABLE owed")


def hide_deliveries(place: Place) -> None:
    """Shorten the last page of the deliveries, which SQLite does not notice when it reads the table."""
    with closing(sqlite3.connect(place.path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'deliveries'").fetchone()
    header = (root - 1) * PAGE
    last = int.from_bytes(place.path.read_bytes()[header + 8 : header + 12], "big")
    place.overwrite((last - 1) * PAGE + 3, (2).to_bytes(2, "big"))


@pytest.mark.parametrize(("damage", "is_reported"), [(spoil_a_table_name, True), (hide_deliveries, False)])
def test_restore_over_a_damaged_file_keeps_its_undelivered_events(
    place: Place, tmp_path: Path, damage: Callable[[Place], None], *, is_reported: bool
) -> None:
    backup = tmp_path / "backup.db"
    with closing(open_database(backup)):
        pass
    damage(place)
    restored = restore(place.path, backup, lambda _done, _of: None, NOW + HOUR)
    assert (restored.read_error is not None) == is_reported
    with closing(place.open(NOW + 2 * HOUR)) as db:
        assert waiting(db) == ids(PENDING)
        assert waiting(db, "dead") == ids(DEAD)


def test_restore_of_a_newer_backup_takes_nothing_from_the_older_file(place: Place, tmp_path: Path) -> None:
    newer = Place(tmp_path / "newer.db")
    shutil.copy(place.path, newer.path)
    with closing(newer.open()) as db, db.atomic():
        db.execute("UPDATE deliveries SET state = 'delivered'")
        db.execute("UPDATE destinations SET state = 'ok' WHERE name = 'gone'")
        sources.record_success(db, "acme", NOW + 1)
        retention.delete_old_events(db, NOW + HOUR)
    back_up(newer.path, tmp_path / "backup.db", lambda _done, _of: None)
    restore(place.path, tmp_path / "backup.db", lambda _done, _of: None, NOW + HOUR)
    with closing(place.open(NOW + 2 * HOUR)) as db:
        assert compare.latest_comparison(db) is None
        assert waiting(db) == set()
        assert db.execute("SELECT state FROM destinations WHERE name = 'gone'").fetchone() == ("ok",)


def test_each_newer_backup_takes_nothing_from_the_one_that_was_restored_before(place: Place, tmp_path: Path) -> None:
    """A machine on which restoring is tried out, or that stands by, gets one backup after the other."""
    standby = Place(tmp_path / "standby.db")
    back_up(place.path, tmp_path / "first.db", lambda _done, _of: None)
    restore(standby.path, tmp_path / "first.db", lambda _done, _of: None, NOW + 1)
    with closing(place.open()) as db, db.atomic():
        db.execute("UPDATE deliveries SET state = 'delivered'")
        db.execute("UPDATE destinations SET state = 'ok' WHERE name = 'gone'")
        sources.record_success(db, "acme", NOW + 1)
        retention.delete_old_events(db, NOW + HOUR)
    back_up(place.path, tmp_path / "second.db", lambda _done, _of: None)
    with closing(standby.open(NOW + 1)) as db:
        known = highest_sequence(db)
    restore(standby.path, tmp_path / "second.db", lambda _done, _of: None, NOW + HOUR)
    with closing(standby.open(NOW + 2 * HOUR)) as db:
        assert compare.latest_comparison(db) is None
        assert waiting(db) == set()
        assert db.execute("SELECT state FROM destinations WHERE name = 'gone'").fetchone() == ("ok",)
        # Readers of the feed may know the numbers of the replaced file.
        assert highest_sequence(db) >= known + SKIPPED_EVENT_NUMBERS


def test_prune_deletes_the_announced_ids_of_a_rebuilt_file(place: Place) -> None:
    zero_header(place)
    with closing(place.open()) as db:
        assert db.execute("SELECT count(*) FROM told_before").fetchone()[0] > 100
        pruning.prune(db, NOW + HOUR + pruning.ANNOUNCED_IDS_KEPT_MS + 1)
        assert db.execute("SELECT count(*) FROM told_before").fetchone()[0] == 0
        assert compare.latest_comparison(db) is not None


async def test_damage_found_in_use_stops_the_store_and_the_next_start_repairs_it(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    monkeypatch.setattr("notifier.store.recovery.detect.READ_WHOLE_BYTES", 0)
    monkeypatch.setattr("notifier.store.recovery.detect.CHECKED_FULLY_BYTES", 0)
    zero_root_page("records")(place)
    store = FileStore(place.path, lambda path: open_state_file(path, NOW + HOUR))
    await store.open()
    assert place.set_aside() == []
    with pytest.raises(StoreError) as met:
        await store.run(record_lookups.known_records, "acme", ["7"])
    assert met.value.reason is StoreReason.CORRUPT
    assert store.failed.is_set()
    with pytest.raises(StoreError, match="it is damaged"):
        await store.run(sources.read_or_create, "acme")
    await store.close()
    again = FileStore(place.path, lambda path: open_state_file(path, NOW + HOUR))
    await again.open()
    await again.run(check_guarantees)
    await again.close()
    assert len(place.set_aside()) == 1
    assert not place.path.with_name("notifier.db.damage-met").exists()


async def test_record_that_is_not_utf_8_is_treated_as_damage(place: Place) -> None:
    with closing(sqlite3.connect(place.path)) as spoiling, spoiling:
        spoiling.execute("UPDATE records SET record = CAST(x'7bff7d' AS TEXT) WHERE key = '7'")
    store = open_store(place.path, lambda: NOW + HOUR)
    await store.open()
    with pytest.raises(StoreError) as met:
        await store.run(record_lookups.stored_json, "acme", ["7"])
    assert met.value.reason is StoreReason.CORRUPT
    assert store.failed.is_set()
    await store.close()
    with closing(place.open()) as db:
        check_guarantees(db)
    assert len(place.set_aside()) == 1


def test_damage_missed_by_the_check_at_start_is_repaired_by_the_next_start(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.store.recovery.detect.READ_WHOLE_BYTES", 0)
    monkeypatch.setattr("notifier.store.recovery.detect.CHECKED_FULLY_BYTES", 0)
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        with db.atomic():
            sources.record_success(db, "acme", NOW + HOUR)
        write_essentials(place.path, db, NOW + HOUR)
    place.path.write_bytes(older)
    zero_root_page("records_by_date")(place)
    with pytest.raises(StoreError) as refused:
        place.open()
    assert refused.value.reason is StoreReason.CORRUPT
    with closing(place.open()) as db:
        check_guarantees(db)


def test_read_only_open_and_backup_report_an_undecodable_schema_as_damage(place: Place, tmp_path: Path) -> None:
    spoil_a_table_name(place)
    with pytest.raises(StoreError) as refused:
        open_file_read_only(place.path)
    assert refused.value.reason is StoreReason.CORRUPT
    with pytest.raises(BackupError, match="is not a state file, or is damaged"):
        back_up(place.path, tmp_path / "backup.db", lambda _done, _of: None)


def test_note_of_damage_is_deleted_if_the_file_is_undamaged(place: Place) -> None:
    note_damage(place.path)
    with closing(place.open()) as db:
        assert compare.latest_comparison(db) is None
    assert not place.path.with_name("notifier.db.damage-met").exists()
