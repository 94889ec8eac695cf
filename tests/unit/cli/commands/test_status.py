"""`notifier status`: answered by the daemon if one runs, otherwise from the state file."""

import asyncio
import json
import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from notifier import __version__
from notifier.cli import daemon_client
from notifier.cli.commands.status import _schedule_line, is_failing
from notifier.cli.errors import CommandError
from notifier.clock import SystemClock
from notifier.store.file.store import FileStore
from notifier.store.tables import alert_events, destinations, sources
from notifier.store.tables.conditions import ConditionChange, ConditionState, StoredCondition
from notifier.store.tables.destinations import Health, HealthState
from notifier.store.tables.sources import SourceError

if TYPE_CHECKING:
    from tests.support.command_line import Home

FAR = 4_000_000_000_000
NOW_MS = 1_795_280_400_000


async def test_status_without_a_daemon_shows_the_state_file(home: "Home") -> None:
    await home.remember("David Ball", "Maria Lopez")
    said = await home.call("status")
    assert said.code == 0
    assert said.lines[0] == f"No daemon is running; this is what the state file {home.state_file} contains."
    assert "acme    starting        2  -" in said.out
    assert "hr           untried  -             2" in said.out


async def test_status_json_without_a_daemon_is_one_line_without_started_at(home: "Home") -> None:
    await home.remember("David Ball")
    (document,) = (await home.call("status", "--json")).documents
    assert (document["version"], document["started_at"]) == (__version__, None)
    assert document["sources"]["acme"]["records"] == 1
    assert document["destinations"]["hr"]["pending"] == 1
    assert document["conditions"] == []


@pytest.mark.parametrize(
    ("reason", "silent_until_ms", "state"),
    [
        ("token_invalid", FAR, "failing"),
        ("rate_limit_exceeded", FAR, "rate_limited"),
        ("timeout", None, "failing"),
    ],
)
async def test_status_shows_the_error_of_a_source_whose_last_request_failed(
    home: "Home", reason: str, silent_until_ms: int | None, state: str
) -> None:
    await home.remember("David Ball")
    store = FileStore(home.state_file)
    await store.open()
    await store.run(sources.record_success, "acme", 1_000)
    await store.run(sources.record_failure, "acme", SourceError(reason, "it said \x1b[31mno", 2_000), silent_until_ms)
    await store.close()
    assert (await home.call("status", "--json")).documents[0]["sources"]["acme"]["state"] == state
    said = await home.call("status")
    assert f"{reason}" in said.lines[-1]
    assert "it said ?[31mno" in said.lines[-1]


async def test_status_lists_conditions_first(home: "Home") -> None:
    await home.remember("David Ball")
    gap = StoredCondition("gap", "sources/acme", "something may have been missed", 1_795_280_400_123)
    store = FileStore(home.state_file)
    await store.open()
    await store.run(alert_events.write, [ConditionChange(ConditionState.FIRING, gap, "began", None)], gap.since_ms)
    await store.close()
    assert (await home.call("status", "--json")).documents[0]["conditions"] == [
        {
            "condition": "gap",
            "subject": "sources/acme",
            "summary": "something may have been missed",
            "since": "2026-11-21T17:00:00.123Z",
            "net": None,
            "cause": None,
            "remedy": None,
            "lived_seconds": 0,
        }
    ]
    said = await home.call("status")
    lines = said.lines
    assert lines[2].startswith("NEEDS ATTENTION  SUBJECT")
    assert lines[3].startswith("gap              sources/acme")
    assert lines[3].endswith("something may have been missed")
    assert (lines[4], lines[5][:6]) == ("", "SOURCE")


@pytest.mark.parametrize(
    ("remedy", "shown"), [("`notifier sweep acme`", "x. What to do: `notifier sweep acme`"), ("x", "x"), ("", "x")]
)
async def test_status_shows_a_condition_uncut_with_its_remedy(home: "Home", remedy: str, shown: str) -> None:
    await home.remember("David Ball")
    long = "it is long, " * 50
    gap = StoredCondition("gap", "sources/acme", f"{long}x", 1_795_280_400_123, remedy=remedy)
    store = FileStore(home.state_file)
    await store.open()
    await store.run(alert_events.write, [ConditionChange(ConditionState.FIRING, gap, "began", None)], gap.since_ms)
    await store.close()
    assert (await home.call("status")).lines[3].endswith(f"{long}{shown}")


