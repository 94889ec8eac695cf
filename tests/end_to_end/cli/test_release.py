"""`notifier release` reports held changes, or accepts them silently; `notifier status` shows held changes."""

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command_line import until

if TYPE_CHECKING:
    from notifier.sandbox import Account
    from tests.support.command_line import Api, CommandOutput, Home

RECORD_COUNT = 30
LONG_AGO = 1_400_000_000_000


def add_old_records(account: "Account") -> None:
    add_records(account, created=LONG_AGO)


def remove_records(account: "Account") -> None:
    for record in [*account.records()][:RECORD_COUNT]:
        account.remove(record.id)


def edit_records(account: "Account") -> None:
    for record in [*account.records()][:RECORD_COUNT]:
        account.edit(record.id, notes="migrated")


def add_records(account: "Account", **fields: Any) -> None:
    user, training = account.users[0]["id"], account.trainings[0].ids
    for number in range(RECORD_COUNT):
        account.add(user=user, training=training, date_number=20150101 + number, **fields)


ACTIONS: dict[str, Callable[["Account"], None]] = {
    "removals": remove_records,
    "arrivals": add_old_records,
    "changes": edit_records,
}
TYPES = {"removals": "completion.removed", "arrivals": "completion.created", "changes": "completion.updated"}


@pytest.fixture
async def home(home: "Home", api: "Api") -> "Home":
    home.configure(api.url)
    text = home.config.read_text()
    home.config.write_text(text.replace("[sources.acme]", "[sources.acme]\nhold_arrivals_above = 20"))
    add_records(api.account)
    add_records(api.account)
    assert (await home.call("sweep", "acme")).code == 0
    return home


async def source_status(home: "Home") -> dict[str, Any]:
    (document,) = (await home.call("status", "--json")).documents
    source: dict[str, Any] = document["sources"]["acme"]
    return source


async def held_counts(home: "Home") -> dict[str, int]:
    return {what: one["records"] for what, one in (await source_status(home))["held"].items() if one["records"]}


async def event_types(home: "Home") -> list[str]:
    return [event["type"] for event in (await home.call("events", "--json")).documents]


@pytest.mark.parametrize("what", ACTIONS)
async def test_release_without_a_daemon_creates_the_held_events(home: "Home", api: "Api", what: str) -> None:
    ACTIONS[what](api.account)
    assert (await home.call("sweep", "acme")).code == 0
    assert await held_counts(home) == {what: RECORD_COUNT}
    assert await event_types(home) == []
    said = await home.call("release", "acme", what)
    assert said.code == 0, said
    assert said.lines == [
        f"acme: {RECORD_COUNT} {what} released, to be reported",
        "No daemon is running: released events wait in the state file until `notifier run` delivers them.",
    ]
    assert await event_types(home) == [TYPES[what]] * RECORD_COUNT
    assert await held_counts(home) == {}


@pytest.mark.parametrize("what", ACTIONS)
async def test_release_silently_stores_held_changes_without_an_event(home: "Home", api: "Api", what: str) -> None:
    ACTIONS[what](api.account)
    await home.call("sweep", "acme")
    said = await home.call("release", "acme", what, "--silently", "--json")
    assert said.documents == [
        {"source": "acme", "what": what, "silently": True, "records": RECORD_COUNT, "daemon": False}
    ]
    await home.call("sweep", "acme")
    assert await event_types(home) == []
    assert await held_counts(home) == {}
    assert (await source_status(home))["records"] == len(api.account)


@pytest.mark.parametrize("what", ACTIONS)
async def test_release_through_a_daemon_creates_events_and_logs_the_user(home: "Home", api: "Api", what: str) -> None:
    ACTIONS[what](api.account)
    async with home.daemon() as process:
        assert (await home.call("sweep", "acme")).code == 0

        async def is_held() -> bool:
            return await held_counts(home) == {what: RECORD_COUNT}

        await until(is_held)
        said = await home.call("release", "acme", what)
        assert said.lines == [f"acme: {RECORD_COUNT} {what} released, to be reported"], said

        async def is_reported() -> bool:
            return await event_types(home) == [TYPES[what]] * RECORD_COUNT

        await until(is_reported)
        assert await held_counts(home) == {}
        log = await home.end(process)
    assert f"what={what}" in log
    assert f"by='uid {os.getuid()}'" in log


@pytest.mark.parametrize("runs", [False, True])
async def test_release_with_nothing_held_succeeds_and_reports_it(home: "Home", *, runs: bool) -> None:
    async def release() -> "CommandOutput":
        return await home.call("release", "acme", "removals")

    if runs:
        async with home.daemon():
            said = await release()
    else:
        said = await release()
    assert (said.code, said.lines) == (0, ["acme: no removals are held back"])


async def test_status_and_explain_show_held_arrivals_and_changes(home: "Home", api: "Api") -> None:
    edit_records(api.account)
    add_old_records(api.account)
    await home.call("sweep", "acme")
    held_now = (await source_status(home))["held"]
    assert held_now["changes"]["field"] == "notes"
    out = (await home.call("status")).out
    assert (
        f"{RECORD_COUNT} arrivals, such as {held_now['arrivals']['example']}: `notifier release acme arrivals`" in out
    )
    assert f"{RECORD_COUNT} changes of `notes`, such as {held_now['changes']['example']}:" in out
    arrival = (await home.call("explain", held_now["arrivals"]["example"])).out
    assert re.search(r"treated as +held back: it appeared together with many others", arrival)
    assert "`notifier release acme arrivals`, with `--silently`" in arrival
    changed = (await home.call("explain", held_now["changes"]["example"], "--json")).documents[0]
    assert [one["what"] for one in changed["withheld"]] == ["held_changes"]


async def test_explain_and_status_show_a_removal_that_waits_for_its_second_look(home: "Home", api: "Api") -> None:
    (gone, *_) = api.account.records()
    api.account.remove(gone.id)
    await home.call("poll", "acme")
    assert (await source_status(home))["waiting"] == {"removal": 1, "return": 0, "earlier_form": 0}
    (life,) = (await home.call("explain", str(gone.id), "--json")).documents
    (one,) = life["withheld"]
    assert (one["what"], one["why"]) == ("removal", "an answer does not contain it: it may have been removed")
    assert one["since"] < one["not_before"]
    out = (await home.call("explain", str(gone.id))).out
    assert "reported at the earliest" in out
    assert re.search(r"\(in [45]m\)", out)
    assert "still missing" in out
    assert "1 removal" in (await home.call("status")).out
