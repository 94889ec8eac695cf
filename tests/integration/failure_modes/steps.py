"""The steps that put an installation into the states of the table, and end these states."""

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
from tests.integration.failure_modes.prometheus import KEPT_MINUTES
from tests.integration.failure_modes.site import Answer, Site
from tests.support.time_lapse import beside

Step = Callable[[Site], Awaitable[None]]


def refusal(error: str) -> Answer:
    """Return an answer in which the API reports an error."""
    return lambda _method, _parameters: web.json_response({"ok": False, "error": error})


def for_requests(where: Callable[[str, dict[str, Any]], bool], answer: Answer) -> Answer:
    """Return an answer that is given only to requests for which `where` is true."""
    return lambda method, parameters: answer(method, parameters) if where(method, parameters) else None


def bad_gateway(_method: str, _parameters: dict[str, Any]) -> web.Response:
    return web.Response(status=502, text="<html>")


def invalid_answer(_method: str, _parameters: dict[str, Any]) -> web.Response:
    return web.json_response({"completedtrainings": "none"})


def api_answers(answer: Answer) -> Step:
    """Return a step after which the API gives this answer."""

    async def step(site: Site) -> None:
        site.api = answer

    return step


async def api_recovers(site: Site) -> None:
    site.api = lambda _method, _parameters: None


def receiver_answers(status: int, body: bytes = b"", events: int = 1) -> Step:
    """Return a step after which `hr` gives this answer; it also enters completions."""

    async def step(site: Site) -> None:
        site.receivers["hr"].status, site.receivers["hr"].body = status, body
        site.enter_completions(events)

    return step


async def do_nothing(_site: Site) -> None:
    pass


def run_command(*arguments: str, code: int | None = 0) -> Step:
    """Return a step that runs a command."""

    async def step(site: Site) -> None:
        await site.run_command(*arguments, code=code)

    return step


def sequence(*steps: Step | float) -> Step:
    """Return a step that runs several steps; a number is a wait in minutes."""

    async def step(site: Site) -> None:
        for step in steps:
            if isinstance(step, int | float):
                await site.wait_minutes(step)
            else:
                await step(site)

    return step


def receiver_recovers(site_name: str = "hr") -> Step:
    async def step(site: Site) -> None:
        site.receivers[site_name].status = 200

    return step


async def api_answers_rarely(site: Site) -> None:
    """Let the API answer only every twentieth request for two hours."""
    requests = 0

    def answer(method: str, parameters: dict[str, Any]) -> web.Response | None:
        nonlocal requests
        requests += 1
        return None if requests % 20 == 0 else bad_gateway(method, parameters)

    site.api = answer
    await site.wait_minutes(120)


async def api_answers_oddly_once(site: Site) -> None:
    requests = 0

    def answer(method: str, parameters: dict[str, Any]) -> web.Response | None:
        nonlocal requests
        requests += 1
        odd = refusal("database_is_being_moved")(method, parameters)
        return odd if requests == 1 and isinstance(odd, web.Response) else None

    site.api = answer


async def kill_repeatedly(site: Site) -> None:
    site.api = bad_gateway
    for _ in range(4):
        await site.wait_minutes(8)
        await site.kill()
        await site.start()


async def stop_for_three_days(site: Site) -> None:
    await site.stop()
    await site.skip_seconds(3 * 86_400)
    await site.start()


async def change_receiver_url(site: Site) -> None:
    """Change the URL of `hr` in the configuration, and reload it."""
    site.document["destinations"]["hr"]["url"] = f"{site.url}/new"
    site.write_configuration()
    await site.run_command("reload")


async def rename_destination(site: Site) -> None:
    site.document["destinations"]["people"] = site.document["destinations"].pop("hr")
    site.write_configuration()
    await site.run_command("reload")


async def break_configuration(site: Site) -> None:
    site.config.write_text(site.config.read_text() + "[nonsense]\n")
    await site.daemon.reload()


async def correct_configuration(site: Site) -> None:
    site.write_configuration()
    await site.run_command("reload")


