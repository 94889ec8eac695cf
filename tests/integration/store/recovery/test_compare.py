"""The state file gets from the essentials what it lacks: no event is lost, and none is sent twice."""

import shutil
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace

from notifier.config import FirstRun
from notifier.events import Change, Completion, DetectedBy, Event, EventType
from notifier.store import pruning
from notifier.store.database import Database
from notifier.store.file.connection import open_database
from notifier.store.file.files import ESSENTIALS, sibling_path
from notifier.store.recovery import compare, essentials
from notifier.store.recovery.compare import RebuildKind
from notifier.store.recovery.opener import open_state_file
from notifier.store.subscriptions import Subscription
from notifier.store.tables import destinations, holds, record_lookups, records, replays, requeue, sources, sweeps
from notifier.store.tables.records import Findings
from notifier.store.tables.replays import ReplayState
from notifier.store.tables.requeue import ReplayPlan, ReplayRange
from notifier.store.tables.sources import Release
from notifier.store.tables.sweeps import SweptPage
from notifier.watch.detection.evidence import AnswerContext, Evidence, HoldState, evaluate_records, removal_change
from notifier.watch.detection.holds import HoldLimits
from notifier.watch.detection.news import Baseline, NewsReason
from tests.support.used_state_file import (
    DEAD,
    DELIVERED,
    HOUR,
    HR,
    MET,
    NEWS,
    NOW,
    PENDING,
    Place,
    check_guarantees,
    completion,
    created,
    fill,
    ids,
    read_all_records,
    waiting,
    write_essentials,
    zero_header,
    zero_root_page,
)

LATE = range(NEWS.stop, NEWS.stop + 5)


def write_created(db: Database, numbers: range, source: str = "acme") -> None:
    with db.atomic():
        records.write(db, Findings(source, source, changes=[created(number) for number in numbers]), HR, NOW)


def recovery_kind(db: Database) -> RebuildKind | None:
    latest = compare.latest_comparison(db)
    return None if latest is None else latest.kind


