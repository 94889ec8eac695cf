"""`notifier enable` and `notifier disable`, with and without a running daemon."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command_line import until

if TYPE_CHECKING:
    from tests.support.command_line import Api, Home, Receiver


async def destination_status(home: "Home") -> dict[str, Any]:
    (document,) = (await home.call("status", "--json")).documents
    hr: dict[str, Any] = document["destinations"]["hr"]
    return hr


async def test_disable_and_enable_without_a_daemon_change_the_state_file(home: "Home") -> None:
    await home.remember("Jorge Miller")
    parked = await home.call("disable", "hr")
    assert (parked.code, parked.err) == (0, "")
    assert parked.out == "hr is disabled (reason: operator); its events are kept until `notifier enable hr`\n"
    assert (await destination_status(home))["state"] == "disabled"
    resumed = await home.call("enable", "hr")
    assert (resumed.code, resumed.out) == (0, "hr is enabled\n")
    after = await destination_status(home)
    assert (after["state"], after["reason"], after["pending"]) == ("untried", None, 1)


async def test_enable_and_disable_succeed_when_nothing_changes(home: "Home") -> None:
    assert (await home.call("enable", "hr")).code == 0
    for _ in range(2):
        assert (await home.call("disable", "hr")).code == 0
    assert (await destination_status(home))["reason"] == "operator"


@pytest.mark.parametrize("verb", ["enable", "disable"])
async def test_enable_and_disable_reject_an_unknown_destination(home: "Home", verb: str) -> None:
    said = await home.call(verb, "hrr")
    assert (said.code, said.out) == (2, "")
    assert "there is no destination `hrr`; did you mean `hr`?" in said.err


async def test_disable_through_a_daemon_survives_its_restart(home: "Home", api: "Api", receiver: "Receiver") -> None:
    home.configure(api.url, hr=receiver.url)
    async with home.daemon():
        assert (await home.call("disable", "hr")).code == 0
        assert (await destination_status(home))["state"] == "disabled"
    await home.remember("Jorge Miller")
    async with home.daemon():
        assert ((await destination_status(home))["state"], receiver.bodies) == ("disabled", [])
        assert (await home.call("enable", "hr")).code == 0

        async def is_delivered() -> bool:
            return bool((await destination_status(home))["delivered"] == 1)

        await until(is_delivered)
    assert len(receiver.bodies) == 1
