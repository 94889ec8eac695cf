"""`notifier replay`, with and without a running daemon."""

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from notifier.cli.context import read_settings
from notifier.cli.global_options import GlobalOptions
from notifier.cli.offline_deliveries import replay_offline
from notifier.store.file.store import FileStore
from notifier.store.tables import requeue
from notifier.web.requests import ReplaySelection
from tests.support.command_line import call, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.store.database import Database
    from tests.support.command_line import Api, Home, Receiver

WAITING_NOTE = "No daemon is running: they wait in the state file until `notifier run` delivers them."
DAY_OPTIONS = ("--since", "2026-11-21", "--until", "2026-11-21")
"""Options that select the day of the stored events."""

LONG_RETENTION = '[store]\nretention = "36500d"'


@pytest.fixture
def home(home: "Home") -> "Home":
    set_long_retention(home)
    return home


def set_long_retention(home: "Home") -> None:
    """Set a retention that keeps the stored events, on whatever date the tests run."""
    home.config.write_text(home.config.read_text().replace("[store]", LONG_RETENTION))


async def execute_sql(home: "Home", sql: str) -> None:
    def execute(db: "Database") -> None:
        db.execute(sql)

    store = FileStore(home.state_file)
    await store.open()
    try:
        await store.run(execute)
    finally:
        await store.close()


async def store_delivered_events(home: "Home", count: int) -> None:
    """Store events that were delivered to the destination `hr`."""
    await home.remember(*(f"Person {number}" for number in range(count)))
    await execute_sql(home, "UPDATE deliveries SET state = 'delivered'")


async def delivery_states(home: "Home") -> list[tuple[str, str]]:
    documents = (await home.call("deliveries", "--json")).documents
    return [(document["destination"], document["state"]) for document in documents]


async def test_replay_without_a_daemon_queues_past_events_and_prints_their_number(home: "Home") -> None:
    await store_delivered_events(home, 3)
    said = await home.call("replay", *DAY_OPTIONS)
    assert (said.code, said.lines) == (0, ["3 events, 3 deliveries put back into the queue", WAITING_NOTE])
    assert await delivery_states(home) == [("hr", "pending")] * 3
    requeue = await home.call("replay", *DAY_OPTIONS)
    assert requeue.lines == ["0 events, 0 deliveries put back into the queue"]


async def test_replay_dry_run_prints_the_numbers_and_changes_nothing(home: "Home") -> None:
    await store_delivered_events(home, 3)
    home.configure(more='[destinations.late]\ntype = "http"\nurl = "http://127.0.0.1:9/late"\ntraining_ids = ["1046"]')
    set_long_retention(home)
    said = await home.call("replay", *DAY_OPTIONS, "--dry-run")
    assert said.lines == ["3 events, 6 deliveries would be put back into the queue", "  hr: 3", "  late: 3"]
    assert await delivery_states(home) == [("hr", "delivered")] * 3
    assert (await home.call("replay", *DAY_OPTIONS, "--destination", "late")).code == 0
    assert sorted(await delivery_states(home)) == [("hr", "delivered")] * 3 + [("late", "pending")] * 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "2026-11-22", "--until", "2100-01-01"),
        ("--since", "2026-11-01", "--until", "2026-11-20"),
        ("--since", "2026-11-21T17:00:01Z", "--until", "2100-01-01"),
        (*DAY_OPTIONS, "--type", "completion.removed"),
        (*DAY_OPTIONS, "--source", "other"),
    ],
)
async def test_replay_does_not_queue_events_that_its_options_exclude(home: "Home", arguments: tuple[str, ...]) -> None:
    home.configure(more='[sources.other]\nbase_url = "http://127.0.0.1:9/v1"\ntoken = "t"')
    set_long_retention(home)
    await store_delivered_events(home, 2)
    said = await home.call("replay", *arguments)
    assert (said.code, said.lines[0]) == (0, "0 events, 0 deliveries put back into the queue")


