"""`notifier retry` with a running daemon."""

from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import deliveries, states, until

if TYPE_CHECKING:
    from tests.support.command_line import Api, Home, Receiver


async def test_retry_of_an_unknown_event_through_a_daemon_exits_with_2(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    async with home.daemon():
        answer = await home.call("retry", "evt_nothing")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no event `evt_nothing`" in answer.err


async def test_retry_through_a_daemon_sends_dead_deliveries(home: "Home", api: "Api", receiver: "Receiver") -> None:
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


async def test_retry_of_pending_deliveries_ends_the_pause_of_a_destination(
    home: "Home", api: "Api", receiver: "Receiver"
) -> None:
    home.configure(api.url, hr=receiver.url)
    # The daemon must not try again by itself before the command runs.
    receiver.status, receiver.headers = 503, {"Retry-After": "3600"}
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
        assert said.lines == [
            "2 deliveries put back into the queue",
            "hr paused after failures; the waiting events are tried now",
        ]
        await until(is_delivered)
        assert await state() == "ok"


@pytest.mark.parametrize("with_daemon", [False, True])
async def test_retry_of_a_mistyped_id_suggests_the_nearest_id(home: "Home", api: "Api", *, with_daemon: bool) -> None:
    home.configure(api.url)
    await home.remember("Jorge Miller", "David Ball")
    (_, second) = await deliveries(home)
    for mistyped in (second["event"][:-1], second["event"][:14] + "x" + second["event"][15:]):
        if with_daemon:
            async with home.daemon():
                answer = await home.call("retry", mistyped)
        else:
            answer = await home.call("retry", mistyped)
        assert answer.code == 2
        assert f"did you mean `{second['event']}`?" in answer.err
        if with_daemon:
            break
