"""`notifier explain`: the history of a record, as text and as JSON."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from msgspec.structs import replace

from notifier.events import Change, Completion, DetectedBy, EventType, Names
from notifier.store.file.store import FileStore
from notifier.store.subscriptions import Subscription
from notifier.store.tables import destinations, names, retention, sources
from notifier.store.tables.destinations import Health, HealthState
from notifier.store.tables.names import PersonName
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings, SilentRecord, write
from notifier.store.tables.settlements import Settlement, store_settlements

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.store.database import Database
    from tests.support.command_line import Home

NOW = 1_795_280_400_123
HOSTILE_NAME = "Mal\x1b]0;owned\x07\x9bice"
RECORD = Completion("1238", "1046", "u1", "2020-02-27", None, NOW - 1000, None, None, "", False, b'{"id":1238}')
CREATED = Change(EventType.CREATED, RECORD, 1, DetectedBy.HEAD, "entered_since_first_meeting")


@dataclass(frozen=True, slots=True)
class HistoryWriter:
    """Writes events and attempts into a state file."""

    db: "Database"

    def add_event(self, change: Change = CREATED, *, to: tuple[str, ...] = ("hr",), ms: int = 0) -> int:
        """Write an event with the time NOW + `ms`; return the event's sequence number."""
        source = "acme"
        sources.read_or_create(self.db, source)
        wants = [Subscription(destination, frozenset(EventType)) for destination in to]
        (event,) = write(self.db, Findings(source, source, changes=[change], names=Names()), wants, NOW + ms)
        return event.sequence

    def add_silent_record(self, source: str) -> None:
        sources.read_or_create(self.db, source)
        write(
            self.db,
            Findings(source, source, learned=[SilentRecord(RECORD, DetectedBy.SWEEP, "entered_before_first_meeting")]),
            [],
            NOW,
        )

    def add_attempt(self, sequence: int, state: DeliveryState, answer: str, status: int, *, to: str, ms: int) -> None:
        """Write the outcome of an attempt at NOW + `ms`; `answer` is the decision and the reason."""
        decision, reason = answer.split()
        settlement = Settlement((sequence,), to, state, decision, reason, status, "it said no", NOW + ms, 12, 0)
        store_settlements(self.db, [replace(settlement, detail="") if status < 300 else settlement])


async def write_history(home: "Home", add_history: "Callable[[HistoryWriter], object]") -> None:
    store = FileStore(home.state_file)
    await store.open()
    try:
        await store.run(lambda db: add_history(HistoryWriter(db)))
    finally:
        await store.close()


def parse_facts(lines: list[str]) -> dict[str, str]:
    """Return the names and values that `explain` prints above its table."""
    end = lines.index("")
    return {line[:10].strip(): line[12:] for line in lines[:end]}


