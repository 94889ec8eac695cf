"""A receiver answers 410: its destination is disabled, its events are kept, and `enable` delivers them."""

from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until


async def test_events_kept_while_a_destination_is_disabled_are_sent_once_after_enable(
    program: Program, receiver: Receiver
) -> None:
    account = build_account(20)
    receiver.status = 410
    async with served(account) as api:
        program.configure(api, receiver.url)
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        growth = Growth(account, seed=7)
        entered = {str(record.id) for record in growth.grow(3)}
        await program.until_status(lambda it: it["destinations"]["hr"]["state"] == "disabled")
        assert program.status()["destinations"]["hr"]["reason"] == "gone"
        await program.stop()

        receiver.status = 200
        program.start()
        entered |= {str(record.id) for record in growth.grow(3)}
        await program.until_status(lambda it: it["destinations"]["hr"]["pending"] == len(entered))
        told = {delivery["event"] for delivery in program.documents("deliveries", "--state", "pending", "--json")}
        assert receiver.events == []

        assert program.command("enable", "hr").stdout == "hr is enabled\n"
        await until(lambda: set(receiver.subjects) == entered)
        await program.until_status(lambda it: it["destinations"]["hr"]["pending"] == 0)
        await program.stop()
    assert sorted(receiver.ids) == sorted(told)
    assert len(receiver.ids) == len(entered) == 6
