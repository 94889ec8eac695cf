"""The states of the table of truth: how each comes about, what every surface says in it, and what ends it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from sqlite_utils import Database

from notifier.cli.errors import ExitCode
from notifier.web.requests import Replay
from tests.integration.truth.prometheus import KEPT_MINUTES
from tests.integration.truth.site import Answer, Site

Step = Callable[[Site], Awaitable[None]]


@dataclass(frozen=True)
class State:
    """One row: `make` brings it about, `minutes` later it is looked at.

    `stands` are the conditions then, `told` the alarms so far (None: one for each condition), `source` and
    `destination` the states of acme and hr, `rules` the shipped alerts of Prometheus that fire. `mend` ends it, as
    `remedy` says it in the documentation; `ends` is the last word about each alarm.
    """

    name: str
    make: Step
    minutes: float
    stands: tuple[str, ...] = ()
    told: tuple[str, ...] | None = None
    source: str = "ok"
    destination: str = "ok"
    unready: tuple[str, ...] = ()
    beats: bool = True
    headline: str = "All is well"
    rules: tuple[str, ...] = ()
    fails: bool = False
    mend: Step | None = None
    remedy: str = ""
    ends: str = "resolved"
    ends_after: float = 8.0


def refuses(error: str) -> Answer:
    """Answer as the API refuses."""
    return lambda _method, _parameters: web.json_response({"ok": False, "error": error})


def only(where: Callable[[str, dict[str, Any]], bool], answer: Answer) -> Answer:
    """Answer so only some requests."""
    return lambda method, parameters: answer(method, parameters) if where(method, parameters) else None


def bad_gateway(_method: str, _parameters: dict[str, Any]) -> web.Response:
    return web.Response(status=502, text="<html>")


def garbage(_method: str, _parameters: dict[str, Any]) -> web.Response:
    return web.json_response({"completedtrainings": "none"})


def api(answer: Answer) -> Step:
    """Let the API answer so from now on."""

    async def make(site: Site) -> None:
        site.api = answer

    return make


async def works_again(site: Site) -> None:
    site.api = lambda _method, _parameters: None


def receiver(status: int, body: bytes = b"", events: int = 1) -> Step:
    """Let hr answer so from now on, and let there be something to be sent."""

    async def make(site: Site) -> None:
        site.receivers["hr"].status, site.receivers["hr"].body = status, body
        site.completes(events)

    return make


async def nothing(_site: Site) -> None:
    pass


def types(*arguments: str, code: int | None = 0) -> Step:
    """Type a command."""

    async def make(site: Site) -> None:
        await site.types(*arguments, code=code)

    return make


def after(*steps: Step | float) -> Step:
    """One step after the other; a number is so many minutes."""

    async def make(site: Site) -> None:
        for step in steps:
            if isinstance(step, int | float):
                await site.minutes(step)
            else:
                await step(site)

    return make


def takes_again(site_name: str = "hr") -> Step:
    async def make(site: Site) -> None:
        site.receivers[site_name].status = 200

    return make


async def flickers(site: Site) -> None:
    """Let the API answer one poll in twenty, for two hours."""
    asked = 0

    def answer(method: str, parameters: dict[str, Any]) -> web.Response | None:
        nonlocal asked
        asked += 1
        return None if asked % 20 == 0 else bad_gateway(method, parameters)

    site.api = answer
    await site.minutes(120)


async def one_odd_answer(site: Site) -> None:
    asked = 0

    def answer(method: str, parameters: dict[str, Any]) -> web.Response | None:
        nonlocal asked
        asked += 1
        odd = refuses("database_is_being_moved")(method, parameters)
        return odd if asked == 1 and isinstance(odd, web.Response) else None

    site.api = answer


async def killed_in_a_loop(site: Site) -> None:
    site.api = bad_gateway
    for _ in range(4):
        await site.minutes(8)
        await site.kill()
        await site.start()


async def long_weekend(site: Site) -> None:
    await site.stop()
    await site.passes(3 * 86_400)
    await site.start()


async def new_address(site: Site) -> None:
    """Put another address into the configuration, and type what the alarm says."""
    site.document["destinations"]["hr"]["url"] = f"{site.url}/new"
    site.write()
    await site.types("reload")
    await site.types("enable", "hr")


async def renamed(site: Site) -> None:
    site.document["destinations"]["people"] = site.document["destinations"].pop("hr")
    site.write()
    await site.types("reload")


async def broken_file(site: Site) -> None:
    site.config.write_text(site.config.read_text() + "[nonsense]\n")
    await site.daemon.reload()


async def mended_file(site: Site) -> None:
    site.write()
    await site.types("reload")


async def alarms_refused(site: Site) -> None:
    site.receivers["ops"].status = 404
    await receiver(503)(site)


async def other_alarms(site: Site) -> None:
    site.receivers["hr"].status = 200
    site.document["destinations"]["ops"]["url"] = f"{site.url}/ops2"
    site.write()
    await site.types("reload")


async def first_alarm_refused(site: Site) -> None:
    site.receivers["ops"].status = 404
    await receiver(410)(site)


async def alarms_taken_again(site: Site) -> None:
    site.receivers["ops"].status = 200
    await new_address(site)
    await site.types("retry", "--state", "pending", "--destination", "ops")


async def alerts_moved(site: Site) -> None:
    site.document["destinations"]["ops2"] = {"type": "http", "url": f"{site.url}/ops2", "events": []}
    site.document["alerts"]["destination"] = "ops2"
    site.write()
    await site.types("reload")


async def moved_heartbeat(site: Site) -> None:
    site.beat_status = 301
    site.beats.clear()


async def heartbeat_again(site: Site) -> None:
    site.beat_status = 200


async def unwritable(site: Site) -> None:
    def only_read(db: Database) -> None:
        db.execute("PRAGMA query_only = 1")

    await site.daemon._ledger.run(only_read)


async def writable(site: Site) -> None:
    def write(db: Database) -> None:
        db.execute("PRAGMA query_only = 0")

    await site.daemon._ledger.run(write)


async def second_source(site: Site) -> None:
    """Add a source whose token is wrong."""
    site.document["sources"]["zenith"] = {**site.document["sources"]["acme"], "token": "another"}
    site.write()
    await site.types("reload")


async def first_scan(site: Site) -> None:
    """Add a source whose first scan takes its time."""

    async def slowly(_method: str, parameters: dict[str, Any]) -> None:
        if parameters.get("limit") == 1000:
            await asyncio.sleep(25)

    site.api = slowly
    site.document["sources"]["zenith"] = {**site.document["sources"]["acme"], "token": "sandbox"}
    site.write()
    await site.types("reload")


async def without_second(site: Site) -> None:
    del site.document["sources"]["zenith"]
    site.write()
    await site.types("reload")


async def nobody_hears(site: Site) -> None:
    site.document["alerts"] = {}
    site.write()
    await site.types("reload")
    site.beats.clear()


async def wrong_clock(site: Site) -> None:
    site.clock.set_by_ms = -3_600_000


async def right_clock(site: Site) -> None:
    site.clock.set_by_ms = 0


async def dead_letters(site: Site) -> None:
    site.document["destinations"]["hr"]["give_up_after"] = "20m"
    site.document["destinations"]["hr"]["retry_max"] = "1m"
    site.write()
    await site.types("reload")
    site.receivers["hr"].refuses_next = True
    for _ in range(5):
        site.completes()
        await site.minutes(1)


async def accepted(site: Site) -> None:
    site.receivers["hr"].refused = ""


async def names_wanted(site: Site) -> None:
    site.api = only(lambda method, _: method.startswith("users"), refuses("token_permission"))
    site.document["sources"]["acme"]["names"] = True
    site.write()
    await site.types("reload")


async def often_scanned(site: Site) -> None:
    site.document["sources"]["acme"]["sweep_interval"] = "20m"
    site.write()
    await site.types("reload")
    site.api = only(lambda _, parameters: parameters.get("limit") == 1000, bad_gateway)


async def halved(site: Site) -> None:
    site.control.begin("halved")
    await site.daemon.sweep("acme")


async def whole(site: Site) -> None:
    site.control.end()
    await site.daemon.sweep("acme")


async def event_refused(site: Site) -> None:
    """Let one event be refused, and all others be taken."""
    site.receivers["hr"].refuses_next = True
    site.completes()
    await site.minutes(2)
    for _ in range(3):
        site.completes()
        await site.minutes(1)


async def drop_refused(site: Site) -> None:
    said = await site.types("deliveries", "--state", "pending", "--destination", "hr", "--json")
    for line in said.out.splitlines():
        await site.types("deliveries", "drop", json.loads(line)["event"], "--destination", "hr", "--yes")


async def down_for_days(site: Site) -> None:
    """Let the API be away for two days, and the daemon look more rarely, so that the test is quick."""
    await site.stop()
    site.document["sources"]["acme"]["poll_interval"] = "1h"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("notifier.daemon.daemon.ALARMS_EVERY", 50)
        await site.start()
    await site.minutes(2)
    site.api = bad_gateway
    # What it sees is kept for a while only.
    site.prometheus.every_minutes = 60
    await site.minutes(2 * 24 * 60 - KEPT_MINUTES - 60)
    site.prometheus.every_minutes = 4
    await site.minutes(KEPT_MINUTES + 60)


async def replaying(site: Site) -> None:
    """Let a month's events be sent again, at a pace that takes a while."""
    for _ in range(30):
        site.completes()
        await site.minutes(1)
    await site.stop()
    await site.passes(30 * 86_400)
    site.document["destinations"]["hr"]["rate"] = 0.01
    await site.start()
    await site.minutes(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("notifier.delivery.replay.MOST_WAITING", 10)
        # The command would wait for the end.
        await site.daemon.deliveries.replay(Replay(0, destination="hr"))
        async with asyncio.timeout(20):
            # Reading does not wait for what is being written meanwhile.
            while (seen := (await site.look()).status)["destinations"]["hr"]["pending"] < 10:
                await asyncio.sleep(0.01)
        (under_way,) = seen["replays"]
        assert under_way["destination"] == "hr"
        assert under_way["queued"] < under_way["deliveries"] == 31
        assert seen["destinations"]["hr"]["pending"] == 10
        said = await site.types("status")
    assert f"A replay to `hr` is running: {under_way['queued']} of 31 deliveries put back" in said.out


async def port_taken(site: Site) -> None:
    """Let another program have the port of the interface."""
    await site.stop()
    site.take_port()
    await site.start()


async def port_free(site: Site) -> None:
    site.free_port()


async def room_is_short(site: Site) -> None:
    site.room[0] = 10**8


async def room_again(site: Site) -> None:
    site.room[0] = 10**12


async def damaged(site: Site) -> None:
    """Damage the state file while no daemon runs, and let no scan tell yet what became of the list."""
    await site.stop()
    (site.folder / "notifier.db").write_bytes(b"no database " * 1000)
    pages = 0

    def scans(_method: str, parameters: dict[str, Any]) -> bool:
        nonlocal pages
        pages += parameters.get("limit") == 1000
        return parameters.get("limit") == 1000 and pages > 1

    site.api = only(scans, bad_gateway)
    await site.start()


async def scanned(site: Site) -> None:
    await site.daemon.sweep("acme")


async def second_instance(site: Site) -> None:
    command = [sys.executable, "-m", "notifier", "--config", str(site.config), "run"]
    second = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == ExitCode.FAILED
    assert "in use" in second.stderr


STATES = (
    State("all is well", nothing, 3),
    State("nothing was sent yet", nothing, 3, destination="untried"),
    State(
        "the first sweep of a source is running",
        first_scan,
        0.3,
        headline="Starting: the first sweep of zenith is at page 1",
        mend=nothing,
        remedy="nothing to do",
    ),
    State("a sweep was due while the daemon did not run for days", long_weekend, 3, told=()),
    State("the API gives one odd answer", one_odd_answer, 3, told=()),
    State(
        "the API is down for a minute",
        api(bad_gateway),
        1.5,
        source="failing",
        headline="Nothing is lost, but acme cannot be read at the moment",
        fails=True,
        mend=works_again,
        remedy="nothing to do",
    ),
    State(
        "the API is down for an hour",
        api(bad_gateway),
        60,
        ("source_failing",),
        source="failing",
        unready=("acme",),
        beats=False,
        rules=("NotifierSourceFailing",),
        mend=works_again,
        remedy="`notifier poll SOURCE` tries at once",
    ),
    State(
        "the API is down for two days",
        down_for_days,
        0,
        ("source_failing",),
        told=("firing source_failing",) * 2,
        source="failing",
        unready=("acme",),
        beats=False,
        rules=("NotifierSourceFailing",),
        mend=works_again,
        remedy="`notifier poll SOURCE` tries at once",
        ends_after=250,
    ),
    State(
        "the API answers nonsense",
        api(garbage),
        25,
        ("source_failing",),
        source="failing",
        unready=("acme",),
        beats=False,
        rules=("NotifierSourceFailing",),
        mend=works_again,
        remedy="check `base_url`",
    ),
    State(
        "the API answers one poll in twenty",
        flickers,
        1,
        ("source_failing",),
        source="failing",
        unready=("acme",),
        beats=False,
        rules=("NotifierSourceFailing",),
        mend=works_again,
        remedy="nothing to do",
    ),
    State(
        "the token is revoked",
        api(refuses("token_inactive")),
        25,
        ("source_failing",),
        source="failing",
        unready=("acme",),
        beats=False,
        rules=("NotifierSourceFailing",),
        mend=after(works_again, types("poll", "acme")),
        remedy="enter a valid `token`, then `notifier reload` and `notifier poll SOURCE`",
    ),
    State(
        "the API's rate limit is exceeded again and again",
        api(refuses("rate_limit_exceeded")),
        25,
        ("source_failing",),
        source="rate_limited",
        unready=("acme",),
        beats=False,
        rules=("NotifierSourceRateLimited",),
        mend=works_again,
        remedy="lower `requests_per_minute`",
    ),
    State(
        "sweeps fail, but polls succeed",
        often_scanned,
        45,
        ("sweep_failing",),
        rules=("NotifierCondition",),
        mend=works_again,
        remedy="`notifier check --online` shows what is refused",
    ),
    State(
        "the token may not read names",
        names_wanted,
        75,
        ("names_unknown",),
        rules=("NotifierCondition",),
        mend=works_again,
        remedy="give the token that permission",
        ends_after=15,
    ),
    State(
        "half of the list is missing at once",
        halved,
        18,
        ("removals_held",),
        rules=("NotifierHeldBack",),
        mend=whole,
        remedy="`notifier release SOURCE removals`, or correct the filter",
    ),
    State(
        "the receiver is down for a minute",
        receiver(503),
        2,
        destination="retrying",
        headline="Nothing is lost, but hr is being retried",
        fails=True,
        mend=takes_again(),
        remedy="nothing to do",
    ),
    State(
        "the receiver is down for an hour",
        receiver(503),
        60,
        ("destination_failing",),
        destination="retrying",
        rules=("NotifierDestinationFailing",),
        mend=after(takes_again(), types("retry", "--state", "pending", "--destination", "hr")),
        remedy="`notifier retry --state pending --destination NAME` tries at once",
    ),
    State(
        "the receiver refuses everything",
        receiver(404, events=5),
        60,
        ("destination_failing",),
        destination="retrying",
        rules=("NotifierDestinationFailing",),
        mend=after(takes_again(), types("retry", "--state", "pending", "--destination", "hr")),
        remedy="check `url` and `headers`; `notifier retry --state pending --destination NAME`",
    ),
    State(
        "the receiver refuses one event and accepts others",
        event_refused,
        25,
        ("destination_behind",),
        rules=("NotifierDestinationBehind",),
        mend=drop_refused,
        remedy="`notifier deliveries drop EVENT_ID --destination NAME --yes`",
    ),
    State(
        "the receiver is gone for good (410)",
        receiver(410),
        8,
        ("destination_disabled",),
        destination="disabled",
        rules=("NotifierDestinationDisabled",),
        mend=new_address,
        remedy="enter the new `url`, then `notifier reload` and `notifier enable NAME`",
    ),
    State(
        "a failing destination is disabled by hand",
        after(receiver(503), 25, types("disable", "hr")),
        2,
        told=("firing destination_failing", "withdrawn destination_failing"),
        destination="disabled",
        headline="Nothing is lost, but hr is disabled",
        mend=after(takes_again(), types("enable", "hr")),
        remedy="`notifier enable NAME`",
    ),
    State(
        "deliveries were given up",
        dead_letters,
        45,
        ("deliveries_dead",),
        told=("firing destination_behind", "withdrawn destination_behind", "firing deliveries_dead"),
        rules=("NotifierDeliveriesDead",),
        mend=after(accepted, types("retry", "--destination", "hr")),
        remedy="`notifier retry --destination NAME`",
    ),
    State(
        "dead deliveries are retried and refused again",
        after(dead_letters, 45, types("retry", "--destination", "hr")),
        3,
        ("deliveries_dead",),
        told=("firing destination_behind", "withdrawn destination_behind", "firing deliveries_dead"),
        destination="retrying",
        rules=("NotifierDeliveriesDead",),
        mend=after(accepted, types("retry", "--state", "pending", "--destination", "hr")),
        remedy="repair the receiver first",
    ),
    State(
        "a failing destination is renamed",
        after(receiver(503), 25, renamed),
        5,
        ("deliveries_orphaned",),
        told=("firing destination_failing", "withdrawn destination_failing", "firing deliveries_orphaned"),
        destination="",
        rules=("NotifierCondition",),
        mend=after(takes_again(), types("deliveries", "move", "hr", "people")),
        remedy="`notifier deliveries move OLD NEW`, `notifier deliveries drop OLD --yes`, or the old name again",
    ),
    State("past events are sent again (a replay)", replaying, 10, told=()),
    State(
        "the disk is nearly full",
        room_is_short,
        5,
        ("disk_nearly_full",),
        rules=("NotifierDiskNearlyFull",),
        mend=room_again,
        remedy="free disk space",
    ),
    State(
        "the state file was damaged and has been rebuilt",
        damaged,
        5,
        ("state_rebuilt",),
        destination="untried",
        rules=("NotifierCondition",),
        mend=after(works_again, scanned),
        remedy="nothing to do: the next sweep ends it; check the disk",
    ),
    State(
        "another program uses the port of the HTTP interface",
        port_taken,
        3,
        ("interface_down",),
        rules=("NotifierCondition",),
        mend=port_free,
        remedy="`ss -ltnp` shows which program; the daemon tries again every ten seconds",
    ),
    State("a second daemon is started on the same state file", second_instance, 3, told=()),
    State(
        "the state file cannot be written",
        unwritable,
        5,
        ("store_unwritable",),
        source="failing",
        unready=("acme",),
        beats=False,
        rules=("NotifierStoreUnwritable",),
        mend=writable,
        remedy="free disk space or mount the disk writable; the daemon continues by itself",
    ),
    State(
        "the clock is wrong",
        wrong_clock,
        12,
        ("clock_off",),
        rules=("NotifierClockOff",),
        mend=right_clock,
        remedy="`timedatectl set-ntp true`",
    ),
    State(
        "a wrong configuration is reloaded",
        broken_file,
        5,
        ("configuration_broken",),
        rules=("NotifierCondition",),
        mend=mended_file,
        remedy="correct the file, then `notifier reload`",
    ),
    State(
        "the daemon is killed again and again while the API is down",
        killed_in_a_loop,
        3,
        ("restarting", "source_failing"),
        source="failing",
        unready=("acme",),
        beats=False,
        rules=("NotifierRestarting", "NotifierSourceFailing"),
        mend=works_again,
        remedy="`journalctl -u notifier -p warning`",
        ends_after=65,
    ),
    State(
        "the first alert is refused",
        first_alarm_refused,
        3,
        ("destination_disabled", "alerts_undelivered"),
        told=(),
        destination="disabled",
        mend=alarms_taken_again,
        remedy="`notifier test NAME` shows why; correct it, then `notifier retry --state pending --destination NAME`",
        ends="",
    ),
    State(
        "alerts are refused",
        alarms_refused,
        40,
        ("destination_failing", "alerts_undelivered"),
        told=(),
        destination="retrying",
        unready=("alerts",),
        beats=False,
        rules=("NotifierAlertsUndelivered", "NotifierDestinationFailing"),
        mend=other_alarms,
        remedy="set another `[alerts] destination`, then `notifier reload`",
        ends="",
        ends_after=15,
    ),
    State(
        "`[alerts] destination` is changed while a condition is active",
        after(receiver(503), 25, alerts_moved),
        2,
        ("destination_failing",),
        told=("firing destination_failing", "withdrawn alerts_moved", "firing destination_failing"),
        destination="retrying",
        rules=("NotifierDestinationFailing",),
        mend=after(takes_again(), types("retry", "--state", "pending", "--destination", "hr")),
        remedy="nothing to do: both destinations are told which conditions are active",
    ),
    State(
        "the heartbeat URL redirects",
        moved_heartbeat,
        20,
        ("heartbeat_failing",),
        beats=False,
        rules=("NotifierCondition",),
        mend=heartbeat_again,
        remedy="set `heartbeat_url` to the address that answers 200",
    ),
    State(
        "one of two sources fails",
        second_source,
        25,
        ("source_failing",),
        unready=("zenith",),
        rules=("NotifierSourceFailing",),
        mend=without_second,
        remedy="enter a valid `token`, then `notifier reload`",
        ends="withdrawn",
    ),
    State("no alerts are configured", nobody_hears, 4, told=(), beats=False),
)
"""The order is that of the documentation."""
