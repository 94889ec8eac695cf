"""The log of events: filters, pages, and how many events one call examines."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from notifier.events import Change, Completion, DetectedBy, EventType, Names
from notifier.store.database import Database
from notifier.store.queries import event_log
from notifier.store.queries.event_log import EventLogFilter, read_page
from notifier.store.subscriptions import Subscription
from notifier.store.tables import names, records, records_by_person, sources
from notifier.store.tables.names import PersonName
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings

if TYPE_CHECKING:
    from tests.integration.store.conftest import MakeCompletion

HOUR = 3_600_000
HR, GATE = (Subscription(name, frozenset(EventType)) for name in ("hr", "gate"))
Enter = Callable[..., None]


@pytest.fixture
def enter(db: Database, completion: "MakeCompletion") -> Enter:
    """Write the event of a completion, detected an hour after the one before."""
    names.store_people(db, "acme", [PersonName("u1", "David Ball", "E-17"), PersonName("u2", "Eve Müller", None)])
    names.store_trainings(db, "acme", [("t1", "Ladder Safety"), ("t2", "Crane 100%")])
    known = Names({"u1": "David Ball", "u2": "Eve Müller"}, {"t1": "Ladder Safety", "t2": "Crane 100%"})
    entered = 0

    def enter_one(
        key: str,
        user: str = "u1",
        training: str = "t1",
        source: str = "acme",
        to: tuple[Subscription, ...] = (HR,),
        type_: EventType = EventType.CREATED,
    ) -> None:
        nonlocal entered
        entered += 1
        sources.read_or_create(db, source)
        what: Completion = completion(key, user_id=user, training_id=training)
        change = Change(type_, what, 1, DetectedBy.HEAD, "new")
        records.write(db, Findings(source, source, changes=[change], names=known), list(to), entered * HOUR)

    return enter_one


def found(db: Database, before: int | None = None, limit: int = 50, look: int = 5000, **chosen: Any) -> list[str]:
    return [it.event.subject for it in read_page(db, EventLogFilter(**chosen), before, limit, max_examined=look).events]


def settle(db: Database, key: str, destination: str, state: DeliveryState) -> None:
    db.execute(
        "UPDATE deliveries SET state = ? WHERE destination = ? AND sequence IN"
        " (SELECT sequence FROM events WHERE subject = ?)",
        [state, destination, key],
    )


def test_event_log_pages_list_every_event_newest_first(db: Database, enter: Enter) -> None:
    for number in range(7):
        enter(str(number))
    first = read_page(db, EventLogFilter(), None, 3)
    assert [it.event.subject for it in first.events] == ["6", "5", "4"]
    second = read_page(db, EventLogFilter(), first.next, 3)
    third = read_page(db, EventLogFilter(), second.next, 3)
    assert [it.event.subject for it in (*second.events, *third.events)] == ["3", "2", "1", "0"]
    assert third.next is None
    assert (first.searched_ms, third.searched_ms) == (None, None)


def test_person_filter_matches_name_parts_id_and_employee_number(db: Database, enter: Enter) -> None:
    enter("1")
    enter("2", user="u2")
    for text in ("ball", "Dav ba", "u1", "E-17"):
        assert found(db, person=text) == ["1"], text
    assert found(db, person="müller") == ["2"]
    for nobody in ("nobody", "%", "\udcff"):
        assert found(db, person=nobody) == [], nobody


@pytest.mark.parametrize("people", [40, 60])
def test_person_filter_matches_every_person_with_a_common_name(db: Database, enter: Enter, people: int) -> None:
    names.store_people(db, "acme", [PersonName(f"s{number}", f"Smith {number}", None) for number in range(people)])
    records_by_person.create_index(db)
    enter("1")
    for number in range(people):
        enter(f"of {number}", user=f"s{number}")
    assert len(found(db, person="smith", limit=100)) == people


def test_person_filter_by_name_ignores_the_same_id_in_another_source(db: Database, enter: Enter) -> None:
    enter("1")
    enter("2", source="other")
    # Only one of the sources has a person of this name; the id is compared in both.
    assert found(db, person="Ball") == ["1"]
    assert found(db, person="u1") == ["2", "1"]


def test_person_filter_finds_events_of_reassigned_records_by_each_person(
    db: Database, enter: Enter, completion: "MakeCompletion"
) -> None:
    enter("1")
    changes = [
        Change(EventType.UPDATED, completion("1", user_id=new), 2, DetectedBy.SWEEP, "", completion("1", user_id=old))
        for old, new in (("u1", "u2"), ("u2", "u3"))
    ]
    for change in changes:
        records.write(db, Findings("acme", "acme", changes=[change]), [HR], 0)

    def types(person: str) -> list[str]:
        return [it.event.type for it in read_page(db, EventLogFilter(person=person), None, 50).events]

    assert [types(person) for person in ("ball", "müller", "u3")] == [[EventType.CREATED], *[[EventType.UPDATED]] * 2]


def test_person_filter_finds_events_with_and_without_the_index_by_person(
    db: Database, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter("1")
    enter("2", user="u2")
    assert found(db, person="ball") == ["1"]
    monkeypatch.setattr(records_by_person, "FEW_RECORDS", 0)
    assert not records_by_person.has_index(db)
    assert found(db, person="ball") == ["1"]
    sources.write(db, "acme", first_contact_ms=1, swept_at_ms=2)
    records_by_person.create_index(db)
    assert records_by_person.has_index(db)
    assert found(db, person="ball") == ["1"]


def test_event_log_filters_return_only_matching_events(db: Database, enter: Enter) -> None:
    enter("1", to=(HR, GATE))
    enter("2", training="t2")
    enter("3", source="other", to=(GATE,))
    enter("4", type_=EventType.REMOVED, to=())
    settle(db, "1", "gate", DeliveryState.DEAD)
    settle(db, "1", "hr", DeliveryState.DELIVERED)
    assert found(db, training="crane") == ["2"]
    assert found(db, training="100%") == ["2"]
    assert found(db, training="t2") == ["2"]
    assert found(db, source="other") == ["3"]
    assert found(db, types=frozenset({"completion.removed"})) == ["4"]
    assert found(db, destination="gate") == ["3", "1"]
    assert found(db, state=DeliveryState.DEAD) == ["1"]
    assert found(db, state=DeliveryState.DELIVERED) == ["1"]
    assert found(db, state=DeliveryState.PENDING) == ["3", "2"]
    assert found(db, state=DeliveryState.PENDING, destination="hr") == ["2"]
    assert found(db, state=DeliveryState.DELIVERED, destination="gate") == []
    assert found(db, since_ms=2 * HOUR, until_ms=4 * HOUR) == ["3", "2"]
    assert found(db, since_ms=99 * HOUR) == []
    assert found(db, until_ms=HOUR) == []
    assert found(db, person="ball", training="crane", source="acme", state=DeliveryState.PENDING) == ["2"]
    assert found(db, source=r"C:\users", destination=r"\u0000", types=frozenset({"completion.removed"})) == []


def test_event_log_entry_names_its_only_or_the_requested_destination(db: Database, enter: Enter) -> None:
    enter("1", to=(HR, GATE))
    enter("2")
    enter("3", to=())
    several, one, none = reversed(read_page(db, EventLogFilter(), None, 9).events)
    assert (several.destination, several.deliveries.total()) == (None, 2)
    assert (one.destination, one.state) == ("hr", DeliveryState.PENDING)
    assert (none.destination, none.deliveries.total()) == (None, 0)
    (chosen,) = [
        it for it in read_page(db, EventLogFilter(destination="gate"), None, 9).events if it.event.subject == "1"
    ]
    assert chosen.destination == "gate"


@pytest.mark.parametrize(
    "chosen",
    [
        EventLogFilter(training="crane"),
        EventLogFilter(state=DeliveryState.DEAD),
        EventLogFilter(person="müller"),
        EventLogFilter(destination="gate"),
    ],
    ids=["walk", "unfinished", "person", "deliveries"],
)
def test_read_page_examines_few_events_and_returns_where_to_continue(
    db: Database, enter: Enter, chosen: EventLogFilter
) -> None:
    for number in range(40):
        rare = number in (3, 4, 30)
        enter(str(number), *(("u2", "t2") if rare else ("u1", "t1")), to=(HR, GATE) if rare else (HR,))
        if rare:
            settle(db, str(number), "gate", DeliveryState.DEAD)
    keys: list[str] = []
    before: int | None = None
    calls = 0
    while True:
        one = read_page(db, chosen, before, 2, max_examined=7)
        keys += [it.event.subject for it in one.events]
        assert (one.searched_ms is None) == (one.next is None or len(one.events) == 2)
        calls += 1
        if one.next is None:
            break
        assert before is None or one.next < before
        before = one.next
    assert keys == ["30", "4", "3"]
    assert calls <= 8


def test_pending_filter_lists_every_event_once_for_20_destinations(db: Database, enter: Enter) -> None:
    many = tuple(Subscription(f"d{number}", frozenset(EventType)) for number in range(20))
    for number in range(10):
        enter(str(number), to=many)
    keys: list[str] = []
    before: int | None = None
    while True:
        one = read_page(db, EventLogFilter(state=DeliveryState.PENDING), before, 50, max_examined=40)
        keys += [it.event.subject for it in one.events]
        if one.next is None:
            break
        before = one.next
    assert keys == [str(number) for number in reversed(range(10))]


def test_time_filters_find_events_detected_after_the_clock_was_set_back(db: Database, enter: Enter) -> None:
    for number in range(5):
        enter(str(number))
    db.execute("UPDATE events SET detected_at = ? WHERE subject = '4'", [HOUR])
    assert set(found(db, until_ms=2 * HOUR)) == {"0", "4"}
    assert found(db, since_ms=2 * HOUR) == ["3", "2", "1"]
    assert event_log.EXAMINED_AT_ONCE > 0


def test_pending_filter_merges_destinations_with_many_and_few_deliveries(db: Database, enter: Enter) -> None:
    for number in range(30):
        enter(str(number), to=(GATE,) if number == 2 else (HR,))
    keys: list[str] = []
    before: int | None = None
    while True:
        one = read_page(db, EventLogFilter(state=DeliveryState.PENDING), before, 50, max_examined=20)
        keys += [it.event.subject for it in one.events]
        if one.next is None:
            break
        before = one.next
    assert keys == [str(number) for number in reversed(range(30))]
