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
from notifier.web.requests import Replay
from tests.support.command_line import call, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.store.database import Database
    from tests.support.command_line import Api, Home, Receiver

WAITS = "No daemon is running: they wait in the state file until `notifier run` delivers them."
WHEN = ("--since", "2026-11-21", "--until", "2026-11-21")
"""The day of which the events are that these tests remember."""

KEEPS = '[store]\nretention = "36500d"'


@pytest.fixture
def home(home: "Home") -> "Home":
    keep(home)
    return home


def keep(home: "Home") -> None:
    """Forget nothing, whatever the date is when the tests run."""
    home.config.write_text(home.config.read_text().replace("[store]", KEEPS))


async def write(home: "Home", sql: str) -> None:
    def execute(db: "Database") -> None:
        db.execute(sql)

    store = FileStore(home.state_file)
    await store.open()
    try:
        await store.run(execute)
    finally:
        await store.close()


async def remember(home: "Home", count: int) -> None:
    """Remember events that were delivered to hr."""
    await home.remember(*(f"Person {number}" for number in range(count)))
    await write(home, "UPDATE deliveries SET state = 'delivered'")


async def states(home: "Home") -> list[tuple[str, str]]:
    documents = (await home.call("deliveries", "--json")).documents
    return [(document["destination"], document["state"]) for document in documents]


async def test_alone_it_puts_past_events_back_and_says_how_many(home: "Home") -> None:
    await remember(home, 3)
    said = await home.call("replay", *WHEN)
    assert (said.code, said.lines) == (0, ["3 events, 3 deliveries put back into the queue", WAITS])
    assert await states(home) == [("hr", "pending")] * 3
    requeue = await home.call("replay", *WHEN)
    assert requeue.lines == ["0 events, 0 deliveries put back into the queue"]


async def test_a_dry_run_says_how_many_and_changes_nothing(home: "Home") -> None:
    await remember(home, 3)
    home.configure(more='[destinations.late]\ntype = "http"\nurl = "http://127.0.0.1:9/late"\ntraining_ids = ["1046"]')
    keep(home)
    said = await home.call("replay", *WHEN, "--dry-run")
    assert said.lines == ["3 events, 6 deliveries would be put back into the queue", "  hr: 3", "  late: 3"]
    assert await states(home) == [("hr", "delivered")] * 3
    assert (await home.call("replay", *WHEN, "--destination", "late")).code == 0
    assert sorted(await states(home)) == [("hr", "delivered")] * 3 + [("late", "pending")] * 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "2026-11-22", "--until", "2100-01-01"),
        ("--since", "2026-11-01", "--until", "2026-11-20"),
        ("--since", "2026-11-21T17:00:01Z", "--until", "2100-01-01"),
        (*WHEN, "--type", "completion.removed"),
        (*WHEN, "--source", "other"),
    ],
)
async def test_what_is_not_meant_stays_delivered(home: "Home", arguments: tuple[str, ...]) -> None:
    home.configure(more='[sources.other]\nbase_url = "http://127.0.0.1:9/v1"\ntoken = "t"')
    keep(home)
    await remember(home, 2)
    said = await home.call("replay", *arguments)
    assert (said.code, said.lines[0]) == (0, "0 events, 0 deliveries put back into the queue")


