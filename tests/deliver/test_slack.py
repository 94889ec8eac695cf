from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from notifier.config.destinations import SlackSettings
from notifier.deliver.destination import Grouping
from notifier.deliver.outcome import Reason, Trouble, trouble
from notifier.deliver.slack import SlackDestination
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


def test_ten_share_a_message_and_more_than_the_setting_become_a_digest(make: Make) -> None:
    assert make("https://hooks.slack.com", digest_above=70).grouping == Grouping(size=10, digest_above=70)


async def test_the_body_is_json(make: Make, receiver: "Receiver", sent: list[Delivery]) -> None:
    await make(receiver.url).send(sent)
    assert receiver.received[0].headers["content-type"] == "application/json; charset=utf-8"
