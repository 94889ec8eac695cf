"""The route that erases a person's data."""

from typing import TYPE_CHECKING, Any

import pytest

from notifier.store.database import Database
from tests.support.event_stream import detect, listening, numbers

if TYPE_CHECKING:
    from tests.support.local_interface import Interface


async def ask(interface: "Interface", **more: Any) -> tuple[int, Any]:
    async with interface.over_tcp.post(f"{interface.url}/v1/people/forget", **more) as response:
        return response.status, await response.json()


async def test_forget_route_erases_a_person_unless_it_is_a_dry_run(interface: "Interface") -> None:
    status, body = await ask(interface, json={"person": " David Ball ", "dry_run": True})
    assert (status, body["dry_run"], interface.daemon.forgotten) == (200, True, [])
    status, _ = await ask(interface, json={"person": " David Ball "})
    assert status == 200
    assert [person for person, _ in interface.daemon.forgotten] == ["David Ball"]


async def test_forget_route_returns_404_for_an_unknown_person(interface: "Interface") -> None:
    status, body = await ask(interface, json={"person": "nobody"})
    assert (status, body["error"]["reason"]) == (404, "unknown_person")


@pytest.mark.parametrize(
    "body", ["", "{}", '{"person": " "}', '{"person": 7}', '{"person": "\\ud800"}', '{"person": "x", "dry_run": 1}']
)
async def test_forget_route_rejects_an_invalid_body(interface: "Interface", body: str) -> None:
    status, said = await ask(interface, data=body, headers={"Content-Type": "application/json"})
    assert (status, said["error"]["reason"]) == (400, "bad_request")
    assert interface.daemon.forgotten == []


async def test_stream_omits_an_event_that_forget_has_erased(interface: "Interface") -> None:
    async with listening(interface) as from_the_start:
        await detect(interface, range(3))
        assert numbers(await from_the_start.next(3)) == [1, 2, 3]
        await interface.store.run(erase, 2)
        await ask(interface, json={"person": "David Ball"})
        async with listening(interface, "?after=0") as later:
            assert numbers(await later.next(2)) == [1, 3]
            await detect(interface, [10])
            for listener in (from_the_start, later):
                assert numbers(await listener.next(1)) == [4]


def erase(db: Database, sequence: int) -> None:
    for table in ("deliveries", "events"):
        db.execute(f"DELETE FROM {table} WHERE sequence = ?", [sequence])
