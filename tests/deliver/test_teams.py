import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.config.destinations import TeamsSettings
from notifier.deliver import teams
from notifier.deliver.destination import Grouping
from notifier.deliver.layout import LINES
from notifier.deliver.outcome import Reason
from notifier.deliver.teams import CARD_LIMIT, TeamsDestination
from notifier.ledger.outbox import Delivery

if TYPE_CHECKING:
    from notifier.completions import Event
    from tests.conftest import FakeClock
    from tests.deliver.conftest import MakeEvent, Receiver

Make = Callable[..., TeamsDestination]
Deliveries = Callable[..., list[Delivery]]


@pytest.fixture
def make(session: aiohttp.ClientSession, clock: "FakeClock") -> Make:
    def made(url: str, **keys: Any) -> TeamsDestination:
        known = TeamsSettings.model_validate({"type": "teams", "url": url, "timeout": "5s", **keys})
        return TeamsDestination("there", known, session, clock)

    return made


def message(events: "Sequence[Event]", *, digest: bool) -> bytes:
    return teams.body(teams.message(events, digest=digest))


def card(body: bytes) -> dict[str, Any]:
    """Return the card of a message in Teams' envelope."""
    sent = json.loads(body)
    (attachment,) = sent.pop("attachments")
    content: dict[str, Any] = attachment.pop("content")
    assert sent == {"type": "message"}
    assert attachment == {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None}
    return content


def lines(body: bytes) -> list[str]:
    """Return a message's blocks as plain text, from top to bottom."""
    blocks = card(body)["body"]
    assert {block["type"] for block in blocks} == {"RichTextBlock"}
    assert {run["type"] for block in blocks for run in block["inlines"]} == {"TextRun"}
    return ["".join(run["text"] for run in block["inlines"]) for block in blocks]


def test_one_completion_is_one_line_in_a_card_that_power_automate_posts(make_event: "MakeEvent") -> None:
    body = message([make_event(instructor_name="Ann Lee")], digest=False)
    assert (card(body)["type"], card(body)["version"]) == ("AdaptiveCard", "1.4")
    assert lines(body) == ["David Ball completed Ladder Safety on 27 Feb 2020 · instructor Ann Lee · #1238"]
    assert card(body)["body"][0]["inlines"][0] == {"type": "TextRun", "text": "David Ball", "weight": "Bolder"}


def test_several_are_lines_under_a_count(make_event: "MakeEvent", make_alert: "MakeEvent") -> None:
    events = [make_event(1), make_event(2, "completion.removed"), make_alert(3)]
    assert lines(message(events, digest=False)) == [
        "1 training completed, 1 record removed, 1 notice",
        "• David Ball completed Ladder Safety on 27 Feb 2020 · #1197",
        "• David Ball · Ladder Safety on 27 Feb 2020 was removed · #1198",
        "• ⚠️ Alert: source failing · acme · No successful poll for 15 minutes. · since 2026-11-21T16:45:00.000Z",
    ]


def test_a_group_session_is_told_once_with_its_people(make_event: "MakeEvent") -> None:
    events = [make_event(number, group_training_id="9", user_name=f"Person {number}") for number in (1, 2)]
    assert lines(message(events, digest=False)) == [
        "Ladder Safety · group session on 27 Feb 2020 · 2 people",
        "• Person 1 · #1197",
        "• Person 2 · #1198",
    ]


def test_a_change_says_from_what_to_what(make_event: "MakeEvent") -> None:
    event = make_event(kind="completion.updated", previous={"expires_on": None}, expires_on="2021-02-27")
    assert lines(message([event], digest=False)) == [
        "David Ball · Ladder Safety on 27 Feb 2020 was changed: expires none → 27 Feb 2021 · #1238"
    ]


def test_a_digest_counts_by_training_and_says_how_to_see_each(make_event: "MakeEvent") -> None:
    events = [make_event(100 + number, user_id=str(number), user_name=f"Person {number}") for number in range(60)]
    body = message(events, digest=True)
    assert lines(body)[:2] == ["60 trainings completed", "• Ladder Safety: 60"]
    assert lines(body)[2].startswith("Person 0, Person 1, ")
    assert lines(body)[2].endswith(" and 52 others")
    assert lines(body)[3] == "Each one: notifier events --after 99"
    assert card(body)["body"][3]["inlines"][1]["fontType"] == "Monospace"


