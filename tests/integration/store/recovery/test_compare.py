"""Whatever has become of the file, what the essentials know and it lacks is brought in: nothing lost, nothing twice."""

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
from notifier.store.tables import destinations, record_lookups, records, sources, sweeps
from notifier.store.tables.records import Findings
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


def find(db: Database, numbers: range, source: str = "acme") -> None:
    with db.atomic():
        records.write(db, Findings(source, source, changes=[created(number) for number in numbers]), HR, NOW)


def kind_of(db: Database) -> RebuildKind | None:
    latest = compare.latest_comparison(db)
    return None if latest is None else latest.kind


def test_a_file_that_has_all_that_the_essentials_know_is_left_as_it_is(place: Place) -> None:
    for _ in range(2):
        with closing(place.open()) as db:
            assert kind_of(db) is None
            assert db.execute("SELECT count(*) FROM told_before").fetchone() == (0,)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_file_that_has_lost_its_log_is_brought_up_to_date(tmp_path: Path, *, checkpointed: bool) -> None:
    young, lost = tmp_path / "notifier.db", Place(tmp_path / "copy" / "notifier.db")
    lost.path.parent.mkdir()
    with closing(open_state_file(young, MET)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        fill(db)
        write_essentials(young, db)
        if checkpointed:
            # All that is in the log is of the last moments.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        find(db, LATE)
        write_essentials(young, db, NOW + 1000)
        for name in ("", ".essentials"):
            shutil.copy(f"{young}{name}", f"{lost.path}{name}")
    with closing(lost.open()) as db:
        assert kind_of(db) is RebuildKind.BEHIND
        assert waiting(db) == ids(PENDING) | ids(LATE)
        assert sources.read_or_create(db, "acme").first_contact_ms == MET
        # Those of the log are met again, and are told already.
        new = LATE.stop + 1
        assert read_all_records(db, more=(new, *LATE)) == ids(range(new, new + 1))
        assert len([*lost.path.parent.glob("*.damaged-*")]) == 0
    with closing(lost.open()) as db:
        assert db.execute("SELECT count(*) FROM rebuilds").fetchone() == (1,)


def test_sweeps_begin_at_once_because_only_they_find_lost_updates_and_removals_again(place: Place) -> None:
    with closing(place.open()) as db, db.atomic():
        finished = sweeps.resume_or_start(db, "acme", NOW - HOUR)
        sweeps.finish(db, finished, NOW - HOUR)
        interrupted = sweeps.resume_or_start(db, "acme", NOW - HOUR // 2)
        sweeps.advance(db, SweptPage(interrupted.id, 1, 9, 1000, 0, marks=False), changes=0, ids=b"")
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        find(db, LATE)
        write_essentials(place.path, db, NOW)
    place.path.write_bytes(older)
    with closing(place.open()) as db:
        assert kind_of(db) is RebuildKind.BEHIND
        begun = sweeps.latest(db, "acme")
        assert begun is not None
        assert (begun.finished_ms, begun.next_page) == (None, 1), "what was read before the loss does not count"


def test_a_source_that_an_older_file_does_not_know_is_not_met_anew(place: Place) -> None:
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        with db.atomic():
            sources.read_or_create(db, "beta")
            sources.update(db, "beta", first_contact_ms=MET + HOUR)
            sources.record_success(db, "beta", NOW)
        find(db, LATE, "beta")
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


def test_what_an_older_file_holds_as_waiting_and_was_delivered_since_is_not_sent_again(place: Place) -> None:
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


def test_what_one_of_several_destinations_has_received_since_is_not_sent_to_it_again(place: Place) -> None:
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


def test_a_destination_enabled_after_the_essentials_were_written_stays_so(place: Place) -> None:
    with closing(place.open()) as db, db.atomic():
        db.execute("UPDATE destinations SET state = 'ok' WHERE name = 'gone'")
    with closing(place.open()) as db:
        assert db.execute("SELECT state FROM destinations WHERE name = 'gone'").fetchone() == ("ok",)


def test_columns_of_a_later_version_go_along_and_unknown_ones_do_no_harm(place: Place) -> None:
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


def test_essentials_of_an_earlier_version_are_read(place: Place) -> None:
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
        assert kind_of(db) is None
    place.path.unlink()
    with closing(place.open()) as db:
        check_guarantees(db)


@pytest.mark.parametrize("whole", [0, 6, 17])
def test_of_more_waiting_events_than_are_kept_whole_none_is_lost(
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
        # Those who have got it are not told again.
        assert db.execute("SELECT count(*) FROM deliveries WHERE destination = 'archive'").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM owed").fetchone() == (0,)


def test_what_is_beyond_all_that_is_kept_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.store.recovery.snapshot.MAX_UNDELIVERED", 5)
    monkeypatch.setattr("notifier.store.recovery.snapshot.MAX_OWED", 7)
    with closing(place.open()) as db:
        write_essentials(place.path, db)
    place.path.unlink()
    with closing(place.open()) as db:
        latest = compare.latest_comparison(db)
        assert latest is not None
        assert "and 8 undelivered events, more than the essentials can store" in latest.lost


def test_updates_and_removals_are_kept_whole_before_what_can_be_found_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
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


# A record that flips: A, B, A is told, the file is rebuilt, and B and A come again.


def with_notes(notes: str) -> Completion:
    raw = orjson.dumps({"id": 5000, "notes": notes})
    return Completion("5000", "7", "u1", "2026-01-01", None, NOW - HOUR, None, None, notes, None, raw)


def see(db: Database, notes: str | None, now_ms: int) -> list[Event]:
    """Do what second looks that are over do with this record: None when it is gone."""
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
def test_a_record_that_flips_is_told_after_a_rebuild_as_before_it(
    place: Place, before: list[str | None], damage: str
) -> None:
    with closing(place.open()) as db:
        told = [event.id for notes in before for event in see(db, notes, NOW)]
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
        assert see(db, before[-1], NOW + 2 * HOUR) == []
        for notes in ("B", "A", None, "A", "B", "A") if before[-1] == "A" else ("A", "B", None, "B", "A", "B"):
            (event,) = see(db, notes, NOW + 3 * HOUR)
            assert event.id not in told
            told.append(event.id)


def test_what_an_older_file_finds_changed_since_was_told_and_then_new_changes_are(place: Place) -> None:
    with closing(place.open()) as db:
        see(db, "A", NOW)
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        told = [see(db, notes, NOW)[0].id for notes in ("B", "A", "B")]
        with db.atomic():
            db.execute("UPDATE deliveries SET state = 'delivered'")
            sources.record_success(db, "acme", NOW + 1)
        write_essentials(place.path, db)
    place.path.write_bytes(older)
    with closing(place.open(NOW + HOUR)) as db:
        assert see(db, "B", NOW + 2 * HOUR) == []
        for notes in ("A", "B", "A"):
            (event,) = see(db, notes, NOW + 2 * HOUR)
            assert event.id not in told
    # Read to the end as it was, it is known as it is: what was told of a change once is a change again.
    place.path.write_bytes(older)
    with closing(place.open(NOW + HOUR)) as db:
        assert see(db, "A", NOW + 2 * HOUR) == []
        sweep(db, NOW + 2 * HOUR)
        (event,) = see(db, "B", NOW + 3 * HOUR)
        assert event.id not in told


@pytest.mark.parametrize("damage", ["gone", "records"])
def test_a_record_that_is_learned_silently_again_goes_on_beyond_what_was_told_of_it(place: Place, damage: str) -> None:
    with closing(place.open()) as db:
        told = [event.id for notes in ("A", "B", "A") for event in see(db, notes, NOW)]
        with db.atomic():
            db.execute("UPDATE deliveries SET state = 'delivered'")
        write_essentials(place.path, db)
    if damage == "gone":
        place.path.unlink()
    else:
        zero_root_page("records")(place)
    with closing(place.open(NOW + HOUR)) as db:
        # Entered before the line: history, whatever was told of it since.
        db.execute("UPDATE sources SET told_until = ?", [NOW])
        assert see(db, "A", NOW + 2 * HOUR) == []
        for notes in ("B", "A", "B"):
            (event,) = see(db, notes, NOW + 3 * HOUR)
            assert event.id not in told
            told.append(event.id)


def test_revisions_go_on_beyond_what_was_told_when_that_is_forgotten(place: Place) -> None:
    with closing(place.open()) as db:
        see(db, "A", NOW)
    older = place.path.read_bytes()
    with closing(place.open()) as db:
        told = [see(db, notes, NOW)[0].id for notes in ("B", "A")]
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
        (event,) = see(db, "B", later)
        assert event.id not in told


def test_everything_delivered_stays_delivered(place: Place) -> None:
    place.path.unlink()
    with closing(place.open()) as db:
        assert not waiting(db) & ids(DELIVERED)
        assert kind_of(db) is RebuildKind.REBUILT
