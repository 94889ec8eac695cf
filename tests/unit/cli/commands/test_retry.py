"""`notifier retry`, with and without a running daemon."""

from typing import TYPE_CHECKING

import pytest

from notifier.store.file.store import FileStore
from notifier.store.tables import settlements
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.settlements import Settlement
from tests.support.command_line import deliveries, states

if TYPE_CHECKING:
    from tests.support.command_line import Home

WAITS = "No daemon is running: they wait in the state file until `notifier run` delivers them."


async def settle(home: "Home", state: DeliveryState, *sequences: int, to: str = "hr") -> None:
    """Store an attempt of each delivery with its new state; the next attempt is due in a thousand years."""
    failed = [
        Settlement((number,), to, state, "decided", "refused", 400, "no", 1_795_280_400_123, 5, 33_000_000_000_000)
        for number in sequences
    ]
    store = FileStore(home.state_file)
    await store.open()
    try:
        await store.run(settlements.store_settlements, failed)
    finally:
        await store.close()


async def test_retry_without_a_daemon_requeues_dead_deliveries_and_counts_them(home: "Home") -> None:
    await home.remember("Jorge Miller", "David Ball", "Ann Lee")
    await settle(home, DeliveryState.DEAD, 1, 2)
    said = await home.call("retry")
    assert (said.code, said.lines) == (0, ["2 deliveries put back into the queue", WAITS])
    assert await states(home) == ["pending"] * 3
    again = await home.call("retry")
    why = "no delivery is dead; pending: 3 (`--state pending` tries those at once)"
    assert (again.code, again.lines) == (0, ["0 deliveries put back into the queue", why])


async def test_retry_requeues_a_delivered_event_only_if_it_is_named(home: "Home") -> None:
    await home.remember("Jorge Miller", "David Ball", to=("hr", "former"))
    await settle(home, DeliveryState.DELIVERED, 1, 2)
    (first, *_) = await deliveries(home)
    dead = await home.call("retry", first["event"], "--destination", "hr")
    assert dead.lines[0] == "0 deliveries put back into the queue"
    assert "1 delivered: `--state delivered` puts those back" in dead.lines[1]
    assert (await home.call("retry", "--state", "delivered")).code == 2
    said = await home.call("retry", first["event"], "--state", "delivered", "--destination", "hr")
    assert said.lines[0] == "1 delivery put back into the queue"
    now = {(one["sequence"], one["destination"]): one["state"] for one in await deliveries(home)}
    assert (now[1, "hr"], now[2, "hr"]) == ("pending", "delivered")


async def test_retry_without_a_daemon_requeues_only_the_named_delivery(home: "Home") -> None:
    await home.remember("Jorge Miller", "David Ball")
    await settle(home, DeliveryState.DEAD, 1, 2)
    (_, second) = await deliveries(home)
    said = await home.call("retry", second["event"], "--destination", "hr")
    assert said.lines[0] == "1 delivery put back into the queue"
    assert await states(home) == ["dead", "pending"]


async def test_retry_without_a_daemon_makes_a_pending_delivery_due_at_once(home: "Home") -> None:
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
        (("--state", "gone"), "'gone' is not one of 'dead', 'pending', 'delivered'"),
    ],
)
async def test_retry_with_an_unknown_name_exits_2_and_changes_nothing(
    home: "Home", arguments: tuple[str, ...], said: str
) -> None:
    await home.remember("Jorge Miller")
    await settle(home, DeliveryState.DEAD, 1)
    (delivery,) = await deliveries(home)
    answer = await home.call("retry", delivery["event"], *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert await states(home) == ["dead"]