async def refuse_alerts(site: Site) -> None:
    site.receivers["ops"].status = 404
    await receiver_answers(503)(site)


async def change_alerts_url(site: Site) -> None:
    site.receivers["hr"].status = 200
    site.document["destinations"]["ops"]["url"] = f"{site.url}/ops2"
    site.write_configuration()
    await site.run_command("reload")


async def refuse_first_alert(site: Site) -> None:
    site.receivers["ops"].status = 404
    await receiver_answers(410)(site)


async def accept_alerts(site: Site) -> None:
    site.receivers["ops"].status = 200
    await change_receiver_url(site)
    await site.run_command("retry", "--state", "pending", "--destination", "ops")


async def change_alerts_destination(site: Site) -> None:
    site.document["destinations"]["ops2"] = {"type": "http", "url": f"{site.url}/ops2", "events": []}
    site.document["alerts"]["destination"] = "ops2"
    site.write_configuration()
    await site.run_command("reload")


async def redirect_heartbeat(site: Site) -> None:
    site.heartbeat_status = 301
    site.heartbeats.clear()


async def accept_heartbeat(site: Site) -> None:
    site.heartbeat_status = 200


async def make_store_read_only(site: Site) -> None:
    def set_read_only(db: Database) -> None:
        db.execute("PRAGMA query_only = 1")

    await site.daemon._store.run(set_read_only)


async def make_store_writable(site: Site) -> None:
    def set_writable(db: Database) -> None:
        db.execute("PRAGMA query_only = 0")

    await site.daemon._store.run(set_writable)


async def add_source_with_wrong_token(site: Site) -> None:
    """Add a source whose token is wrong."""
    site.document["sources"]["zenith"] = {**site.document["sources"]["acme"], "token": "another"}
    site.write_configuration()
    await site.run_command("reload")


async def add_slow_source(site: Site) -> None:
    """Add a source whose first sweep is slow."""

    async def slowly(_method: str, parameters: dict[str, Any]) -> None:
        if parameters.get("limit") == 1000:
            await asyncio.sleep(25)

    site.api = slowly
    site.document["sources"]["zenith"] = {**site.document["sources"]["acme"], "token": "sandbox"}
    site.write_configuration()
    await site.run_command("reload")


async def remove_second_source(site: Site) -> None:
    del site.document["sources"]["zenith"]
    site.write_configuration()
    await site.run_command("reload")


async def remove_alert_settings(site: Site) -> None:
    site.document["alerts"] = {}
    site.write_configuration()
    await site.run_command("reload")
    site.heartbeats.clear()


async def set_clock_back(site: Site) -> None:
    site.clock.set_by_ms = -3_600_000


async def correct_clock(site: Site) -> None:
    site.clock.set_by_ms = 0


async def give_up_delivery(site: Site) -> None:
    site.document["destinations"]["hr"]["give_up_after"] = "20m"
    site.document["destinations"]["hr"]["retry_max"] = "1m"
    site.write_configuration()
    await site.run_command("reload")
    site.receivers["hr"].refuses_next = True
    for _ in range(5):
        site.enter_completions()
        await site.wait_minutes(1)


async def accept_refused_event(site: Site) -> None:
    site.receivers["hr"].refused = ""


async def forbid_names(site: Site) -> None:
    site.api = for_requests(lambda method, _: method.startswith("users"), refusal("token_permission"))
    site.document["sources"]["acme"]["names"] = True
    site.write_configuration()
    await site.run_command("reload")


async def fail_sweeps(site: Site) -> None:
    site.document["sources"]["acme"]["sweep_interval"] = "20m"
    site.write_configuration()
    await site.run_command("reload")
    site.api = for_requests(lambda _, parameters: parameters.get("limit") == 1000, bad_gateway)


async def halve_list(site: Site) -> None:
    site.control.begin("halved")
    await site.daemon.operations.sweep("acme")


async def restore_list(site: Site) -> None:
    site.control.end()
    await site.daemon.operations.sweep("acme")


