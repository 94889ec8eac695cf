from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from notifier.config.destinations import SlackSettings
from notifier.deliver.destination import Grouping
from notifier.deliver.outcome import Reason, Trouble, trouble
from notifier.deliver.slack import SlackDestination
from notifier.deliver.slack_words import session_of
from notifier.ledger.outbox import Delivery

if TYPE_CHECKING:
    from tests.conftest import FakeClock
    from tests.deliver.conftest import MakeEvent, Receiver

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
async def test_a_refused_message_is_that_message_s_trouble(
    make: Make, receiver: "Receiver", sent: list[Delivery], status: int, word: str
) -> None:
    receiver.answers(status, word.encode())
    outcome = await make(receiver.url).send(sent)
    assert (outcome.reason, outcome.detail) == (Reason.PAYLOAD_REFUSED, word)
    assert trouble(outcome.reason) is Trouble.EVENT


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
async def test_a_refused_webhook_disables_the_destination(
    make: Make, receiver: "Receiver", sent: list[Delivery], status: int, word: str
) -> None:
    receiver.answers(status, word.encode())
    outcome = await make(receiver.url).send(sent)
    assert (outcome.reason, outcome.detail) == (Reason.WEBHOOK_REVOKED, word.strip())
    assert trouble(outcome.reason) is Trouble.REVOKED


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"ok", Reason.DELIVERED),
        (200, b"ok\n", Reason.DELIVERED),
        (200, b"", Reason.ANSWER_UNEXPECTED),
        (200, b"<html>Please log in to the guest network", Reason.ANSWER_UNEXPECTED),
        (202, b"ok", Reason.ANSWER_UNEXPECTED),
        (404, b"<html>Not Found", Reason.REFUSED),
        (400, b"a_word_of_next_year", Reason.REFUSED),
        (403, b"\xff\xfe", Reason.REFUSED),
        (500, b"rollup_error", Reason.SERVER_ERROR),
        (503, b"no_service", Reason.SERVER_ERROR),
    ],
)
async def test_only_slack_s_own_words_count(
    make: Make, receiver: "Receiver", sent: list[Delivery], status: int, body: bytes, reason: Reason
) -> None:
    receiver.answers(status, body)
    assert (await make(receiver.url).send(sent)).reason is reason


async def test_up_to_ten_events_get_a_line_each(
    make: Make, receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    receiver.answers(200, b"ok")
    destination = make(receiver.url)
    for count in (10, 11):
        await destination.send(deliveries(*(make_event(sequence) for sequence in range(1, count + 1))))
    lines, digest = (orjson.loads(received.body)["text"] for received in receiver.received)
    assert all(f"#{1196 + sequence}" in lines for sequence in range(1, 11))
    assert "notifier events --after 0" in digest


async def test_a_digest_may_begin_earlier(
    make: Make, receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    receiver.answers(200, b"ok")
    destination = make(receiver.url, digest_above=2)
    await destination.send(deliveries(*(make_event(sequence) for sequence in (1, 2, 3))))
    assert "notifier events --after 0" in orjson.loads(receiver.received[0].body)["text"]


async def test_a_group_session_is_one_message_with_all_its_people(
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


async def test_a_wrong_template_delays_nothing_and_is_logged_once(
    make: Make,
    receiver: "Receiver",
    sent: list[Delivery],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver.answers(200, b"ok")
    (tmp_path / "completed.j2").write_text("{{ person | bold }}\n{{ 1 // (key | length - 4) }}")
    destination = make(receiver.url, templates=str(tmp_path))
    assert [(await destination.send(sent)).reason for _ in range(3)] == [Reason.DELIVERED] * 3
    assert {orjson.loads(received.body)["text"] for received in receiver.received} == {
        "David Ball completed Ladder Safety on 27 Feb 2020 · #1238"
    }
    (record,) = caplog.records
    facts = vars(record)
    assert (facts["destination"], facts["detail"][:42]) == ("there", "completed.j2, line 2: ZeroDivisionError: i")


async def test_a_preview_is_what_would_be_sent(make: Make, receiver: "Receiver", sent: list[Delivery]) -> None:
    destination = make(receiver.url)
    preview = await destination.preview(sent)
    assert receiver.received == []
    await destination.send(sent)
    assert preview.body == receiver.received[0].body
    assert preview.lines == ("David Ball completed Ladder Safety on 27 Feb 2020 · #1238",)


def test_ten_share_a_message_and_more_than_the_setting_become_a_digest(make: Make) -> None:
    assert make("https://hooks.slack.com", digest_above=70).grouping == Grouping(
        10, digest_above=70, together=session_of
    )


async def test_the_body_is_json(make: Make, receiver: "Receiver", sent: list[Delivery]) -> None:
    await make(receiver.url).send(sent)
    assert receiver.received[0].headers["content-type"] == "application/json; charset=utf-8"