def test_no_name_turns_into_a_date_that_a_client_would_put_in(make_event: "MakeEvent") -> None:
    (said,) = lines(message([make_event(user_name="{{{DATE(2026-11-21T17:00:00Z, SHORT)}}}")], digest=False))
    assert "{{" not in said


NAMES = st.text(st.characters(), max_size=400) | st.sampled_from(
    ["\N{GRINNING FACE}" * 400, '"\\' * 200, "שלום " * 80, "\x00" * 400]
)


@settings(max_examples=60)
@given(st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=1, max_size=LINES), st.booleans())
def test_whatever_people_typed_every_event_is_in_a_card_that_keeps_the_limit(
    make_event: "MakeEvent", typed: list[tuple[str, str, str]], group: bool
) -> None:
    events = [
        make_event(
            number,
            user_name=person,
            training_title=training,
            instructor_name=instructor,
            group_training_id="9" if group else None,
        )
        for number, (person, training, instructor) in enumerate(typed)
    ]
    body = message(events, digest=False)
    assert len(body) <= CARD_LIMIT
    said = "\n".join(lines(body))
    assert all(f"#{1196 + number}" in said for number in range(len(events)))
    assert "{{" not in said


def test_the_longest_names_are_cut_as_short_as_the_limit_demands_and_no_shorter(make_event: "MakeEvent") -> None:
    long = "\N{GRINNING FACE}" * 400
    events = [make_event(number, user_name=long, training_title=long, instructor_name=long) for number in range(LINES)]
    assert CARD_LIMIT / 2 < len(message(events, digest=False)) <= CARD_LIMIT
    assert "\N{GRINNING FACE}" * 199 in lines(message(events[:1], digest=False))[0]


@given(st.lists(st.tuples(NAMES, NAMES), min_size=LINES + 1, max_size=40))
@settings(max_examples=30)
def test_a_digest_keeps_the_limit_too(make_event: "MakeEvent", typed: list[tuple[str, str]]) -> None:
    events = [
        make_event(number, user_id=str(number), user_name=person, training_id=str(number), training_title=training)
        for number, (person, training) in enumerate(typed)
    ]
    assert len(message(events, digest=True)) <= CARD_LIMIT


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (202, b"", Reason.DELIVERED),
        (200, b"1", Reason.DELIVERED),
        (400, b'{"error": {"code": "WorkflowTriggerIsNotEnabled", "message": "..."}}', Reason.WEBHOOK_REVOKED),
        (401, b'{"error": {"code": "DirectApiAuthorizationRequired"}}', Reason.WEBHOOK_REVOKED),
        (400, b'{"error": {"code": "BadRequest"}}', Reason.REFUSED),
        (400, b'{"error": "WorkflowTriggerIsNotEnabled"}', Reason.REFUSED),
        (404, b"<html>WorkflowTriggerIsNotEnabled", Reason.REFUSED),
        (400, b"\xff", Reason.REFUSED),
        (503, b'{"error": {"code": "WorkflowTriggerIsNotEnabled"}}', Reason.SERVER_ERROR),
    ],
)
async def test_a_workflow_that_is_switched_off_or_closed_disables_the_destination(
    make: Make,
    receiver: "Receiver",
    make_event: "MakeEvent",
    deliveries: Deliveries,
    status: int,
    body: bytes,
    reason: Reason,
) -> None:
    receiver.answers(status, body)
    assert (await make(receiver.url).send(deliveries(make_event()))).reason is reason
    (received,) = receiver.received
    assert received.headers["content-type"] == "application/json; charset=utf-8"


async def test_more_than_ten_or_than_the_digest_begins_at_are_a_digest(
    make: Make, receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    some = make(receiver.url, digest_above=5)
    assert some.grouping == Grouping(size=LINES, digest_above=5)
    receiver.answers(202)
    for count in (5, 6):
        await some.send(deliveries(*(make_event(number) for number in range(count))))
    each, digest = (lines(received.body) for received in receiver.received)
    assert len(each) == 6
    assert digest[-1] == "Each one: notifier events --after -1"
    assert orjson.loads(receiver.received[0].body)
