"""The daemon is killed at random moments: nothing is lost, and no event gets a second id."""

import asyncio
import random
from collections import Counter

from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until

KILLS = 10


async def test_ten_kills_while_records_arrive_lose_and_double_no_event(program: Program, receiver: Receiver) -> None:
    account = build_account(500)
    moments = random.Random(20261121)
    async with served(account) as api:
        # With the largest pages, backdated records are on the first page and need no sweep.
        program.configure(api, receiver.url, source="page_size = 1000\nnames = false")
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        history = {str(record.id) for record in account.records()}
        growing = asyncio.create_task(Growth(account, seed=3).run(40))
        for _ in range(KILLS):
            # Each kill is at another moment, from before the first request to the middle of deliveries.
            await asyncio.sleep(0.4 + moments.random() * 1.2)
            program.kill()
            program.start()
        growing.cancel()
        entered = {str(record.id) for record in account.records()} - history
        await until(lambda: set(receiver.subjects) >= entered, deadline=60)
        await program.until_status(lambda it: it["destinations"]["hr"]["pending"] == 0)
        await program.stop()
    ids_of_record = Counter(subject for subject, _ in {(e["subject"], e["id"]) for e in receiver.events})
    assert set(receiver.subjects) == entered
    assert set(ids_of_record.values()) == {1}
    assert len(entered) > 100


async def test_kill_during_a_receiver_outage_loses_no_event(program: Program, receiver: Receiver) -> None:
    account = build_account(50)
    async with served(account) as api:
        program.configure(api, receiver.url)
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        receiver.status = 503
        added = {str(record.id) for record in Growth(account, seed=5).grow(20)}
        await program.until_status(lambda it: it["destinations"]["hr"]["state"] == "retrying")
        program.kill()
        program.start()
        receiver.status = 200
        await until(lambda: set(receiver.subjects) == added)
        await program.until_status(lambda it: it["destinations"]["hr"]["state"] == "ok")
        await program.stop()
    # A request during the kill may have arrived. Then the event is sent again, with the same id.
    assert len(set(receiver.ids)) == len(added)