def test_state_file_that_lacks_nothing_is_left_unchanged(place: Place) -> None:
    for _ in range(2):
        with closing(place.open()) as db:
            assert recovery_kind(db) is None
            assert db.execute("SELECT count(*) FROM told_before").fetchone() == (0,)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_file_without_its_log_is_completed_from_essentials(tmp_path: Path, *, checkpointed: bool) -> None:
    young, lost = tmp_path / "notifier.db", Place(tmp_path / "copy" / "notifier.db")
    lost.path.parent.mkdir()
    with closing(open_state_file(young, MET)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        fill(db)
        write_essentials(young, db)
        if checkpointed:
            # From here on, the log holds only what is written next.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        write_created(db, LATE)
        write_essentials(young, db, NOW + 1000)
        for name in ("", ".essentials"):
            shutil.copy(f"{young}{name}", f"{lost.path}{name}")
    with closing(lost.open()) as db:
        assert recovery_kind(db) is RebuildKind.BEHIND
        assert waiting(db) == ids(PENDING) | ids(LATE)
        assert sources.read_or_create(db, "acme").first_contact_ms == MET
        # The records from the lost log are read again; they are announced already.
        new = LATE.stop + 1
        assert read_all_records(db, more=(new, *LATE)) == ids(range(new, new + 1))
        assert len([*lost.path.parent.glob("*.damaged-*")]) == 0
    with closing(lost.open()) as db:
        assert db.execute("SELECT count(*) FROM rebuilds").fetchone() == (1,)


def test_recovery_of_an_older_file_starts_the_sweep_over_at_page_1(place: Place) -> None:
    with closing(place.open()) as db, db.atomic():
        finished = sweeps.resume_or_start(db, "acme", NOW - HOUR)
        sweeps.finish(db, finished, NOW - HOUR)
        interrupted = sweeps.resume_or_start(db, "acme", NOW - HOUR // 2)
        sweeps.advance(db, SweptPage(interrupted.id, 1, 9, 1000, 0, marks=False), changes=0, ids=b"")
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        write_created(db, LATE)
        write_essentials(place.path, db, NOW)
    place.path.write_bytes(older)
    with closing(place.open()) as db:
        assert recovery_kind(db) is RebuildKind.BEHIND
        begun = sweeps.latest(db, "acme")
        assert begun is not None
        assert (begun.finished_ms, begun.next_page) == (None, 1), "what was read before the loss does not count"


def test_source_that_an_older_file_lacks_is_restored_from_the_essentials(place: Place) -> None:
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        with db.atomic():
            sources.read_or_create(db, "beta")
            sources.update(db, "beta", first_contact_ms=MET + HOUR)
            sources.record_success(db, "beta", NOW)
        write_created(db, LATE, "beta")
        write_essentials(place.path, db, NOW)
    place.path.write_bytes(older)
    with closing(place.open()) as db:
        beta = sources.read_or_create(db, "beta")
        assert (beta.first_contact_ms, beta.last_success_ms, beta.swept_at_ms) == (MET + HOUR, NOW, None)
        told = {f"{row[0]}/{row[1]}" for row in db.execute("SELECT source, subject FROM events WHERE source = 'beta'")}
        assert told == {f"beta/{number}" for number in LATE}
        assert waiting(db) > ids(PENDING)
        latest = compare.latest_comparison(db)
        assert latest is not None
        assert "source beta was unknown, 5 undelivered events were missing" in latest.lost
        assert latest.since_ms == NOW


def test_older_file_does_not_resend_events_delivered_since(place: Place) -> None:
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        with db.atomic():
            db.execute("UPDATE deliveries SET state = 'delivered' WHERE sequence <> 300")
            destinations.read_or_create(db, "hr")
            db.execute("UPDATE destinations SET state = 'disabled', reason = 'operator', since = 5 WHERE name = 'hr'")
            sources.record_success(db, "acme", NOW + HOUR)
        write_essentials(place.path, db, NOW + HOUR)
    place.path.write_bytes(older)
    with closing(place.open()) as db:
        assert waiting(db) == ids(range(899, 900))
        assert waiting(db, "dead") == set()
        assert db.execute("SELECT state, reason FROM destinations WHERE name = 'hr'").fetchone() == (
            "disabled",
            "operator",
        )


def test_older_file_continues_no_replay_and_no_release(place: Place) -> None:
    with closing(place.open()) as db, db.atomic():
        past = ReplayRange(0, NOW, len(NEWS))
        replays.start(db, past, requeue.extend_plan(db, past, HR, ReplayPlan()), NOW)
        holds.begin_release(db, "acme", "removals", Release.TELL)
        holds.begin_release(db, "acme", "changes", Release.LEARN)
    with closing(place.open()) as db:
        assert [run.state for run in replays.latest(db)] == [ReplayState.RUNNING]
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        with db.atomic():
            sources.record_success(db, "acme", NOW + HOUR)
        write_essentials(place.path, db, NOW + HOUR)
    place.path.write_bytes(older)
    with closing(place.open()) as db:
        assert [run.state for run in replays.latest(db)] == [ReplayState.STOPPED]
        memory = sources.read_or_create(db, "acme")
        assert (memory.release_removals, memory.release_changes) == (None, None)


def test_older_file_does_not_resend_events_to_the_destination_that_has_them(place: Place) -> None:
    with closing(place.open()) as db, db.atomic():
        db.execute("INSERT INTO deliveries (sequence, destination) SELECT sequence, 'chat' FROM deliveries")
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        with db.atomic():
            db.execute("UPDATE deliveries SET state = 'delivered' WHERE destination = 'chat'")
            sources.record_success(db, "acme", NOW + HOUR)
        write_essentials(place.path, db, NOW + HOUR)
    place.path.write_bytes(older)
    with closing(place.open()) as db:
        unfinished = db.execute("SELECT DISTINCT destination FROM deliveries WHERE state <> 'delivered'").fetchall()
        assert unfinished == [("hr",)]
        assert (waiting(db), waiting(db, "dead")) == (ids(PENDING), ids(DEAD))


def test_destination_enabled_after_the_essentials_were_written_stays_enabled(place: Place) -> None:
    with closing(place.open()) as db, db.atomic():
        db.execute("UPDATE destinations SET state = 'ok' WHERE name = 'gone'")
    with closing(place.open()) as db:
        assert db.execute("SELECT state FROM destinations WHERE name = 'gone'").fetchone() == ("ok",)


def test_essentials_contain_added_columns_and_a_rebuild_ignores_unknown_ones(place: Place) -> None:
    side_file = sibling_path(place.path, ESSENTIALS)
    with closing(open_database(place.path)) as db:
        db.execute("ALTER TABLE sources ADD COLUMN outlook TEXT")
        db.execute("ALTER TABLE deliveries ADD COLUMN lane INTEGER")
        db.execute("UPDATE sources SET outlook = 'all of it'")
        write_essentials(place.path, db)
    content = orjson.loads(side_file.read_bytes())
    assert content["sources"]["acme"][0]["outlook"] == "all of it"
    assert "lane" in content["delivery_columns"]
    place.path.unlink()
    with closing(place.open()) as db:
        check_guarantees(db)


def test_essentials_of_format_1_are_read(place: Place) -> None:
    known = essentials.read(place.path).snapshot
    assert known is not None
    columns = ["sequence", "id", "type", "source", "subject", "revision", "net", "reason", "detected_at", "data"]
    content = {
        "format": 1,
        "written_at": NOW,
        "sequence": known.sequence,
        "sources": {name: [it.first_contact_ms, it.read_ms, it.last_success_ms] for name, it in known.sources.items()},
        "disabled": known.disabled,
        "undelivered": [
            [[it.event[name] for name in columns], [[row["destination"], row["state"]] for row in it.deliveries]]
            for it in known.undelivered
        ],
        "told": [it.id for it in known.announced],
        "told_since": 0,
    }
    sibling_path(place.path, ESSENTIALS).write_bytes(orjson.dumps(content))
    with closing(place.open()) as db:
        assert recovery_kind(db) is None
    place.path.unlink()
    with closing(place.open()) as db:
        check_guarantees(db)


@pytest.mark.parametrize("whole", [0, 6, 17])
def test_rebuild_loses_no_undelivered_event_beyond_max_undelivered(
    place: Place, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.store.recovery.snapshot.MAX_UNDELIVERED", whole)
    everybody = [*HR, Subscription("archive", HR[0].events)]
    with closing(place.open()) as db:
        write_essentials(place.path, db)
    place.path.unlink()
    with closing(place.open()) as db:
        kept = waiting(db) | waiting(db, "dead")
        assert len(kept) == min(whole, len(PENDING) + len(DEAD))
        told = read_all_records(db, subscriptions=everybody)
        assert kept | told == ids(PENDING) | ids(DEAD)
        assert not kept & told
        # A destination that has received an event does not get it again.
        assert db.execute("SELECT count(*) FROM deliveries WHERE destination = 'archive'").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM owed").fetchone() == (0,)


def test_rebuild_reports_the_undelivered_events_beyond_max_owed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.store.recovery.snapshot.MAX_UNDELIVERED", 5)
    monkeypatch.setattr("notifier.store.recovery.snapshot.MAX_OWED", 7)
    with closing(place.open()) as db:
        write_essentials(place.path, db)
    place.path.unlink()
    with closing(place.open()) as db:
        latest = compare.latest_comparison(db)
        assert latest is not None
        assert "and 8 undelivered events, more than the essentials can store" in latest.lost


def test_essentials_prefer_undelivered_updates_and_removals(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.store.recovery.snapshot.MAX_UNDELIVERED", 2)
    with closing(place.open()) as db:
        edited = replace(completion(10), notes="another")
        update = Change(EventType.UPDATED, edited, 2, DetectedBy.SWEEP, "test", completion(10))
        removal = Change(EventType.REMOVED, completion(11), 2, DetectedBy.SWEEP, "test")
        with db.atomic():
            late = {it.id for it in records.write(db, Findings("acme", "acme", changes=[update, removal]), HR, NOW)}
        write_essentials(place.path, db)
    place.path.unlink()
    with closing(place.open()) as db:
        assert waiting(db) == late


# A record changes back and forth: A, B and A are announced, the file is rebuilt, and B and A are read again.


def with_notes(notes: str) -> Completion:
    raw = orjson.dumps({"id": 5000, "notes": notes})
    return Completion("5000", "7", "u1", "2026-01-01", None, NOW - HOUR, None, None, notes, None, raw)


def observe(db: Database, notes: str | None, now_ms: int) -> list[Event]:
    """Handle this content of the record as a finished second look does; None means that the record is gone."""
    memory = sources.read_or_create(db, "acme")
    known = record_lookups.known_records(db, "acme", ["5000"]).get("5000")
    with db.atomic():
        if known is None and notes is not None:
            baseline = Baseline(memory.first_contact_ms, True, FirstRun.SILENT, memory.announced_until_ms)
            holds = HoldState(HoldLimits(100, 100))
            context = AnswerContext("acme", "acme", DetectedBy.SWEEP, 0.0, now_ms, baseline, holds)
            return records.write(db, evaluate_records([with_notes(notes)], Evidence({}), context), HR, now_ms)
        assert known is not None
        last = last_known(db)
        if notes is None:
            changes = [removal_change(last, known.revision, DetectedBy.SWEEP)]
        elif known.removed:
            changes = [
                Change(EventType.CREATED, with_notes(notes), known.revision + 1, DetectedBy.SWEEP, NewsReason.CAME_BACK)
            ]
        elif last.notes != notes:
            now = with_notes(notes)
            changes = [
                Change(EventType.UPDATED, now, known.revision + 1, DetectedBy.SWEEP, NewsReason.CONTENT_CHANGED, last)
            ]
        else:
            changes = []
        return records.write(db, Findings("acme", "acme", changes=changes), HR, now_ms)


def last_known(db: Database) -> Completion:
    return with_notes(orjson.loads(record_lookups.stored_json(db, "acme", ["5000"])["5000"])["notes"])


def sweep(db: Database, now_ms: int) -> None:
    with db.atomic():
        sweeps.finish(db, sweeps.resume_or_start(db, "acme", now_ms), now_ms)
        done = sweeps.latest(db, "acme")
        assert done is not None
        sweeps.store_proof(db, done)


FLIPS = [["A", "B", "A"], ["A", "B"], ["A", None, "A"], ["A", None, "A", "B"]]


@pytest.mark.parametrize("before", FLIPS, ids=str)
@pytest.mark.parametrize("damage", ["gone", "header", "records"])
def test_changes_back_and_forth_get_new_event_ids_after_a_rebuild(
    place: Place, before: list[str | None], damage: str
) -> None:
    with closing(place.open()) as db:
        told = [event.id for notes in before for event in observe(db, notes, NOW)]
        assert len(told) == len(before)
        with db.atomic():
            db.execute("UPDATE deliveries SET state = 'delivered'")
        write_essentials(place.path, db)
    match damage:
        case "gone":
            place.path.unlink()
        case "header":
            zero_header(place)
        case _:
            zero_root_page("records")(place)
    with closing(place.open(NOW + HOUR)) as db:
        assert observe(db, before[-1], NOW + 2 * HOUR) == []
        for notes in ("B", "A", None, "A", "B", "A") if before[-1] == "A" else ("A", "B", None, "B", "A", "B"):
            (event,) = observe(db, notes, NOW + 3 * HOUR)
            assert event.id not in told
            told.append(event.id)


def test_older_file_skips_announced_changes_and_announces_later_ones(place: Place) -> None:
    with closing(place.open()) as db:
        observe(db, "A", NOW)
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        told = [observe(db, notes, NOW)[0].id for notes in ("B", "A", "B")]
        with db.atomic():
            db.execute("UPDATE deliveries SET state = 'delivered'")
            sources.record_success(db, "acme", NOW + 1)
        write_essentials(place.path, db)
    place.path.write_bytes(older)
    with closing(place.open(NOW + HOUR)) as db:
        assert observe(db, "B", NOW + 2 * HOUR) == []
        for notes in ("A", "B", "A"):
            (event,) = observe(db, notes, NOW + 2 * HOUR)
            assert event.id not in told
    # A finished sweep confirms the present content: a change that was announced once is a new change now.
    place.path.write_bytes(older)
    with closing(place.open(NOW + HOUR)) as db:
        assert observe(db, "A", NOW + 2 * HOUR) == []
        sweep(db, NOW + 2 * HOUR)
        (event,) = observe(db, "B", NOW + 3 * HOUR)
        assert event.id not in told


@pytest.mark.parametrize("damage", ["gone", "records"])
def test_record_stored_silently_after_a_rebuild_gets_new_event_ids(place: Place, damage: str) -> None:
    with closing(place.open()) as db:
        told = [event.id for notes in ("A", "B", "A") for event in observe(db, notes, NOW)]
        with db.atomic():
            db.execute("UPDATE deliveries SET state = 'delivered'")
        write_essentials(place.path, db)
    if damage == "gone":
        place.path.unlink()
    else:
        zero_root_page("records")(place)
    with closing(place.open(NOW + HOUR)) as db:
        # It was entered before this moment: it is history, whatever was announced about it since.
        db.execute("UPDATE sources SET told_until = ?", [NOW])
        assert observe(db, "A", NOW + 2 * HOUR) == []
        for notes in ("B", "A", "B"):
            (event,) = observe(db, notes, NOW + 3 * HOUR)
            assert event.id not in told
            told.append(event.id)


def test_event_ids_stay_new_after_the_announced_ids_are_pruned(place: Place) -> None:
    with closing(place.open()) as db:
        observe(db, "A", NOW)
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        told = [observe(db, notes, NOW)[0].id for notes in ("B", "A")]
        with db.atomic():
            db.execute("UPDATE deliveries SET state = 'delivered'")
            sources.record_success(db, "acme", NOW + 1)
        write_essentials(place.path, db)
    place.path.write_bytes(older)
    with closing(place.open(NOW + HOUR)) as db:
        later = NOW + HOUR + pruning.ANNOUNCED_IDS_KEPT_MS + 1
        with db.atomic():
            pruning.prune(db, later)
        assert db.execute("SELECT count(*) FROM told_before").fetchone() == (0,)
        (event,) = observe(db, "B", later)
        assert event.id not in told


def test_rebuild_of_a_missing_file_queues_no_delivered_event(place: Place) -> None:
    place.path.unlink()
    with closing(place.open()) as db:
        assert not waiting(db) & ids(DELIVERED)
        assert recovery_kind(db) is RebuildKind.REBUILT
