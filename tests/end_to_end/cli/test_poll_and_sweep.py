"""`notifier poll` and `notifier sweep`, with and without a running daemon."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from notifier.cli import daemon_client
from notifier.sandbox import Growth
from tests.support.command_line import until

if TYPE_CHECKING:
    from tests.support.command_line import Api, Home


@pytest.fixture
def home(home: "Home", api: "Api") -> "Home":
    home.configure(api.url, more='[sources.other]\nbase_url = "http://127.0.0.1:9/v1"\ntoken = "sandbox"\n')
    return home


async def event_subjects(home: "Home") -> list[str]:
    return [event["subject"] for event in (await home.call("events", "--json")).documents]


async def test_poll_without_a_daemon_leaves_its_events_pending(home: "Home", api: "Api") -> None:
    first = await home.call("poll", "acme")
    assert (first.code, first.out) == (0, "acme: 0 new events\n")
    (record,) = Growth(api.account).grow()
    second = await home.call("poll", "acme")
    assert second.lines == [
        "acme: 1 new event",
        "No daemon is running: new events wait in the state file until `notifier run` delivers them.",
    ]
    assert await event_subjects(home) == [str(record.id)]
    (delivery,) = (await home.call("deliveries", "--json")).documents
    assert delivery["state"] == "pending"


async def test_sweep_without_a_daemon_finds_edited_and_new_records(home: "Home", api: "Api") -> None:
    assert (await home.call("sweep", "acme")).lines == ["acme: the whole list was read, 6 records, 0 changes"]
    (record,) = Growth(api.account).grow()
    api.account.edit(1238, notes="corrected")
    said = await home.call("sweep", "acme")
    assert said.code == 0
    assert said.lines[0] == "acme: the whole list was read, 7 records, 2 changes"
    assert sorted(await event_subjects(home)) == ["1238", str(record.id)]


async def test_poll_without_a_daemon_waits_for_its_count_check(home: "Home", api: "Api") -> None:
    home.config.write_text(
        home.config.read_text().replace("[sources.acme]", '[sources.acme]\npage_size = 2\nconfirm_after = "1s"')
    )
    await home.call("sweep", "acme")
    oldest = list(api.account.records())[-1]
    (record,) = Growth(api.account).grow()
    api.account.edit(record.id, date_number=20010101)
    api.account.remove(oldest.id)
    api.account.add(user=oldest.user, training=oldest.training, date_number=20010102)
    said = await home.call("poll", "acme")
    assert said.lines[0] == "acme: 2 new events"

    async def has_new_event() -> bool:
        return (await home.call("poll", "acme")).lines[0] == "acme: 1 new event"

    # The removal is reported only after a second look.
    await until(has_new_event)
    assert (await event_subjects(home))[-1] == str(oldest.id)


async def test_first_sweep_with_first_run_notify_counts_every_record_as_a_change(home: "Home") -> None:
    home.config.write_text(home.config.read_text().replace("[sources.acme]", '[sources.acme]\nfirst_run = "notify"'))
    said = await home.call("sweep", "acme")
    assert said.lines[0] == "acme: the whole list was read, 6 records, 6 changes"
    assert len(await event_subjects(home)) == 6


async def test_sweep_on_a_terminal_shows_a_progress_bar(home: "Home") -> None:
    shown = await asyncio.to_thread(home.on_terminal, "sweep", "acme")
    assert shown.code == 0
    assert "━" in shown.out
    assert "6 records" in shown.out
    assert shown.lines[-1].endswith("acme: the whole list was read, 6 records, 0 changes")


@pytest.mark.parametrize("name", ["poll", "sweep"])
async def test_poll_and_sweep_without_a_daemon_report_an_unreachable_api(home: "Home", name: str) -> None:
    said = await home.call(name, "other")
    assert said.code == 1
    assert said.err.startswith("Error: other: there was no connection to the API; ")
    assert len(said.err.splitlines()) == 1


async def test_sweep_verbose_logs_to_stderr(home: "Home") -> None:
    said = await home.call("sweep", "acme", "--verbose")
    assert "sweep has read the whole list" in said.err
    assert len(said.lines) == 1


async def test_poll_and_sweep_through_a_daemon_report_events_and_errors(home: "Home", api: "Api") -> None:
    home.configure(
        api.url, more='[sources.other]\nbase_url = "http://127.0.0.1:9/v1"\ntoken = "sandbox"\npoll_interval = "1h"\n'
    )
    home.config.write_text(home.config.read_text().replace('"100ms"', '"1h"'))

    async def has_swept() -> bool:
        (document,) = (await home.call("status", "--json")).documents
        return document["sources"]["acme"]["last_sweep"] is not None

    async with home.daemon():
        await home.call("poll", "acme")
        # Without this, the daemon's first sweep could still be running, but already past the record edited below.
        await until(has_swept)
        (record,) = Growth(api.account).grow()
        polled = await home.call("poll", "acme")
        api.account.edit(1238, notes="corrected")
        swept = await home.call("sweep", "acme")
        found = await event_subjects(home)
        failed = await home.call("poll", "other")
    assert (polled.code, polled.out) == (0, "acme: 1 new event\n")
    assert (swept.code, swept.out) == (0, "acme: the whole list was read, 7 records, 1 change\n")
    assert found == [str(record.id), "1238"]
    assert failed.code == 1
    assert failed.err.startswith("Error: other: there was no connection to the API; ")


async def test_sweep_through_a_daemon_reports_an_unreachable_api(home: "Home", api: "Api") -> None:
    home.config.write_text(home.config.read_text().replace('"100ms"', '"1h"').replace(api.url, "http://127.0.0.1:9/v1"))
    async with home.daemon():
        said = await home.call("sweep", "acme")
    assert said.code == 1
    assert said.err.startswith("Error: acme: there was no connection to the API; ")
    assert said.out == ""


async def test_poll_of_a_source_that_the_daemon_does_not_have_exits_with_2(home: "Home", api: "Api") -> None:
    async with home.daemon():
        home.configure(api.url, more='[sources.newer]\ntoken = "t"\n')
        said = await home.call("poll", "newer")
    assert said.code == 2
    assert "the daemon says: there is no source `newer`" in said.err


async def test_sweep_reports_a_source_that_is_removed_meanwhile(home: "Home", monkeypatch: pytest.MonkeyPatch) -> None:
    async with home.daemon():
        ask = daemon_client.request

        def without_acme(*arguments: Any, **options: Any) -> Any:
            answer = ask(*arguments, **options)
            if answer is not None and "/v1/status" in arguments:
                del answer.body["sources"]["acme"]
            return answer

        monkeypatch.setattr(daemon_client, "request", without_acme)
        said = await home.call("sweep", "acme")
    assert (said.code, said.out) == (1, "")
    assert "acme was removed from the daemon's configuration" in said.err