async def test_status_with_the_socket_of_a_killed_daemon_reports_no_daemon(home: "Home") -> None:
    await home.remember("David Ball")
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(home.socket))
    said = await home.call("status")
    assert said.code == 0
    assert said.lines[0].startswith("No daemon is running")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "the daemon closed the connection before it answered"),
        (b"SSH-2.0-what\r\n", "the daemon closed the connection before it answered"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{", "the daemon closed the connection before it answered"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{", "the daemon closed the connection before it answered"),
        (
            b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
            + json.dumps({"error": {"reason": "disk_full", "message": "the disk is full"}}).encode(),
            "the daemon says: the disk is full",
        ),
    ],
)
async def test_status_with_an_unusable_answer_exits_1_with_an_error(home: "Home", answer: bytes, told: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(say, home.socket):
        said = await home.call("status")
    assert said.code == 1
    assert told in said.err


async def test_daemon_client_request_to_a_hanging_daemon_times_out(home: "Home") -> None:
    with closing(socket.socket(socket.AF_UNIX)) as hanging:
        hanging.bind(str(home.socket))
        hanging.listen()
        with pytest.raises(CommandError, match=r"has not answered within 0\.1 seconds"):
            daemon_client.request(home.state_file, "GET", "/v1/status", timeout=0.1)


async def test_status_shows_that_names_cannot_be_read(home: "Home", monkeypatch: pytest.MonkeyPatch) -> None:
    await home.remember("David Ball")
    (document,) = (await home.call("status", "--json")).documents
    document["sources"]["acme"]["failing"] = {"names": {"reason": "server_error", "message": "users.list: status 500"}}
    answer = daemon_client.DaemonAnswer(done=True, body=document)
    monkeypatch.setattr(daemon_client, "request", lambda *_: answer)
    (line,) = [line for line in (await home.call("status")).lines if "users.list" in line]
    assert line.split("  ")[-1] == (
        "cannot be read, so filters let events pass if what they check is unknown: users.list: status 500"
    )


async def test_status_shows_the_next_attempt_of_a_retrying_destination(home: "Home") -> None:
    await home.remember("David Ball")
    store = FileStore(home.state_file)
    await store.open()
    retry_at_ms = SystemClock().now_ms() + 7_500_000
    health = Health(HealthState.RETRYING, "server_error", NOW_MS, failures=1, retry_at_ms=retry_at_ms)
    await store.run(destinations.read_or_create, "hr")
    await store.run(destinations.store_health, "hr", health)
    await store.close()
    titles, row = (await home.call("status")).lines[-2:]
    assert row[titles.index("NEXT ATTEMPT") :].startswith("in 2h")


def test_daemon_client_request_with_too_long_a_path_returns_none(home: "Home") -> None:
    assert daemon_client.request(home.folder / ("x" * 200), "GET", "/v1/status") is None


async def test_status_with_a_state_file_in_use_exits_1_and_names_the_process(
    home: "Home",
) -> None:
    await home.remember("David Ball")
    store = FileStore(home.state_file)
    await store.open()
    try:
        said = await home.call("status")
    finally:
        await store.close()
    assert said.code == 1
    assert said.err.startswith(f"Error: process {os.getpid()} uses the state file ")
    assert (await home.call("status")).code == 0


async def test_status_with_exit_code_option_and_no_daemon_exits_1(home: "Home") -> None:
    """Otherwise a check that runs this command would never notice that the daemon has ended."""
    await home.remember("David Ball")
    assert (await home.call("status", "--exit-code")).code == 1
    assert (await home.call("status")).code == 0


async def test_is_failing_with_a_daemon_on_another_host_depends_on_its_sources(home: "Home") -> None:
    await home.remember("David Ball")
    (document,) = (await home.call("status", "--json")).documents
    elsewhere = {**document, "store": {"kind": "postgres", "holder": "first.example.com", "since": None}}
    assert not is_failing(elsewhere)
    failing = {name: {**source, "state": "failing"} for name, source in document["sources"].items()}
    assert is_failing({**elsewhere, "sources": failing})


@pytest.mark.parametrize(
    ("until_ms", "words"),
    [
        (NOW_MS + 60_000, "2 events wait for the schedule of `hr`: until "),
        (NOW_MS - 60_000, "2 events for `hr`: due by its schedule since "),
    ],
)
def test_schedule_line_with_a_past_time_shows_events_as_due(until_ms: int, words: str) -> None:
    assert _schedule_line("hr", 2, until_ms, NOW_MS).startswith(words)
