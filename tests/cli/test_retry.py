"""`notifier retry`, with and without a running daemon."""

from typing import TYPE_CHECKING, Any

import pytest

from notifier.ledger import outbox
from notifier.ledger.ledger import Ledger
from notifier.ledger.outbox import DeliveryState, Settlement
from tests.cli.conftest import until

if TYPE_CHECKING:
    from tests.cli.conftest import Api, Home, Receiver

WAITS = "No daemon runs: they wait in the state file until `notifier run` delivers them."


async def settle(home: "Home", state: DeliveryState, *sequences: int, to: str = "hr") -> None:
    """Write down that attempts failed; whatever waits does so for a thousand years."""
    settlements = [
        Settlement((number,), to, state, "decided", "refused", 400, "no", 1_795_280_400_123, 5, 33_000_000_000_000)
        for number in sequences
    ]
    ledger = Ledger(home.state_file)
    await ledger.open()
    try:
        await ledger.run(outbox.settle, settlements)
    finally:
        await ledger.close()


async def deliveries(home: "Home") -> list[dict[str, Any]]:
    return (await home.call("deliveries", "--json")).documents


async def states(home: "Home") -> list[str]:
    return [delivery["state"] for delivery in await deliveries(home)]


async def test_alone_it_puts_dead_deliveries_back_and_says_how_many(home: "Home") -> None:
    await home.remember("Jorge Miller", "David Ball", "Ann Lee")
    await settle(home, DeliveryState.DEAD, 1, 2)
    said = await home.call("retry")
    assert (said.code, said.lines) == (0, ["2 deliveries put back into the queue", WAITS])
    assert await states(home) == ["pending"] * 3
    again = await home.call("retry")
    assert (again.code, again.lines) == (0, ["0 deliveries put back into the queue"])


async def test_alone_it_puts_back_what_is_named(home: "Home") -> None:
    await home.remember("Jorge Miller", "David Ball")
    await settle(home, DeliveryState.DEAD, 1, 2)
    (_, second) = await deliveries(home)
    said = await home.call("retry", second["event"], "--destination", "hr")
    assert said.lines[0] == "1 delivery put back into the queue"
    assert await states(home) == ["dead", "pending"]


async def test_alone_what_waits_becomes_due_at_once(home: "Home") -> None:
    await home.remember("Jorge Miller")
    await settle(home, DeliveryState.PENDING, 1)
    assert (await deliveries(home))[0]["next_attempt"] is not None
    assert (await home.call("retry", "--state", "pending")).lines[0] == "1 delivery put back into the queue"
    assert (await deliveries(home))[0]["next_attempt"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evt_nothing",), "there is no event `evt_nothing`"),
        (("--destination", "hrr"), "there is no destination `hrr`; did you mean `hr`?"),
        (("--state", "delivered"), "'delivered' is not one of 'dead', 'pending'"),
    ],
)
async def test_what_is_not_there_is_wrong_usage_and_changes_nothing(
    home: "Home", arguments: tuple[str, ...], said: str
) -> None:
    await home.remember("Jorge Miller")
    await settle(home, DeliveryState.DEAD, 1)
    (delivery,) = await deliveries(home)
    answer = await home.call("retry", delivery["event"], *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert await states(home) == ["dead"]


async def test_an_event_that_the_daemon_does_not_know_is_wrong_usage_too(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    async with home.daemon():
        answer = await home.call("retry", "evt_nothing")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no event `evt_nothing`" in answer.err


async def test_the_daemon_sends_dead_ones_at_once(home: "Home", api: "Api", receiver: "Receiver") -> None:
    home.configure(api.url, hr=receiver.url, more='give_up_after = "1ms"\nretry_first = "10ms"\nretry_max = "10ms"')
    receiver.status = 400
    await home.remember("Jorge Miller")
    async with home.daemon():

        async def is_dead() -> bool:
            return await states(home) == ["dead"]

        async def is_delivered() -> bool:
            return await states(home) == ["delivered"]

        await until(is_dead)
        receiver.status = 200
        said = await home.call("retry", "--destination", "hr")
        assert (said.code, said.lines) == (0, ["1 delivery put back into the queue"])
        await until(is_delivered)


async def test_a_destination_in_trouble_is_tried_when_its_pending_ones_are_retried(
    home: "Home", api: "Api", receiver: "Receiver"
) -> None:
    home.configure(api.url, hr=receiver.url, more='retry_first = "1h"')
    receiver.status = 503
    await home.remember("Jorge Miller", "David Ball")
    async with home.daemon():

        async def state() -> str:
            (document,) = (await home.call("status", "--json")).documents
            return str(document["destinations"]["hr"]["state"])

        async def is_in_trouble() -> bool:
            return await state() == "retrying"

        async def is_delivered() -> bool:
            return await states(home) == ["delivered"] * 2

        await until(is_in_trouble)
        receiver.status = 200
        said = await home.call("retry", "--state", "pending")
        assert said.lines == ["2 deliveries put back into the queue"]
        await until(is_delivered)
        assert await state() == "ok"
