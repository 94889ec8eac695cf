"""The main task with documented payloads: events go from the API to a webhook and to Slack."""

import re

import orjson
import pytest

from notifier.sandbox.account import Account
from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account, documented_account
from notifier.sandbox.records import Dialect, IdPair, Version
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until

DAVID = "5804f0f40ef50473af5870e6"
"""The user id of David Ball in the documented answer of `users.list`."""

SLACK = """
[destinations.safety-channel]
type = "slack"
url = "{receiver}/slack"
"""


@pytest.mark.parametrize(
    ("version", "newer_fields"),
    [(Version.V1, True), (Version.V2, True), (Version.V2, False)],
    ids=["v1", "v2", "v2-2020"],
)
async def test_documented_records_cause_no_event_and_a_new_record_causes_one(
    program: Program, receiver: Receiver, version: Version, newer_fields: bool
) -> None:
    account = documented_account(version, dialect=Dialect(newer_fields=newer_fields))
    training = account.trainings[0]
    async with served(account) as api:
        program.configure(api, receiver.url, source=f'api = "{version}"', more=SLACK.format(receiver=receiver.url))
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        account.add(user=DAVID, training=training.ids)
        await until(lambda: len(receiver.events) >= 1 and len(receiver.slack) >= 1)
        # The receiver gets the event before the daemon stores the outcome.
        await program.until_status(lambda it: it["destinations"]["hr"]["delivered"] == 1)
        await program.until_status(lambda it: it["sources"]["acme"]["records"] == len(account))
        await program.stop()

    (event,) = receiver.events
    (headers,) = receiver.headers
    (message,) = receiver.slack
    completion = event["data"]["completion"]
    assert event["type"] == "completion.created"
    assert event["source"] == "/sources/acme"
    assert re.fullmatch(r"evt_[a-z2-7]{26}", event["id"])
    assert headers["webhook-id"] == event["id"]
    assert headers["content-type"] == "application/cloudevents+json"
    assert event["subject"] == completion["key"]
    assert completion["user_name"] == "David Ball"
    assert completion["training_title"] == training.title
    assert completion["training_id"] == str(training.ids.v1 if version is Version.V1 else training.ids.v2)
    assert re.fullmatch(r"v1-[0-9a-f]{16}" if version is Version.V1 else r"[0-9]+", completion["key"])
    assert event["data"]["previous"] is None
    assert event["data"]["record"] in list(account.page(version).records)
    assert "David Ball" in message["text"]
    assert training.title in message["text"]


async def test_5000_existing_records_cause_no_event_and_3_new_ones_cause_3(
    program: Program, receiver: Receiver
) -> None:
    account = build_account(5_000)
    async with served(account) as api:
        program.configure(api, receiver.url)
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        assert receiver.events == []
        added = [add_today(account) for _ in range(3)]
        await until(lambda: len(receiver.events) >= 3)
        await program.until_status(lambda it: it["sources"]["acme"]["records"] == 5_003)
        await program.stop()
    assert sorted(receiver.subjects) == sorted(str(number) for number in added)


async def test_import_of_2500_records_sends_each_event_once(program: Program, receiver: Receiver) -> None:
    account = build_account(1_000)
    async with served(account) as api:
        program.configure(api, receiver.url, source="page_size = 100")
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        added = {str(add_today(account)) for _ in range(2_500)}
        await until(lambda: len(receiver.events) >= 2_500, deadline=60)
        await program.stop()
    assert set(receiver.subjects) == added
    assert len(receiver.ids) == len(set(receiver.ids)) == 2_500


async def test_record_entered_while_the_daemon_is_down_is_reported(program: Program, receiver: Receiver) -> None:
    account = build_account(300)
    async with served(account) as api:
        program.configure(api, receiver.url)
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        assert await program.stop() < 5
        number = add_today(account)
        program.start()
        await until(lambda: receiver.subjects == [str(number)])
        await program.stop()


async def test_events_json_prints_the_events_as_they_were_sent(program: Program, receiver: Receiver) -> None:
    account = build_account(10)
    async with served(account) as api:
        program.configure(api, receiver.url)
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        Growth(account, seed=7).grow(3)
        await until(lambda: len(receiver.events) == 3)
        printed = program.command("events", "--json").stdout.splitlines()
        await program.stop()
    assert [orjson.loads(line) for line in printed] == sorted(receiver.events, key=lambda event: event["sequence"])


def add_today(account: Account) -> int:
    """Add a record at the top of the list; return its id."""
    return account.add(user=account.users[0]["id"], training=IdPair.from_number(1046)).id
