"""Whether a completion is the person's first one of a training, on both engines."""

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from notifier.events import DetectedBy, EventType
from notifier.store.database import Database
from notifier.store.tables import records, records_by_person, sources
from notifier.store.tables.records import Findings, SilentRecord

if TYPE_CHECKING:
    from tests.integration.store.conftest import MakeChange, MakeCompletion


@pytest.fixture(params=["without the index", "with the index"])
def swept(db: Database, request: pytest.FixtureRequest) -> Database:
    """A store whose only source was read by a whole sweep."""
    sources.write(db, "acme", first_contact_ms=1, swept_at_ms=2)
    if request.param == "with the index":
        records_by_person.create_index(db)
    return db


def write_history(db: Database, *completions: Any) -> None:
    learned = [SilentRecord(one, DetectedBy.SWEEP, "entered_before_first_meeting") for one in completions]
    records.write(db, Findings("acme", "acme", learned=learned), [], 1000)


def occasions(db: Database, *changes: Any, **more: Any) -> dict[str, str | None]:
    """Write these changes; return the occasion in the event of each record."""
    events = records.write(db, Findings("acme", "space", changes=changes, **more), [], 2000)
    return {event.subject: orjson.loads(event.data)["completion"]["occasion"] for event in events}


def test_occasion_is_renewal_if_person_and_training_have_an_earlier_record(
    swept: Database, completion: "MakeCompletion", change: "MakeChange"
) -> None:
    write_history(
        swept,
        completion("1", completed_on="2019-02-27"),
        completion("2", completed_on="2019-02-27", training_id="other"),
        completion("3", completed_on="2019-02-27", user_id="other"),
    )
    other_person = completion("6", user_id="new", training_id="other")
    assert occasions(swept, change("4"), change(completion("5", training_id="new")), change(other_person)) == {
        "4": "renewal",
        "5": "first",
        "6": "first",
    }


@pytest.mark.parametrize("day", ["2020-02-27", "2020-02-28"])
def test_occasion_is_first_if_the_other_record_is_not_earlier(
    swept: Database, completion: "MakeCompletion", change: "MakeChange", day: str
) -> None:
    write_history(swept, completion("1", completed_on=day))
    assert occasions(swept, change("2")) == {"2": "first"}


def test_occasion_does_not_depend_on_the_order_within_an_answer(
    swept: Database, completion: "MakeCompletion", change: "MakeChange"
) -> None:
    newer, older = completion("1"), completion("2", completed_on="2018-02-27")
    assert occasions(swept, change(newer), change(older)) == {"1": "renewal", "2": "first"}
    learned = [SilentRecord(completion("3", user_id="x", completed_on="2018-01-01"), DetectedBy.HEAD, "old")]
    assert occasions(swept, change(completion("4", user_id="x")), learned=learned) == {"4": "renewal"}


def test_occasion_uses_removed_and_edited_records_as_they_are_now(
    swept: Database, completion: "MakeCompletion", change: "MakeChange"
) -> None:
    first, second = completion("1", completed_on="2019-01-01"), completion("2")
    write_history(swept, first, second)
    moved = completion("1", completed_on="2021-01-01")
    assert occasions(swept, change(moved, EventType.UPDATED, 2, first)) == {"1": "renewal"}
    assert occasions(swept, change(second, EventType.REMOVED, 2)) == {"2": "first"}
    assert occasions(swept, change(moved, EventType.UPDATED, 3, first)) == {"1": "first"}


def test_occasion_ignores_records_of_other_sources_or_out_of_view(
    swept: Database, completion: "MakeCompletion", change: "MakeChange"
) -> None:
    write_history(swept, completion("1", completed_on="2019-01-01"), completion("2", completed_on="2019-01-01"))
    swept.execute("UPDATE records SET out_of_view = 1 WHERE key = '1'")
    swept.execute("UPDATE records SET source = 'beta' WHERE key = '2'")
    assert occasions(swept, change("3")) == {"3": "first"}


@pytest.mark.parametrize(
    ("has_attachments", "day", "occasion"),
    [("true", "2020-02-28", None), ("false", "2019-02-27", "renewal"), ("null", "2020-02-28", "first")],
)
def test_occasion_is_not_first_in_a_source_with_a_restricted_view(
    swept: Database,
    completion: "MakeCompletion",
    change: "MakeChange",
    has_attachments: str,
    day: str,
    occasion: str | None,
) -> None:
    sources.write(swept, "acme", view=f'{{"has_attachments": {has_attachments}}}')
    write_history(swept, completion("1", completed_on=day))
    assert occasions(swept, change("2")) == {"2": occasion}


def test_occasion_is_none_without_a_date(swept: Database, completion: "MakeCompletion", change: "MakeChange") -> None:
    write_history(swept, completion("1", completed_on=None))
    assert occasions(swept, change("2"), change(completion("3", user_id="x", completed_on=None))) == {
        "2": None,
        "3": None,
    }


def test_occasion_is_none_before_the_first_sweep(
    db: Database, completion: "MakeCompletion", change: "MakeChange"
) -> None:
    write_history(db, completion("1", completed_on="2019-01-01"))
    assert occasions(db, change("2")) == {"2": None}


def test_occasion_is_none_for_many_records_without_the_index(
    db: Database, change: "MakeChange", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_by_person, "FEW_RECORDS", 0)
    sources.write(db, "acme", first_contact_ms=1, swept_at_ms=2, records=1)
    assert occasions(db, change("2")) == {"2": None}
    records_by_person.create_index(db)
    assert occasions(db, change("3")) == {"3": "first"}
