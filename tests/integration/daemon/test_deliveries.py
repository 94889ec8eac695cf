"""The local HTTP interface of a running daemon: deliveries, replays and destinations."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from notifier.config import Settings
from notifier.daemon.configuration import ReloadHooks
from notifier.daemon.daemon import Daemon
from notifier.store.tables import requeue
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.settlements import Settlement, store_settlements
from tests.support.waiting import DEADLINE, until

LONG_AGO = 1_000_000_000_000


class DaemonRig:
    """A daemon whose API does not answer, and the receiver of its events."""

    daemon: Daemon
    session: aiohttp.ClientSession

    def __init__(self) -> None:
        self.status = 200
        self.got: list[str] = []

    async def hook(self, request: web.Request) -> web.Response:
        self.got.append((await request.json())["id"])
        return web.Response(status=self.status)

    async def call(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        async with self.session.request(method, f"http://localhost{path}", **more) as response:
            return response.status, await response.json()

    async def wait_for_answer(self, path: str, is_wanted: Callable[[Any], bool]) -> Any:
        """Wait until the answer to a GET request is as wanted, and return it."""
        end = time.monotonic() + DEADLINE
        while not is_wanted(body := (await self.call("GET", path))[1]):
            assert time.monotonic() < end, f"still {body}"
        return body

    async def restart(self) -> None:
        """Stop the daemon, and start another one."""
        await self.daemon.stop()
        self.daemon = Daemon(self.daemon.settings)
        await self.daemon.start()

    async def write_events(self, *ids: str) -> None:
        """Write events of long ago, without deliveries."""

        def write(db: Any) -> None:
            for identifier in ids:
                db.execute(
                    "INSERT INTO events (id, type, source, subject, revision, net, reason, detected_at, data) VALUES"
                    " (?, 'completion.created', 'acme', '1', 1, 'head', '', ?, '{\"completion\": {}}')",
                    [identifier, LONG_AGO],
                )

        await self.daemon._store.run(write)

    async def give_up(self, sequence: int) -> None:
        settlement = Settlement((sequence,), "hr", DeliveryState.DEAD, "give_up", "refused", 400, "no", 5, 5, 0)
        await self.daemon._store.run(store_settlements, [settlement])


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[DaemonRig]:
    this = DaemonRig()
    app = web.Application()
    app.router.add_post("/hook", this.hook)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    settings = Settings.model_validate(
        {
            "store": {"path": tmp_path / "notifier.db"},
            "http": {"listen": ""},
            "sources": {"acme": {"base_url": "http://127.0.0.1:9/v1", "token": "t", "poll_interval": "1h"}},
            "destinations": {
                "hr": {"type": "http", "url": url, "retry_first": "1h"},
                "quiet": {"type": "http", "url": url, "events": ["completion.removed"]},
            },
        }
    )
    this.daemon = Daemon(settings)
    await this.daemon.start()
    connector = aiohttp.UnixConnector(str(tmp_path / "notifier.db.sock"))
    this.session = aiohttp.ClientSession(connector=connector)
    yield this
    await this.session.close()
    await this.daemon.stop()
    await runner.cleanup()


async def test_replay_respects_the_filters_of_each_destination(rig: DaemonRig) -> None:
    await rig.write_events("evt_a", "evt_b")
    status, nothing = await rig.call("GET", "/v1/replay")
    assert (status, nothing["state"], nothing["id"], nothing["queued"]) == (200, None, None, 0)
    wish = {"since": "2001-01-01", "until": "2002-01-01"}
    status, planned = await rig.call("POST", "/v1/replay", json={**wish, "dry_run": True})
    assert (status, planned["events"], planned["destinations"]) == (200, 2, {"hr": 2, "quiet": 0})
    assert planned["forgotten_before"] is not None
    assert rig.got == []
    status, begun = await rig.call("POST", "/v1/replay", json=wish)
    assert (status, begun["id"], begun["destinations"]) == (200, 1, {"hr": 2, "quiet": 0})
    await until(lambda: sorted(rig.got) == ["evt_a", "evt_b"])
    progress = await rig.wait_for_answer("/v1/replay", lambda it: it["state"] != "running")
    assert progress.pop("begun_at") <= progress.pop("ended_at")
    assert progress == {
        "id": 1,
        "state": "done",
        "events": 2,
        "deliveries": 2,
        "queued": 2,
        "waits_for": [],
        "goes_on_since": None,
        "since": "2001-01-01T00:00:00.000Z",
        "until": "2002-01-02T00:00:00.000Z",
        "source": None,
        "type": None,
        "destinations": {"hr": {"state": "done", "deliveries": 2, "queued": 2, "waits": None}},
        "others": [],
        "previous": None,
    }
    assert (await rig.call("POST", "/v1/replay/stop"))[1]["state"] == "done"


async def test_replay_reports_its_progress_and_continues_after_a_restart(rig: DaemonRig) -> None:
    await rig.call("POST", "/v1/destinations/hr/disable")
    await rig.write_events(*(f"evt_{number:04}" for number in range(700)))
    wish = {"since": "2001-01-01", "until": "2002-01-01", "source": "acme"}
    assert (await rig.call("POST", "/v1/replay", json={**wish, "type": "completion.removed"}))[1]["id"] == 1
    assert (await rig.call("POST", "/v1/replay", json=wish))[1]["id"] == 2

    def half_way(body: Any) -> bool:
        return (body["id"], body["state"], body["queued"]) == (2, "running", 500)

    before = await rig.wait_for_answer("/v1/replay", half_way)
    waits = "`hr` is disabled; `notifier enable hr` enables it"
    assert before["destinations"] == {"hr": {"state": "running", "deliveries": 700, "queued": 500, "waits": waits}}
    assert (before["previous"]["id"], before["previous"]["state"], before["previous"]["deliveries"]) == (1, "done", 0)
    await rig.restart()
    assert await rig.wait_for_answer("/v1/replay", half_way) == before
    status, refused = await rig.call("POST", "/v1/replay", json=wish)
    assert (status, "under way already" in refused["message"]) == (409, True)
    await rig.call("POST", "/v1/destinations/hr/enable")
    after = await rig.wait_for_answer("/v1/replay", lambda it: it["state"] == "done")
    assert (after["queued"], after["previous"]["id"]) == (700, 1)
    await until(lambda: sorted(rig.got) == [f"evt_{number:04}" for number in range(700)])


async def test_stopped_replay_shows_from_which_time_another_one_continues(rig: DaemonRig) -> None:
    await rig.call("POST", "/v1/destinations/hr/disable")
    await rig.write_events(*(f"evt_{number:04}" for number in range(501)))
    number = (await rig.call("POST", "/v1/replay", json={"since": "2001-01-01", "until": "2002-01-01"}))[1]["id"]
    await rig.wait_for_answer("/v1/replay", lambda it: it["queued"] == 500)
    assert (await rig.call("POST", "/v1/replay/stop", json={"id": number + 1}))[1]["state"] == "running"
    stopped = (await rig.call("POST", "/v1/replay/stop", json={"id": number}))[1]
    assert (stopped["state"], stopped["waits_for"]) == ("stopped", ["hr"])
    assert stopped["goes_on_since"] == "2001-09-09T01:46:40.000Z"
    await rig.restart()
    assert (await rig.call("GET", "/v1/replay"))[1] == stopped


async def test_unknown_names_and_event_ids_get_status_404(rig: DaemonRig) -> None:
    for path, body in (
        ("/v1/replay", {"since": "2001-01-01", "destination": "hrr"}),
        ("/v1/replay", {"since": "2001-01-01", "source": "acmee"}),
        ("/v1/deliveries/retry", {"destination": "hrr"}),
        ("/v1/destinations/hrr/enable", {}),
        ("/v1/destinations/hrr/test", {}),
    ):
        status, answer = await rig.call("POST", path, json=body)
        assert (status, answer["error"]["reason"]) == (404, "unknown_name")
    assert (await rig.call("GET", "/v1/deliveries?destination=hrr"))[0] == 404
    status, answer = await rig.call("POST", "/v1/deliveries/retry", json={"event_ids": ["evt_x"]})
    assert (status, answer["error"]["reason"]) == (404, "unknown_event")


async def test_configuration_that_hangs_delays_only_requests_that_read_it(
    rig: DaemonRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a file system that does not answer."""
    monkeypatch.setattr("notifier.daemon.configuration_reader.READ_SECONDS", 0.2)
    may_end = threading.Event()

    def hang() -> Settings:
        may_end.wait(60)
        return rig.daemon.settings

    reader = rig.daemon.deliveries._configuration_reader
    monkeypatch.setattr(reader, "_reload_hooks", ReloadHooks(hang))
    try:
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*(rig.call("GET", "/v1/destinations/hr") for _ in range(40)))
            assert await asyncio.to_thread(lambda: 7) == 7
    finally:
        may_end.set()
    assert {answer["message"].partition(" (")[0] for _, answer in answers} == {"the configuration cannot be read now"}