async def refuse_one_event(site: Site) -> None:
    """Let the receiver refuse one event and accept all others."""
    site.receivers["hr"].refuses_next = True
    site.enter_completions()
    await site.wait_minutes(2)
    for _ in range(3):
        site.enter_completions()
        await site.wait_minutes(1)


async def drop_refused_delivery(site: Site) -> None:
    output = await site.run_command("deliveries", "--state", "pending", "--destination", "hr", "--json")
    for line in output.out.splitlines():
        await site.run_command("deliveries", "drop", json.loads(line)["event"], "--destination", "hr", "--yes")


async def take_api_down_for_days(site: Site) -> None:
    """Let the API be down for two days.

    The daemon polls and checks less often, so that the test is quick.
    """
    await site.stop()
    site.document["sources"]["acme"]["poll_interval"] = "1h"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 900)
        patch.setattr("notifier.daemon.daemon.ACTIVITY_EVERY_SECONDS", 900)
        patch.setattr("notifier.daemon.daemon.EVERY_SECONDS", 900)
        patch.setattr("notifier.daemon.scheduler.CLOCK_CHECK_SECONDS", 900)
        await site.start()
    await site.wait_minutes(2)
    site.api = bad_gateway
    # The rules look back over the last scrapes only.
    site.prometheus.every_minutes = 60
    await site.wait_minutes(2 * 24 * 60 - KEPT_MINUTES - 60)
    site.daemon._schedule._scheduler.reschedule_job(EVALUATION_JOB, trigger=IntervalFromNow(50))
    site.prometheus.every_minutes = 4
    await site.wait_minutes(KEPT_MINUTES + 60)


async def start_slow_replay(site: Site) -> None:
    """Replay thirty events at a rate so low that the replay is still running afterwards."""
    for _ in range(30):
        site.enter_completions()
        await site.wait_minutes(1)
    await site.stop()
    await site.skip_seconds(30 * 86_400)
    site.document["destinations"]["hr"]["rate"] = 0.01
    await site.start()
    await site.wait_minutes(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("notifier.delivery.replay.MAX_WAITING", 10)
        # The command would wait for the end.
        await site.daemon.deliveries.replay(ReplaySelection(0, destination="hr"))
        async with asyncio.timeout(20):
            # A read does not wait for writes in progress.
            while (seen := (await site.read_surfaces()).status)["destinations"]["hr"]["pending"] < 10:
                await asyncio.sleep(0.01)
        (under_way,) = seen["replays"]
        assert under_way["destination"] == "hr"
        assert under_way["queued"] < under_way["deliveries"] == 31
        assert seen["destinations"]["hr"]["pending"] == 10
        output = await site.run_command("status")
    assert f"A replay to `hr` is running: {under_way['queued']} of 31 deliveries put back" in output.out


async def occupy_port(site: Site) -> None:
    """Restart the daemon with a port for the HTTP interface that another program uses."""
    await site.stop()
    site.occupy_port()
    await site.start()


async def release_port(site: Site) -> None:
    site.release_port()


async def fill_disk(site: Site) -> None:
    site.free_bytes[0] = 10**8


async def free_disk(site: Site) -> None:
    site.free_bytes[0] = 10**12


async def damage_state_file(site: Site) -> None:
    """Damage the state file while no daemon runs, and let only the first page of the next sweep succeed."""
    await site.stop()
    (site.folder / "notifier.db").write_bytes(b"no database " * 1000)
    pages = 0

    def is_later_page(_method: str, parameters: dict[str, Any]) -> bool:
        nonlocal pages
        pages += parameters.get("limit") == 1000
        return parameters.get("limit") == 1000 and pages > 1

    site.api = for_requests(is_later_page, bad_gateway)
    await site.start()


async def sweep(site: Site) -> None:
    await site.daemon.operations.sweep("acme")


async def start_second_instance(site: Site) -> None:
    command = [sys.executable, "-m", "notifier", "--config", str(site.config), "run"]
    run = partial(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    second = await beside(run)
    assert second.returncode == ExitCode.FAILED
    assert "in use" in second.stderr
