"""The daemon is killed during an expiry round: each expiry is reported, under one id."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from notifier.sandbox.fixtures import build_account
from notifier.sandbox.records import date_number
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until

PAIRS = 1200
"""The number of expiring completions; a round needs more than two transactions for them."""


async def test_killed_expiry_round_reports_each_expiry_under_one_id(program: Program, receiver: Receiver) -> None:
    account = build_account(20)
    end = date_number((datetime.now(UTC) + timedelta(days=10)).date())
    pairs = [(person["id"], training.ids) for training in account.trainings for person in account.users][:PAIRS]
    assert len(pairs) == PAIRS
    for user, training in pairs:
        account.add(user=user, training=training, expiry=end)
    async with served(account) as api:
        program.configure(
            api, receiver.url, source="expiry = true", destination='events = ["completion.expiring"]\nrate = 0'
        )
        program.start()
        await until(lambda: bool(receiver.events), 60, pause=0.001)
        program.kill()
        told = Counter(receiver.ids)
        assert len(told) < PAIRS // 2, "the round was over before the kill"
        program.start()
        people = {person["id"] for person in account.users if not person.get("terminationDate")}
        wanted = sum(user in people for user, _ in pairs)
        await until(lambda: len({*receiver.subjects}) >= wanted, 60)
        await until(lambda: program.status()["destinations"]["hr"]["pending"] == 0, 60, pause=0.1)
        await program.stop()
    subjects = Counter(event["subject"] for event in {event["id"]: event for event in receiver.events}.values())
    assert set(subjects.values()) == {1}
    assert len(subjects) >= wanted
    assert all(count <= 2 for count in Counter(receiver.ids).values())