async def test_deliveries_are_listed_in_pages_and_dead_ones_retried(rig: DaemonRig) -> None:
    assert (await rig.call("POST", "/v1/destinations/hr/disable"))[1] == {
        "destination": "hr",
        "state": "disabled",
        "reason": "operator",
        "waited": False,
        "unfollowed": [],
        "message": "",
    }
    await rig.write_events("evt_a", "evt_b")
    await rig.call("POST", "/v1/replay", json={"since": "2001-01-01", "destination": "hr"})

    async def listed(query: str) -> tuple[list[str], str]:
        _, body = await rig.call("GET", f"/v1/deliveries?{query}")
        return [delivery["event"] for delivery in body["deliveries"]], body["next"]

    await rig.wait_for_answer("/v1/deliveries?state=pending", lambda it: len(it["deliveries"]) == 2)
    assert await listed("limit=1") == (["evt_a"], "1,hr")
    assert await listed("limit=1&after=1,hr") == (["evt_b"], "2,hr")
    assert await listed("after=2,hr") == ([], "2,hr")
    await rig.give_up(1)
    assert await listed("state=dead&destination=hr") == (["evt_a"], "1,hr")
    assert await rig.call("POST", "/v1/deliveries/retry") == (
        200,
        {"deliveries": 1, "destinations": {"hr": 1}, "waited": [], "message": ""},
    )
    assert rig.got == []
    await rig.call("POST", "/v1/destinations/hr/enable")
    await until(lambda: sorted(rig.got) == ["evt_a", "evt_b"])


async def test_sample_is_sent_without_being_stored(rig: DaemonRig) -> None:
    rig.status = 503
    status, answer = await rig.call("POST", "/v1/destinations/quiet/test")
    assert (status, answer["result"], answer["status"]) == (200, "server_error", 503)
    assert rig.got == [answer["event"]]
    assert (await rig.call("GET", "/v1/status"))[1]["destinations"]["quiet"]["state"] == "untried"
    assert await rig.daemon._store.run(requeue.newest_event_number) == 0
