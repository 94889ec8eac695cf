"""`notifier deliveries drop`, with and without a running daemon."""

from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import deliveries, states

if TYPE_CHECKING:
    from tests.support.command_line import Api, Home, Receiver


async def test_drop_without_yes_lists_the_deliveries_and_drops_nothing(home: "Home") -> None:
    await home.remember("Jorge Miller", "David Ball")
    said = await home.call("deliveries", "drop", "hr")
    assert (said.code, said.lines) == (1, ["2 deliveries would be dropped", "  hr: 2"])
    assert "nothing was dropped: add `--yes` to drop them" in said.err
    assert await states(home) == ["pending"] * 2


async def test_drop_for_a_former_destination_keeps_all_other_deliveries(home: "Home") -> None:
    await home.remember("Jorge Miller", "David Ball", to=("hr", "former"))
    said = await home.call("deliveries", "drop", "former", "--yes")
    assert (said.code, said.lines) == (0, ["2 deliveries dropped", "  former: 2"])
    assert [(it["destination"], it["state"]) for it in await deliveries(home)] == [("hr", "pending")] * 2
    again = await home.call("deliveries", "drop", "former", "--yes")
    assert (again.code, "former" in again.err) == (2, True)


async def test_drop_of_an_event_id_affects_only_the_given_destination(home: "Home") -> None:
    await home.remember("Jorge Miller", "David Ball", to=("hr", "it"))
    event = (await deliveries(home))[0]["event"]
    said = await home.call("deliveries", "drop", event, "--destination", "hr", "--yes", "--json")
    assert said.documents == [{"deliveries": 1, "destinations": {"hr": 1}, "dry_run": False, "daemon": False}]
    left = [(it["event"] == event, it["destination"]) for it in await deliveries(home)]
    assert sorted(left) == [(False, "hr"), (False, "it"), (True, "it")]


@pytest.mark.parametrize(
    "misplaced", [("--destination", "hr"), ("--state", "dead"), ("--json",), ("--follow",)], ids=lambda it: it[0]
)
async def test_drop_rejects_options_before_the_word_drop(home: "Home", misplaced: tuple[str, ...]) -> None:
    await home.remember("Jorge Miller", to=("hr", "it"))
    event = (await deliveries(home))[0]["event"]
    said = await home.call("deliveries", *misplaced, "drop", event, "--yes")
    assert (said.code, said.out) == (2, "")
    assert "write the options of `drop` after it" in said.err
    assert await states(home) == ["pending"] * 2


async def test_drop_rejects_unknown_names_and_ids(home: "Home") -> None:
    await home.remember("Jorge Miller")
    nobody = await home.call("deliveries", "drop", "payroll", "--yes")
    assert (nobody.code, "payroll" in nobody.err) == (2, True)
    unknown = await home.call("deliveries", "drop", "evt_o5xz64gu32q36eieigh27fof3j", "--yes")
    assert (unknown.code, "evt_o5xz64gu32q36eieigh27fof3j" in unknown.err) == (2, True)
    twice = await home.call("deliveries", "drop", "hr", "--destination", "hr", "--yes")
    assert (twice.code, "name the destination only once" in twice.err) == (2, True)
    assert await states(home) == ["pending"]


@pytest.mark.parametrize("with_daemon", [False, True])
async def test_drop_unmatched_drops_deliveries_that_the_filters_now_exclude(
    home: "Home", api: "Api", receiver: "Receiver", *, with_daemon: bool
) -> None:
    receiver.status = 503
    home.configure(api.url, hr=receiver.url, more='events = ["completion.removed"]')
    await home.remember("Jorge Miller", "David Ball")

    async def drop() -> None:
        said = await home.call("deliveries", "drop", "hr", "--unmatched", "--yes")
        assert (said.code, said.lines) == (0, ["2 deliveries dropped", "  hr: 2"])
        assert await states(home) == []

    if with_daemon:
        async with home.daemon():
            await drop()
    else:
        await drop()