async def test_replay_reports_events_deleted_by_retention(home: "Home") -> None:
    home.configure()
    await store_delivered_events(home, 1)
    said = await home.call("replay", "--since", "2000-01-01", "--dry-run")
    assert said.lines[-1].startswith("Delivered events from before 2")
    assert said.lines[-1].endswith(" were deleted (`retention`) and cannot be sent again.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--since'"),
        (("--since", "yesterday"), "`since` must be a date, 2026-11-21, or a moment, 2026-11-21T17:00:00Z"),
        (("--since", "2026-11-21", "--until", "2026-11-01"), "`until` must be later than `since`"),
        ((*DAY_OPTIONS, "--destination", "hrr"), "there is no destination `hrr`; did you mean `hr`?"),
        ((*DAY_OPTIONS, "--source", "acmee"), "there is no source `acmee`; did you mean `acme`?"),
        ((*DAY_OPTIONS, "--type", "notifier.alert"), "'notifier.alert' is not one of"),
    ],
)
async def test_replay_rejects_missing_or_invalid_options(home: "Home", arguments: tuple[str, ...], said: str) -> None:
    answer = await home.call("replay", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


async def test_replay_on_a_terminal_shows_a_progress_bar(home: "Home") -> None:
    await store_delivered_events(home, 3)
    shown = await asyncio.to_thread(home.on_terminal, "replay", *DAY_OPTIONS)
    assert shown.code == 0
    assert "━" in shown.out
    assert "3 deliveries" in shown.out


async def test_replay_through_a_daemon_keeps_the_event_ids(home: "Home", api: "Api", receiver: "Receiver") -> None:
    home.configure(api.url, hr=receiver.url)
    set_long_retention(home)
    await home.remember("Jorge Miller", "David Ball")

    def ids() -> list[str]:
        return sorted(json.loads(body)["id"] for body in receiver.bodies)

    async def has_both() -> bool:
        return len(receiver.bodies) == 2 and await delivery_states(home) == [("hr", "delivered")] * 2

    async with home.daemon():
        await until(has_both)
        first = ids()
        receiver.bodies.clear()
        dry = await home.call("replay", *DAY_OPTIONS, "--dry-run")
        assert dry.lines == ["2 events, 2 deliveries would be put back into the queue", "  hr: 2"]
        said = await home.call("replay", *DAY_OPTIONS)
        assert (said.code, said.lines) == (0, ["2 events, 2 deliveries put back into the queue"])
        await until(has_both)
    assert ids() == first


async def test_replay_queues_at_most_500_deliveries_and_stops_at_ctrl_c(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    set_long_retention(home)
    await store_delivered_events(home, 1200)

    async def pending() -> int:
        (document,) = (await home.call("status", "--json")).documents
        count: int = document["destinations"]["hr"]["pending"]
        return count

    async def some_wait() -> bool:
        return await pending() > 0

    async with home.daemon():
        await home.call("disable", "hr")
        with home.started("replay", *DAY_OPTIONS) as process:
            await until(some_wait)
            assert await pending() == 500
            second = await home.call("replay", *DAY_OPTIONS)
            assert (second.code, second.out) == (1, "")
            assert "a replay to `hr` is under way already" in second.err
            said = await home.end(process, signal.SIGINT)
            assert process.returncode == 130
        assert said.splitlines() == [
            "stopped: deliveries that are already in the queue are sent, the rest is not added to the queue",
            "  hr: 500 of 1,200 deliveries, stopped",
            "  a new one with `--since 2026-11-21T17:00:00.123Z` continues it",
            "",
        ]
        remaining = await home.call("replay", *DAY_OPTIONS, "--dry-run")
    assert remaining.lines[0] == "700 events, 700 deliveries would be put back into the queue"


async def wait_until_queued(home: "Home", count: int) -> None:
    async def are_queued() -> bool:
        return f"hr: {count:,} of" in (await home.call("replay", "--status")).out

    await until(are_queued)


async def test_replay_continues_after_a_restart_of_the_daemon(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    set_long_retention(home)
    await store_delivered_events(home, 600)
    async with home.daemon() as daemon:
        await home.call("disable", "hr")
        with home.started("replay", *DAY_OPTIONS) as process:
            await wait_until_queued(home, 500)
            await home.end(daemon)
            _, err = await asyncio.to_thread(process.communicate, timeout=10)
            assert process.returncode == 1
    assert "the next `notifier run` continues the replay" in err or "closed the connection" in err
    assert "Traceback" not in err
    # The unfinished replay is in the state file, and no other replay can begin.
    (first, *_) = (await home.call("replay", "--status")).lines
    assert first.startswith("replay 1, running since 2")
    second = await home.call("replay", *DAY_OPTIONS)
    assert (second.code, "a replay to `hr` is under way already" in second.err) == (1, True)
    await execute_sql(home, "UPDATE deliveries SET state = 'delivered'")
    async with home.daemon():
        await wait_until_queued(home, 600)


async def test_replay_status_lists_the_latest_and_stop_ends_the_running_one(home: "Home", api: "Api") -> None:
    assert (await home.call("replay", "--status")).code == 1
    home.configure(api.url)
    set_long_retention(home)
    await store_delivered_events(home, 600)
    assert (await home.call("replay", "--status")).lines == ["no replay is stored"]
    await home.call("replay", *DAY_OPTIONS, "--source", "acme")
    await execute_sql(home, "UPDATE deliveries SET state = 'delivered'")
    async with home.daemon():
        await home.call("disable", "hr")
        with home.started("replay", *DAY_OPTIONS):
            await wait_until_queued(home, 500)
        # The command was killed, but the daemon continues the replay.
        assert "running" in (await home.call("replay", "--status")).lines[0]
    told = (await home.call("replay", "--stop")).lines
    assert told[0].startswith("replay 2, stopped at 2")
    assert told[0].endswith(": 500 of 600 deliveries put back into the queue")
    assert told[1:3] == [
        "  events detected from 2026-11-21T00:00:00.000Z to 2026-11-22T00:00:00.000Z",
        "  hr: 500 of 600, stopped",
    ]
    assert told[3].startswith("replay 1, done at 2")
    assert told[4].endswith("2026-11-22T00:00:00.000Z, source acme")
    async with home.daemon():
        assert (await home.call("replay", "--stop")).lines == told


def replay_offline_and_call(home: "Home", during: "Callable[[], object]") -> None:
    """Replay five events without a daemon; call `during` when two of them are in the queue."""

    def show_progress(queued: int, _of: int) -> None:
        if queued == 2:
            during()

    asyncio.run(store_delivered_events(home, 5))
    settings = read_settings(GlobalOptions(home.config))
    replay_offline(settings, ReplaySelection(0, 2**42), show_progress)


def replay_status_line(home: "Home") -> str:
    return call("--config", str(home.config), "replay", "--status").lines[0]


def test_replay_without_a_daemon_is_stopped_by_ctrl_c(home: "Home", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requeue, "EXAMINED_AT_ONCE", 2)
    with pytest.raises(KeyboardInterrupt):
        replay_offline_and_call(home, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert ", stopped at " in replay_status_line(home)


def test_replay_cut_off_offline_counts_as_running_until_stopped(home: "Home", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requeue, "EXAMINED_AT_ONCE", 2)
    with pytest.raises(SystemExit):
        replay_offline_and_call(home, sys.exit)
    assert ", running since " in replay_status_line(home)
    assert replay_status_line(home).endswith(": 2 of 5 deliveries put back into the queue")
    assert call("--config", str(home.config), "replay", *DAY_OPTIONS).code == 1
    assert call("--config", str(home.config), "replay", "--stop").code == 0
    assert call("--config", str(home.config), "replay", *DAY_OPTIONS).lines[0].startswith("3 events")


@pytest.mark.parametrize("more", [("--stop",), DAY_OPTIONS, ("--dry-run",), ("--destination", "hr")])
async def test_replay_status_rejects_other_options(home: "Home", more: tuple[str, ...]) -> None:
    answer = await home.call("replay", "--status", *more)
    assert (answer.code, answer.out) == (2, "")
    assert "`--status` and `--stop` cannot be combined with other options" in answer.err


async def test_replay_without_a_configuration_exits_with_2_on_wrong_usage(home: "Home") -> None:
    home.config.unlink()
    for arguments in ((), ("--dry-run",), ("--status", "--stop"), ("--status", "--since", "2026-11-21")):
        said = await home.call("replay", *arguments)
        assert said.code == 2, arguments
    assert (await home.call("replay", "--since", "2026-11-21")).code == 78