def split_cells(line: str) -> list[str]:
    """Split a row of a table into cells."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


async def test_explain_prints_the_facts_and_the_history_in_order(home: "Home") -> None:
    def add_history(writer: HistoryWriter) -> None:
        names.store_people(writer.db, "acme", [PersonName("u1", "David Ball", None)])
        changed = replace(RECORD, notes="signed")
        created = writer.add_event(to=("hr", "slack"))
        updated = writer.add_event(
            Change(EventType.UPDATED, changed, 2, DetectedBy.SWEEP, "content_changed", RECORD), ms=60_000
        )
        writer.add_attempt(created, DeliveryState.PENDING, "wait_for_endpoint server_error", 500, to="hr", ms=1_000)
        writer.add_attempt(created, DeliveryState.DELIVERED, "delivered delivered", 204, to="slack", ms=2_000)
        writer.add_attempt(created, DeliveryState.DELIVERED, "delivered delivered", 204, to="hr", ms=6_000)
        writer.add_attempt(updated, DeliveryState.DELIVERED, "delivered delivered", 200, to="hr", ms=61_000)

    await write_history(home, add_history)
    said = await home.call("explain", "1238")
    assert (said.code, said.err) == (0, "")
    told = parse_facts(said.lines)
    assert list(told) == [
        *("source", "record", "person", "training", "completed", "entered", "first seen", "treated as", "revision"),
    ]
    assert told["person"] == "David Ball (u1)"
    assert told["training"] == "1046"
    assert told["first seen"].endswith(", by a poll of the newest records")
    assert told["treated as"] == "news: it was entered after the notifier first read the account"
    assert told["revision"] == "2"
    _, titles, *story = said.lines[len(told) :]
    assert titles.split() == ["WHEN", "WHAT", "WHERE", "HOW"]
    rows = [split_cells(line) for line in story]
    assert [row[-3:-1] for row in rows] == [
        ["created (event 1)", "-"],
        ["attempt 1 (event 1)", "hr"],
        ["attempt 1 (event 1)", "slack"],
        ["attempt 2 (event 1)", "hr"],
        ["updated (event 2)", "-"],
        ["changed notes", "-"],
        ["attempt 1 (event 2)", "hr"],
    ]
    assert rows[0][-1].startswith("evt_")
    assert rows[1][-1] == "server_error 500, wait_for_endpoint, 12 ms: it said no"
    assert rows[3][-1] == "delivered 204, 12 ms"
    assert rows[4][-1].endswith("found by a sweep of the whole list; news: its content changed")
    assert rows[5][-1] == '"" -> "signed"'


async def test_explain_lists_undelivered_deliveries_last_with_the_reason(home: "Home") -> None:
    def add_history(writer: HistoryWriter) -> None:
        number = writer.add_event(to=("disabled", "failed", "hr"))
        writer.add_attempt(number, DeliveryState.DEAD, "give_up refused", 404, to="failed", ms=1_000)
        destinations.read_or_create(writer.db, "disabled")
        destinations.store_health(writer.db, "disabled", Health(HealthState.DISABLED, "gone", NOW))

    await write_history(home, add_history)
    said = await home.call("explain", "1238")
    attempt, *ends = [split_cells(line) for line in said.lines[-4:]]
    assert attempt[-1] == "refused 404, give_up, 12 ms: it said no"
    assert [end[-3:] for end in ends] == [
        ["pending (event 1)", "disabled", "waits for its destination to be enabled"],
        ["dead (event 1)", "failed", "given up; the event is kept"],
        ["pending (event 1)", "hr", "next attempt now"],
    ]


async def test_explain_names_the_filter_that_excluded_an_event(home: "Home") -> None:
    home.config.write_text(home.config.read_text() + 'events = ["completion.removed"]\n')
    await write_history(home, lambda writer: writer.add_event(to=()))
    *_, event, hr = (await home.call("explain", "1238")).lines
    assert split_cells(event)[1] == "created (event 1)"
    assert split_cells(hr) == ["not sent", "hr", "its `events` exclude this type"]


async def test_explain_mentions_that_a_missing_delivery_may_have_been_dropped(home: "Home") -> None:
    def add_delivered(writer: HistoryWriter) -> None:
        writer.add_attempt(
            writer.add_event(to=("hr",)), DeliveryState.DELIVERED, "delivered delivered", 204, to="hr", ms=1_000
        )

    await write_history(home, add_delivered)
    (event,) = {it["event"] for it in (await home.call("deliveries", "--json")).documents}
    for command in ("retry {} --state delivered --destination hr", "deliveries drop {} --destination hr --yes"):
        assert (await home.call(*command.format(event).split())).code == 0
    hr = (await home.call("explain", "1238")).lines[-1]
    assert split_cells(hr) == [
        "not sent",
        "hr",
        "it was added or its filters were changed after the event was detected, or the delivery was dropped",
    ]
    home.config.write_text(home.config.read_text().partition("[destinations.hr]")[0])
    nobody = (await home.call("explain", "1238")).lines[-1]
    assert split_cells(nobody)[-1] == "no destination was configured to receive it, or its deliveries were dropped"


async def test_explain_of_a_history_record_gives_the_reason_for_no_event(home: "Home") -> None:
    await write_history(home, lambda writer: writer.add_silent_record("acme"))
    said = await home.call("explain", "1238")
    told = parse_facts(said.lines)
    assert told["first seen"].endswith(", by a sweep of the whole list")
    assert told["treated as"] == "history: it was entered before the notifier first read the account"
    assert said.lines[-1] == "It caused no event."


async def test_explain_reports_events_deleted_by_retention(home: "Home") -> None:
    def add_history(writer: HistoryWriter) -> None:
        first = writer.add_event()
        writer.add_attempt(first, DeliveryState.DELIVERED, "delivered delivered", 200, to="hr", ms=0)
        retention.delete_old_events(writer.db, NOW + 1)

    await write_history(home, add_history)
    said = await home.call("explain", "1238")
    assert parse_facts(said.lines)["forgotten"] == (
        "1 event, up to revision 1: older than [store] retention, or created under a former name of the source"
    )
    assert said.lines[-1] == "Its events are no longer stored."
    (document,) = (await home.call("explain", "1238", "--json")).documents
    assert (document["forgotten"], document["events"]) == ([1], [])


async def test_explain_of_a_removed_record_prints_the_time_of_the_removal(home: "Home") -> None:
    def add_history(writer: HistoryWriter) -> None:
        writer.add_event()
        writer.add_event(Change(EventType.REMOVED, RECORD, 2, DetectedBy.SWEEP, "gone_from_list"), ms=60_000)

    await write_history(home, add_history)
    said = await home.call("explain", "1238")
    assert parse_facts(said.lines)["removed"].count(":") == 2
    assert "removed (event 2)" in said.out
    assert "news: it is no longer in the list" in said.out


async def test_explain_shows_current_and_former_sources_that_know_the_key(home: "Home") -> None:
    def add_history(writer: HistoryWriter) -> None:
        writer.add_silent_record("former")
        writer.add_event()

    await write_history(home, add_history)
    said = await home.call("explain", "1238")
    assert [line.split()[1] for line in said.lines if line.startswith("source ")] == ["acme", "former"]
    documents = (await home.call("explain", "1238", "--json")).documents
    assert [(document["source"], len(document["events"])) for document in documents] == [("acme", 1), ("former", 0)]


async def test_explain_json_prints_one_object_per_source(home: "Home") -> None:
    def add_history(writer: HistoryWriter) -> None:
        writer.add_attempt(writer.add_event(), DeliveryState.DELIVERED, "delivered delivered", 204, to="hr", ms=5)

    await write_history(home, add_history)
    (document,) = (await home.call("explain", "1238", "--json")).documents
    (event,) = document["events"]
    (delivery,) = event["deliveries"]
    (attempt,) = delivery["attempt_log"]
    assert (document["key"], document["reason"]) == ("1238", "entered_since_first_meeting")
    assert (event["type"], event["detected_at"]) == ("completion.created", "2026-11-21T17:00:00.123Z")
    (listed,) = (await home.call("deliveries", "--json")).documents
    assert {name: value for name, value in delivery.items() if name != "attempt_log"} == listed
    assert attempt == {
        "attempted_at": "2026-11-21T17:00:00.128Z",
        "milliseconds": 12,
        "decision": "delivered",
        "reason": "delivered",
        "status": 204,
        "detail": None,
    }


@pytest.mark.parametrize("key", ["1239", "123", "\udcff"])
async def test_explain_of_an_unknown_record_exits_with_2_and_names_possible_causes(home: "Home", key: str) -> None:
    await write_history(home, lambda writer: writer.add_event())
    for arguments in ((key,), (key, "--json")):
        said = await home.run("explain", *arguments)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("Error: no source knows a record `")
        assert said.err.endswith(
            "check the key, and whether a sweep has read the whole list yet (`notifier status`)\n",
        )


async def test_explain_prints_no_control_codes_of_a_hostile_record(home: "Home") -> None:
    strange = replace(RECORD, key=HOSTILE_NAME, user_id=HOSTILE_NAME, notes=HOSTILE_NAME)

    def add_history(writer: HistoryWriter) -> None:
        writer.add_event(replace(CREATED, completion=strange))
        names.store_people(writer.db, "acme", [PersonName(HOSTILE_NAME, HOSTILE_NAME, None)])
        update = replace(strange, notes="")
        writer.add_event(Change(EventType.UPDATED, update, 2, DetectedBy.HEAD, "content_changed", strange))

    await write_history(home, add_history)
    said: list[Any] = [await home.call("explain", HOSTILE_NAME, *more) for more in ((), ("--json",))]
    for shown in (*said, home.on_terminal("explain", HOSTILE_NAME)):
        assert shown.code == 0
        assert not [steering for steering in ("\x1b]", "\x07", "\x9b") if steering in shown.out]
    assert orjson.loads(said[1].out)["user_name"] == HOSTILE_NAME


async def test_explain_with_an_older_state_file_exits_with_1_and_names_the_remedy(home: "Home") -> None:
    await write_history(home, lambda writer: writer.add_event())
    await write_history(
        home, lambda writer: writer.db.execute("DELETE FROM _sqlite_migrations WHERE name <> 'initial'")
    )
    said = await home.call("explain", "1238")
    assert said.code == 1
    assert "was written by an older version of notifier" in said.err
    assert "start `notifier run` once, which updates it" in said.err


async def test_explain_names_a_filter_that_could_not_be_judged(home: "Home") -> None:
    home.config.write_text(home.config.read_text() + 'trainings = ["Crane*"]\n')
    await write_history(home, lambda writer: writer.add_event())
    (line,) = [split_cells(line) for line in (await home.call("explain", "1238")).lines if "not judged" in line]
    assert line[-2] == "hr"
    assert line[-1].startswith("sent although its `trainings` could not be judged: the training's title was unknown")
    (document,) = (await home.call("explain", "1238", "--json")).documents
    assert document["events"][0]["not_judged"] == {"hr": ["trainings"]}