async def test_what_is_forgotten_is_said_to_be(home: "Home") -> None:
    home.configure()
    await remember(home, 1)
    said = await home.call("replay", "--since", "2000-01-01", "--dry-run")
    assert said.lines[-1].startswith("Delivered events from before 2")
    assert said.lines[-1].endswith(" were deleted (`retention`) and cannot be sent again.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--since'"),
        (("--since", "yesterday"), "`since` must be a date, 2026-11-21, or a moment, 2026-11-21T17:00:00Z"),
        (("--since", "2026-11-21", "--until", "2026-11-01"), "`until` must be later than `since`"),
        ((*WHEN, "--destination", "hrr"), "there is no destination `hrr`; did you mean `hr`?"),
        ((*WHEN, "--source", "acmee"), "there is no source `acmee`; did you mean `acme`?"),
        ((*WHEN, "--type", "notifier.alert"), "'notifier.alert' is not one of"),
    ],
)
async def test_what_cannot_be_meant_is_wrong_usage(home: "Home", arguments: tuple[str, ...], said: str) -> None:
    answer = await home.call("replay", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


async def test_a_terminal_shows_a_bar(home: "Home") -> None:
    await remember(home, 3)
    shown = await asyncio.to_thread(home.on_terminal, "replay", *WHEN)
    assert shown.code == 0
    assert "━" in shown.out
    assert "3 deliveries" in shown.out


async def test_the_daemon_sends_them_again_under_their_old_ids(home: "Home", api: "Api", receiver: "Receiver") -> None:
    home.configure(api.url, hr=receiver.url)
    keep(home)
    await home.remember("Jorge Miller", "David Ball")

    def ids() -> list[str]:
        return sorted(json.loads(body)["id"] for body in receiver.bodies)

    async def has_both() -> bool:
        return len(receiver.bodies) == 2 and await states(home) == [("hr", "delivered")] * 2

    async with home.daemon():
        await until(has_both)
        first = ids()
        receiver.bodies.clear()
        dry = await home.call("replay", *WHEN, "--dry-run")
        assert dry.lines == ["2 events, 2 deliveries would be put back into the queue", "  hr: 2"]
        said = await home.call("replay", *WHEN)
        assert (said.code, said.lines) == (0, ["2 events, 2 deliveries put back into the queue"])
        await until(has_both)
    assert ids() == first


async def test_it_does_not_flood_and_ends_at_ctrl_c(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    keep(home)
    await remember(home, 1200)

    async def pending() -> int:
        (document,) = (await home.call("status", "--json")).documents
        count: int = document["destinations"]["hr"]["pending"]
        return count

    async def some_wait() -> bool:
        return await pending() > 0

    async with home.daemon():
        await home.call("disable", "hr")
        with home.started("replay", *WHEN) as process:
            await until(some_wait)
            assert await pending() == 500
            second = await home.call("replay", *WHEN)
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
        remaining = await home.call("replay", *WHEN, "--dry-run")
    assert remaining.lines[0] == "700 events, 700 deliveries would be put back into the queue"


async def queued(home: "Home", count: int) -> None:
    async def are_queued() -> bool:
        return f"hr: {count:,} of" in (await home.call("replay", "--status")).out

    await until(are_queued)


async def test_a_daemon_that_stops_meanwhile_goes_on_when_it_is_back(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    keep(home)
    await remember(home, 600)
    async with home.daemon() as daemon:
        await home.call("disable", "hr")
        with home.started("replay", *WHEN) as process:
            await queued(home, 500)
            await home.end(daemon)
            _, err = await asyncio.to_thread(process.communicate, timeout=10)
            assert process.returncode == 1
    assert "the next `notifier run` continues the replay" in err or "closed the connection" in err
    assert "Traceback" not in err
    # Meanwhile it stands in the state file, and nobody begins another.
    (first, *_) = (await home.call("replay", "--status")).lines
    assert first.startswith("replay 1, running since 2")
    second = await home.call("replay", *WHEN)
    assert (second.code, "a replay to `hr` is under way already" in second.err) == (1, True)
    await write(home, "UPDATE deliveries SET state = 'delivered'")
    async with home.daemon():
        await queued(home, 600)


async def test_the_latest_replays_are_told_of_and_the_one_under_way_is_stopped(home: "Home", api: "Api") -> None:
    assert (await home.call("replay", "--status")).code == 1
    home.configure(api.url)
    keep(home)
    await remember(home, 600)
    assert (await home.call("replay", "--status")).lines == ["no replay is stored"]
    await home.call("replay", *WHEN, "--source", "acme")
    await write(home, "UPDATE deliveries SET state = 'delivered'")
    async with home.daemon():
        await home.call("disable", "hr")
        with home.started("replay", *WHEN):
            await queued(home, 500)
        # The command was killed, and the replay was not.
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


def put_back_alone(home: "Home", during: "Callable[[], object]") -> None:
    """Replay five events without a daemon, a few at a time; something happens after the first few."""

    def look(queued: int, _of: int) -> None:
        if queued == 2:
            during()

    asyncio.run(remember(home, 5))
    settings = read_settings(GlobalOptions(home.config))
    replay_offline(settings, Replay(0, 2**42), look)


def status_of_replay(home: "Home") -> str:
    return call("--config", str(home.config), "replay", "--status").lines[0]


def test_alone_ctrl_c_ends_it_for_good(home: "Home", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requeue, "EXAMINED_AT_ONCE", 2)
    with pytest.raises(KeyboardInterrupt):
        put_back_alone(home, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert ", stopped at " in status_of_replay(home)


def test_what_is_cut_off_alone_is_under_way_until_it_is_stopped(home: "Home", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requeue, "EXAMINED_AT_ONCE", 2)
    with pytest.raises(SystemExit):
        put_back_alone(home, sys.exit)
    assert ", running since " in status_of_replay(home)
    assert status_of_replay(home).endswith(": 2 of 5 deliveries put back into the queue")
    assert call("--config", str(home.config), "replay", *WHEN).code == 1
    assert call("--config", str(home.config), "replay", "--stop").code == 0
    assert call("--config", str(home.config), "replay", *WHEN).lines[0].startswith("3 events")


@pytest.mark.parametrize("more", [("--stop",), WHEN, ("--dry-run",), ("--destination", "hr")])
async def test_to_ask_for_the_status_goes_with_nothing_else(home: "Home", more: tuple[str, ...]) -> None:
    answer = await home.call("replay", "--status", *more)
    assert (answer.code, answer.out) == (2, "")
    assert "`--status` and `--stop` cannot be combined with other options" in answer.err


async def test_wrong_usage_is_2_where_there_is_no_configuration_either(home: "Home") -> None:
    home.config.unlink()
    for arguments in ((), ("--dry-run",), ("--status", "--stop"), ("--status", "--since", "2026-11-21")):
        said = await home.call("replay", *arguments)
        assert said.code == 2, arguments
    assert (await home.call("replay", "--since", "2026-11-21")).code == 78
