"""The steps that bring states of the table of truth about, and end them."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from notifier.cli.errors import ExitCode
from notifier.daemon.daemon import EVALUATION_JOB
from notifier.daemon.scheduler import IntervalFromNow
from notifier.store.database import Database
from notifier.web.requests import ReplaySelection
from tests.integration.truth.prometheus import KEPT_MINUTES
from tests.integration.truth.site import Answer, Site
from tests.support.time_lapse import beside

Step = Callable[[Site], Awaitable[None]]


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
    """Put another address into the configuration, and type what the alert says."""
    site.document["destinations"]["hr"]["url"] = f"{site.url}/new"
    site.write()
    await site.types("reload")


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


async def alerts_refused(site: Site) -> None:
    site.receivers["ops"].status = 404
    await receiver(503)(site)


async def other_alerts(site: Site) -> None:
    site.receivers["hr"].status = 200
    site.document["destinations"]["ops"]["url"] = f"{site.url}/ops2"
    site.write()
    await site.types("reload")


async def first_alert_refused(site: Site) -> None:
    site.receivers["ops"].status = 404
    await receiver(410)(site)


async def alerts_taken_again(site: Site) -> None:
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

    await site.daemon._store.run(only_read)


async def writable(site: Site) -> None:
    def write(db: Database) -> None:
        db.execute("PRAGMA query_only = 0")

    await site.daemon._store.run(write)


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
    await site.daemon.operations.sweep("acme")


async def whole(site: Site) -> None:
    site.control.end()
    await site.daemon.operations.sweep("acme")


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
        patch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 900)
        patch.setattr("notifier.daemon.daemon.ACTIVITY_EVERY_SECONDS", 900)
        patch.setattr("notifier.daemon.daemon.EVERY_SECONDS", 900)
        patch.setattr("notifier.daemon.scheduler.CLOCK_CHECK_SECONDS", 900)
        await site.start()
    await site.minutes(2)
    site.api = bad_gateway
    # What it sees is kept for a while only.
    site.prometheus.every_minutes = 60
    await site.minutes(2 * 24 * 60 - KEPT_MINUTES - 60)
    site.daemon._schedule._scheduler.reschedule_job(EVALUATION_JOB, trigger=IntervalFromNow(50))
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
        patch.setattr("notifier.delivery.replay.MAX_WAITING", 10)
        # The command would wait for the end.
        await site.daemon.deliveries.replay(ReplaySelection(0, destination="hr"))
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
    await site.daemon.operations.sweep("acme")


async def second_instance(site: Site) -> None:
    command = [sys.executable, "-m", "notifier", "--config", str(site.config), "run"]
    run = partial(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    second = await beside(run)
    assert second.returncode == ExitCode.FAILED
    assert "in use" in second.stderr
