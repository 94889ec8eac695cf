import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from notifier.config.message_destinations import TeamsSettings
from notifier.destinations import teams
from notifier.destinations.outcome import AttemptResult
from notifier.destinations.teams import CARD_LIMIT_BYTES, TeamsDestination
from notifier.messages.layout import MAX_LINES, lay_out
from notifier.messages.templates import Templates
from notifier.store.tables.outbox import Delivery

if TYPE_CHECKING:
    from notifier.events import Event
    from tests.support.clocks import FakeClock
    from tests.support.destinations import MakeEvent, Receiver

Make = Callable[..., TeamsDestination]
Deliveries = Callable[..., list[Delivery]]


@pytest.fixture
def make(session: aiohttp.ClientSession, clock: "FakeClock") -> Make:
    def made(url: str, **keys: Any) -> TeamsDestination:
        known = TeamsSettings.model_validate({"type": "teams", "url": url, "timeout": "5s", **keys})
        return TeamsDestination("there", known, session, clock)

    return made


def message(events: "Sequence[Event]", *, digest: bool) -> bytes:
    return teams.request_body(lay_out(events, Templates(None, print), digest=digest, fits=teams.fits))


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


def test_teams_message_of_one_completion_is_one_line_in_an_adaptive_card(make_event: "MakeEvent") -> None:
    body = message([make_event(instructor_name="Ann Lee")], digest=False)
    assert (card(body)["type"], card(body)["version"]) == ("AdaptiveCard", "1.4")
    assert lines(body) == ["David Ball completed Ladder Safety on 27 Feb 2020 · instructor Ann Lee · #1238"]
    assert card(body)["body"][0]["inlines"][0] == {"type": "TextRun", "text": "David Ball", "weight": "Bolder"}


def test_teams_message_of_a_group_session_has_one_heading_and_its_people(make_event: "MakeEvent") -> None:
    events = [make_event(number, group_training_id="9", user_name=f"Person {number}") for number in (1, 2)]
    assert lines(message(events, digest=False)) == [
        "Ladder Safety · group session on 27 Feb 2020 · 2 people",
        "• Person 1 · #1197",
        "• Person 2 · #1198",
    ]


def test_digest_counts_completions_by_training(make_event: "MakeEvent") -> None:
    events = [make_event(100 + number, user_id=str(number), user_name=f"Person {number}") for number in range(60)]
    body = message(events, digest=True)
    assert lines(body)[:2] == ["60 trainings completed", "• Ladder Safety: 60"]
    assert lines(body)[2].startswith("Person 0, Person 1, ")
    assert lines(body)[2].endswith(" and 52 others")


def test_teams_message_with_a_date_macro_in_a_name_disables_the_macro(make_event: "MakeEvent") -> None:
    (line,) = lines(message([make_event(user_name="{{{DATE(2026-11-21T17:00:00Z, SHORT)}}}")], digest=False))
    assert "{{" not in line


def test_teams_message_cuts_long_names_only_to_stay_within_the_limit(make_event: "MakeEvent") -> None:
    long = "\N{GRINNING FACE}" * 400
    events = [
        make_event(number, user_name=long, training_title=long, instructor_name=long) for number in range(MAX_LINES)
    ]
    assert CARD_LIMIT_BYTES / 2 < len(message(events, digest=False)) <= CARD_LIMIT_BYTES
    assert "\N{GRINNING FACE}" * 199 in lines(message(events[:1], digest=False))[0]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (202, b"", AttemptResult.DELIVERED),
        (200, b"1", AttemptResult.DELIVERED),
        (400, b'{"error": {"code": "WorkflowTriggerIsNotEnabled", "message": "..."}}', AttemptResult.WEBHOOK_REVOKED),
        (401, b'{"error": {"code": "DirectApiAuthorizationRequired"}}', AttemptResult.WEBHOOK_REVOKED),
        (400, b'{"error": {"code": "BadRequest"}}', AttemptResult.REFUSED),
        (400, b'{"error": "WorkflowTriggerIsNotEnabled"}', AttemptResult.REFUSED),
        (404, b"<html>WorkflowTriggerIsNotEnabled", AttemptResult.REFUSED),
        (400, b"\xff", AttemptResult.REFUSED),
        (503, b'{"error": {"code": "WorkflowTriggerIsNotEnabled"}}', AttemptResult.SERVER_ERROR),
    ],
)
async def test_teams_send_to_a_disabled_or_closed_workflow_is_webhook_revoked(
    make: Make,
    receiver: "Receiver",
    make_event: "MakeEvent",
    deliveries: Deliveries,
    status: int,
    body: bytes,
    reason: AttemptResult,
) -> None:
    receiver.answers(status, body)
    assert (await make(receiver.url).send(deliveries(make_event()))).reason is reason
    (received,) = receiver.received
    assert received.headers["content-type"] == "application/json; charset=utf-8"


ERROR = b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error %d with ContextId x"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"1", AttemptResult.DELIVERED),
        (b"", AttemptResult.DELIVERED),
        (ERROR % 429, AttemptResult.THROTTLED),
        (ERROR % 413, AttemptResult.REFUSED),
        (ERROR % 502, AttemptResult.SERVER_ERROR),
        (ERROR % 200, AttemptResult.ANSWER_UNEXPECTED),
    ],
)
async def test_teams_send_takes_the_reason_from_the_error_text_of_a_200_answer(
    make: Make,
    receiver: "Receiver",
    make_event: "MakeEvent",
    deliveries: Deliveries,
    body: bytes,
    reason: AttemptResult,
) -> None:
    receiver.answers(200, body)
    assert (await make(receiver.url).send(deliveries(make_event()))).reason is reason
