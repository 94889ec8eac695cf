from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from notifier.config.message_destinations import SlackSettings
from notifier.destinations.outcome import AttemptResult, FailureScope
from notifier.destinations.slack import SlackDestination
from notifier.store.tables.outbox import Delivery

if TYPE_CHECKING:
    from tests.support.clocks import FakeClock
    from tests.support.destinations import MakeEvent, Receiver

Make = Callable[..., SlackDestination]
Deliveries = Callable[..., list[Delivery]]


@pytest.fixture
def make(session: aiohttp.ClientSession, clock: "FakeClock") -> Make:
    def made(url: str, **keys: Any) -> SlackDestination:
        settings = SlackSettings.model_validate({"type": "slack", "url": url, "timeout": "5s", **keys})
        return SlackDestination("there", settings, session, clock)

    return made


@pytest.fixture
def sent(make_event: "MakeEvent", deliveries: Deliveries) -> list[Delivery]:
    return deliveries(make_event())


@pytest.mark.parametrize(
    ("status", "word"),
    [(400, "invalid_payload"), (400, "invalid_blocks"), (400, "msg_blocks_too_long"), (400, "no_text")],
)
async def test_slack_send_of_a_refused_message_is_a_failure_of_the_event(
    make: Make, receiver: "Receiver", sent: list[Delivery], status: int, word: str
) -> None:
    receiver.answers(status, word.encode())
    outcome = await make(receiver.url).send(sent)
    assert (outcome.reason, outcome.detail) == (AttemptResult.PAYLOAD_REFUSED, word)
    assert outcome.scope is FailureScope.EVENT


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, "user_not_found"),
        (403, "action_prohibited"),
        (403, "invalid_token"),
        (404, "channel_not_found"),
        (404, "no_service"),
        (404, "no_active_hooks\n"),
        (410, "channel_is_archived"),
    ],
)
async def test_slack_send_to_a_refused_webhook_is_a_permanent_failure(
    make: Make, receiver: "Receiver", sent: list[Delivery], status: int, word: str
) -> None:
    receiver.answers(status, word.encode())
    outcome = await make(receiver.url).send(sent)
    assert (outcome.reason, outcome.detail) == (AttemptResult.WEBHOOK_REVOKED, word.strip())
    assert outcome.scope is FailureScope.PERMANENT


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"ok", AttemptResult.DELIVERED),
        (200, b"ok\n", AttemptResult.DELIVERED),
        (200, b"", AttemptResult.ANSWER_UNEXPECTED),
        (200, b"<html>Please log in to the guest network", AttemptResult.ANSWER_UNEXPECTED),
        (202, b"ok", AttemptResult.ANSWER_UNEXPECTED),
        (200, b'{"ok": true}', AttemptResult.DELIVERED),
        (200, b'{"success":true,"id":1}', AttemptResult.DELIVERED),
        (200, b'{"ok": false, "error": "no"}', AttemptResult.ANSWER_UNEXPECTED),
        (200, b'{"success": "maybe"}', AttemptResult.ANSWER_UNEXPECTED),
        (200, b"[true]", AttemptResult.ANSWER_UNEXPECTED),
        (500, b'{"ok": true}', AttemptResult.SERVER_ERROR),
        (404, b"<html>Not Found", AttemptResult.REFUSED),
        (400, b"a_word_of_next_year", AttemptResult.REFUSED),
        (403, b"\xff\xfe", AttemptResult.REFUSED),
        (500, b"rollup_error", AttemptResult.SERVER_ERROR),
        (503, b"no_service", AttemptResult.SERVER_ERROR),
    ],
)
async def test_slack_send_gives_each_answer_its_reason(
    make: Make, receiver: "Receiver", sent: list[Delivery], status: int, body: bytes, reason: AttemptResult
) -> None:
    receiver.answers(status, body)
    assert (await make(receiver.url).send(sent)).reason is reason


async def test_slack_message_of_a_group_session_lists_all_its_people(
    make: Make, receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    receiver.answers(200, b"ok")
    destination = make(receiver.url)
    keys = [f"5e580f0cb780600088bd2c{number:02d}" for number in range(50)]
    events = [
        make_event(number, group_training_id="7", user_name=f"Maximiliane Trostburg {number}", key=key)
        for number, key in enumerate(keys)
    ]
    await destination.send(deliveries(*events))
    content = orjson.loads(receiver.received[0].body)
    heading, people = content["blocks"][0]["elements"]
    assert "50 people" in heading["elements"][1]["text"]
    assert [item["elements"][-1]["text"] for item in people["elements"]] == [f" · #{key}" for key in keys]


async def test_slack_message_does_not_format_text_of_users(
    make: Make, receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    await make(receiver.url).send(deliveries(make_event(user_name="<!channel> *A* & <@U1>")))
    content = orjson.loads(receiver.received[0].body)
    assert content["mrkdwn"] is False
    assert content["text"].startswith("&lt;!channel&gt; *A* &amp; &lt;@U1&gt; completed")
    assert content["blocks"][0]["elements"][0]["elements"][0] == {
        "type": "text",
        "text": "<!channel> *A* & <@U1>",
        "style": {"bold": True},
    }


async def test_slack_message_shows_rows_as_lines_bullets_and_nested_bullets(
    make: Make, receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    session = {"group_training_id": "77"}
    events = [make_event(1, **session), make_event(2, **session), make_event(3)]
    await make(receiver.url).send(deliveries(*events))
    content = orjson.loads(receiver.received[0].body)
    (block,) = content["blocks"]
    assert [(part["type"], part.get("indent"), len(part["elements"])) for part in block["elements"]] == [
        ("rich_text_section", None, 1),
        ("rich_text_list", 0, 1),
        ("rich_text_list", 1, 2),
        ("rich_text_list", 0, 1),
    ]
    assert content["text"].splitlines() == [
        "3 trainings completed",
        "• Ladder Safety · group session on 27 Feb 2020 · 2 people",
        "    • David Ball · #1197",
        "    • David Ball · #1198",
        "• David Ball completed Ladder Safety on 27 Feb 2020 · #1199",
    ]


async def test_slack_preview_equals_the_sent_message(make: Make, receiver: "Receiver", sent: list[Delivery]) -> None:
    destination = make(receiver.url)
    preview = await destination.preview(sent)
    assert receiver.received == []
    await destination.send(sent)
    assert preview.body == receiver.received[0].body
    assert preview.lines == ("David Ball completed Ladder Safety on 27 Feb 2020 · #1238",)


async def test_slack_request_has_the_content_type_json(make: Make, receiver: "Receiver", sent: list[Delivery]) -> None:
    await make(receiver.url).send(sent)
    assert receiver.received[0].headers["content-type"] == "application/json; charset=utf-8"
