"""`notifier deliveries`: the list, its filters, --follow, and moving deliveries to a new name."""

import asyncio
import json
import signal
from typing import TYPE_CHECKING

from notifier.store.file.store import FileStore
from notifier.store.tables import destinations, settlements
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.settlements import Settlement

if TYPE_CHECKING:
    from tests.support.command_line import Home

ATTEMPTED_MS = 1_795_280_400_123


async def store_outcome(home: "Home", sequence: int, state: DeliveryState, reason: str, status: int) -> None:
    store = FileStore(home.state_file)
    await store.open()
    try:
        await store.run(
            settlements.store_settlements,
            [Settlement((sequence,), "hr", state, "give_up", reason, status, "no such thing", ATTEMPTED_MS, 12, 0)],
        )
    finally:
        await store.close()


async def test_deliveries_in_a_pipe_prints_a_table(home: "Home") -> None:
    await home.remember("David Ball", "Maria Lopez")
    await store_outcome(home, 1, DeliveryState.DEAD, "refused", 404)
    said = await home.call("deliveries")
    assert said.code == 0
    titles, first, second = said.lines
    assert titles.startswith("EVENT  ")
    assert first.split()[1:] == ["0", "hr", "dead", "1", "refused", "404", "give_up", "-"]
    assert second.split()[1:] == ["1", "hr", "pending", "0", "-", "-", "now"]


async def test_deliveries_on_a_narrow_terminal_cuts_nothing_off(home: "Home") -> None:
    await home.remember("David Ball")
    (event,) = (await home.call("events", "--json")).documents
    shown = home.on_terminal("deliveries").lines[-1]
    assert shown.split()[0] == event["id"]
    assert shown.split()[-1] == "now"


async def test_deliveries_json_prints_one_object_per_line(home: "Home") -> None:
    await home.remember("David Ball")
    await store_outcome(home, 1, DeliveryState.DELIVERED, "delivered", 204)
    (delivery,) = (await home.call("deliveries", "--json")).documents
    assert delivery["event"].startswith("evt_")
    assert (delivery["state"], delivery["status"], delivery["last_attempt"]) == (
        "delivered",
        204,
        "2026-11-21T17:00:00.123Z",
    )


async def test_deliveries_filters_by_state_and_destination(home: "Home") -> None:
    await home.remember("David Ball", "Maria Lopez", to=("hr", "former"))
    await store_outcome(home, 1, DeliveryState.DEAD, "refused", 404)

    async def listed(*arguments: str) -> list[tuple[int, str]]:
        said = await home.call("deliveries", "--json", *arguments)
        return [(document["sequence"], document["destination"]) for document in said.documents]

    assert await listed("--state", "dead") == [(1, "hr")]
    assert await listed("--state", "pending", "--destination", "hr") == [(2, "hr")]
    assert await listed("--state", "delivered") == []


async def test_deliveries_lists_a_destination_removed_from_the_configuration(home: "Home") -> None:
    await home.remember("David Ball", to=("former",))
    assert (await home.call("deliveries", "--destination", "former")).code == 2
    store = FileStore(home.state_file)
    await store.open()
    await store.run(destinations.read_or_create, "former")
    await store.close()
    said = await home.call("deliveries", "--destination", "former", "--json")
    assert [document["destination"] for document in said.documents] == ["former"]


async def test_deliveries_follow_prints_each_attempt_until_interrupted(home: "Home") -> None:
    await home.remember("David Ball", "Maria Lopez")
    with home.started("deliveries", "--follow", "--json", "--destination", "hr") as process:

        async def next_delivery() -> tuple[int, str]:
            assert process.stdout is not None
            delivery = json.loads(await asyncio.to_thread(process.stdout.readline))
            return delivery["sequence"], delivery["state"]

        assert [await next_delivery(), await next_delivery()] == [(1, "pending"), (2, "pending")]
        await store_outcome(home, 2, DeliveryState.PENDING, "refused", 404)
        assert await next_delivery() == (2, "pending")
        await store_outcome(home, 2, DeliveryState.DEAD, "refused", 404)
        assert await next_delivery() == (2, "dead")
        err = await home.end(process, signal.SIGINT)
    assert (process.returncode, err.strip()) == (130, "")


async def test_deliveries_move_moves_pending_deliveries_without_duplicates(home: "Home") -> None:
    await home.remember("David Ball", "Ann Lee", to=("former",))
    await home.remember("Bo Ray", to=("former", "hr"))
    assert (await home.call("deliveries", "move", "hr", "hr")).code == 1
    assert (await home.call("deliveries", "move", "nobody", "hr")).code == 2
    assert (await home.call("deliveries", "move", "former", "hrr")).code == 2
    said = await home.call("deliveries", "move", "former", "hr")
    assert (said.code, said.lines) == (0, ["2 deliveries moved to hr"])
    waiting = (await home.call("deliveries", "--json")).documents
    assert [(one["sequence"], one["destination"], one["state"]) for one in waiting] == [
        (number, "hr", "pending") for number in (1, 2, 3)
    ]
