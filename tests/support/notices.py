"""A receiver of alerts, and a daemon that evaluates its conditions often and reports them soon."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from notifier.alerts.monitor import AlertMonitor
from notifier.config import Settings
from tests.support.servers import serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.daemon import World

LONG = 0.4
"""The seconds after which a failure is reported."""


@dataclass
class NoticeReceiver:
    """A receiver of alerts; `looks` is the number of evaluations of the conditions so far."""

    url: str = ""
    looks: int = 0
    notices: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        event = orjson.loads(await request.read())
        self.ids.append(event["id"])
        self.notices.append(event["data"])
        return web.Response()

    def of_the_store(self) -> list[str]:
        return [it["state"] for it in self.notices if it["condition"] == "store_unwritable"]

    def summaries(self) -> list[tuple[str, str, str]]:
        return [(notice["condition"], notice["subject"], notice["state"]) for notice in self.notices]


@pytest.fixture
async def notice_receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NoticeReceiver]:
    around = NoticeReceiver()
    evaluate = AlertMonitor.evaluate

    async def looked(monitor: AlertMonitor) -> None:
        await evaluate(monitor)
        around.looks += 1

    monkeypatch.setattr(AlertMonitor, "evaluate", looked)
    monkeypatch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 0.05)
    monkeypatch.setattr("notifier.alerts.destination_rules.FAILING_FOR_SECONDS", LONG)
    monkeypatch.setattr("notifier.alerts.source_rules.FAILING_FOR_SECONDS", LONG)
    for rules in ("source_rules", "destination_rules"):
        monkeypatch.setattr(f"notifier.alerts.{rules}.OVER_AFTER_SECONDS", 0.0)
    # Whatever room this machine has.
    monkeypatch.setattr("notifier.alerts.disk_rules.MIN_FREE_BYTES", 0)
    app = web.Application()
    app.router.add_post("/", around.receive)
    async with serving(app) as url:
        around.url = f"{url}/"
        yield around


def settings_with_notices(world: "World", notice_receiver: NoticeReceiver, **more: Any) -> Settings:
    document = world.settings(**more).model_dump(mode="python")
    document["sources"]["acme-1"]["token"] = "sandbox"
    document["destinations"]["hr"]["url"] = world.receiver
    document["destinations"]["safety"] = {"type": "http", "url": notice_receiver.url, "events": []}
    document["alerts"] = {"destination": "safety"}
    return Settings.model_validate(document)


async def wait_for_evaluations(notice_receiver: NoticeReceiver) -> None:
    enough = notice_receiver.looks + 5
    await until(lambda: notice_receiver.looks >= enough)
