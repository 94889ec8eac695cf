"""Alerts, from a condition through the state file to the destination of alerts."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from notifier.alerts import source_rules
from notifier.alerts.conditions import Condition, ConditionKey, ConditionName, destination_subject, source_subject
from notifier.alerts.evaluation import EvaluationFindings
from notifier.alerts.monitor import AlertMonitor
from notifier.config import Settings
from notifier.config.webhooks import HttpFormat
from notifier.daemon.daemon import Daemon
from notifier.destinations import slack
from notifier.destinations.sample import sample_event
from notifier.destinations.webhook.envelope import batch, single
from notifier.destinations.webhook.event_schema import schema
from notifier.events import Event
from notifier.messages.layout import lay_out
from notifier.messages.templates import Templates
from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.store import FileStore
from notifier.store.queries import history
from notifier.store.tables import alert_events, conditions
from tests.support.clocks import FakeClock
from tests.support.daemon import running
from tests.support.new_state_file import new_state_file
from tests.support.servers import serving
from tests.support.waiting import until

DAY = 24 * 3600.0
GAP = Condition(ConditionName.GAP, source_subject("acme"), "something may have been missed")
HELD = Condition(ConditionName.REMOVALS_HELD, source_subject("acme"), "40 records seem to be gone")


@dataclass
class Trouble:
    """The conditions that hold now, the state file that stores them, and how often alerts were announced (`woken`)."""

    store: FileStore
    clock: FakeClock = field(default_factory=FakeClock)
    wrong: list[Condition] = field(default_factory=list)
    withdrawn: dict[ConditionKey, str] = field(default_factory=dict)
    woken: int = 0
    fired: set[ConditionKey] = field(default_factory=set)

    def monitor(self, alerts_to: str = "safety") -> AlertMonitor:
        return AlertMonitor(self.store, self.clock, alerts_to, self._current, self._wake)

    async def _current(self, firing: Collection[ConditionKey]) -> EvaluationFindings:
        self.fired = set(firing)
        return EvaluationFindings(self.wrong, self.withdrawn)

    def _wake(self, _events: Sequence[Event]) -> None:
        self.woken += 1

    async def events(self) -> list[Event]:
        return await self.store.run(history.events_after, 0, 100)

    async def alert_states(self) -> list[tuple[str, str]]:
        """Return the alerts so far: the condition and its state."""
        alerts = [orjson.loads(event.data) for event in await self.events()]
        return [(alert["condition"], alert["state"]) for alert in alerts]


@pytest.fixture
async def trouble(tmp_path: Path) -> AsyncIterator[Trouble]:
    store = FileStore(new_state_file(tmp_path / "notifier.db"))
    await store.open()
    yield Trouble(store)
    await store.close()


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    return [(record.levelname, record.message, vars(record).get("condition", "")) for record in caplog.records]


async def test_condition_is_alerted_reminded_of_after_a_day_and_resolved(
    trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "notifier")
    monitor = trouble.monitor()
    await monitor.evaluate()
    assert (trouble.woken, await trouble.alert_states()) == (0, [])
    trouble.wrong = [GAP]
    for _ in range(3):
        await monitor.evaluate()
        trouble.clock.advance(30)
    assert (trouble.woken, await trouble.alert_states()) == (1, [("gap", "firing")])
    trouble.clock.advance(DAY)
    await monitor.evaluate()
    assert await trouble.alert_states() == [("gap", "firing")] * 2
    trouble.wrong = []
    for _ in range(2):
        await monitor.evaluate()
    assert await trouble.alert_states() == [("gap", "firing"), ("gap", "firing"), ("gap", "resolved")]
    assert trouble.woken == 3
    assert logged(caplog) == [
        ("WARNING", "a condition requires action", "gap"),
        ("WARNING", "a condition is resolved", "gap"),
    ]


async def test_stored_condition_is_logged_even_if_the_store_fails_afterwards(
    trouble: Trouble, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Database, _destination: str) -> int | None:
        raise StoreError(StoreReason.UNREACHABLE, "the connection is lost")

    monitor = trouble.monitor()
    trouble.wrong = [GAP]
    with monkeypatch.context() as patch:
        patch.setattr(alert_events, "oldest_undelivered_ms", fail)
        await monitor.evaluate()
    await monitor.evaluate()
    assert await trouble.alert_states() == [("gap", "firing")]
    assert ("WARNING", "a condition requires action", "gap") in logged(caplog)


async def test_restart_repeats_no_alert_and_still_resolves_the_condition(
    trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    trouble.wrong = [GAP]
    await trouble.monitor().evaluate()
    caplog.clear()
    await trouble.monitor().evaluate()
    assert (await trouble.alert_states(), caplog.records) == ([("gap", "firing")], [])
    trouble.wrong = []
    await trouble.monitor().evaluate()
    assert await trouble.alert_states() == [("gap", "firing"), ("gap", "resolved")]


async def test_evaluation_receives_the_firing_conditions_also_after_a_restart(trouble: Trouble) -> None:
    trouble.wrong = [GAP]
    await trouble.monitor().evaluate()
    assert trouble.fired == set()
    trouble.wrong = [HELD]
    await trouble.monitor().evaluate()
    assert trouble.fired == {GAP.key}
    await trouble.monitor().evaluate()
    assert trouble.fired == {HELD.key}


async def test_condition_is_alerted_once_an_alert_destination_is_configured(
    trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    trouble.wrong = [GAP]
    nobody = trouble.monitor("")
    for _ in range(2):
        await nobody.evaluate()
    assert (trouble.woken, await trouble.alert_states()) == (0, [])
    assert [condition.name for condition in await trouble.store.run(conditions.read_firing)] == ["gap"]
    assert logged(caplog) == [("WARNING", "a condition requires action", "gap")]
    began_ms = trouble.clock.now_ms()
    trouble.clock.advance(3600)
    await trouble.monitor("safety").evaluate()
    assert (trouble.woken, await trouble.alert_states()) == (1, [("gap", "firing")])
    (condition,) = await trouble.store.run(conditions.read_firing)
    assert (condition.since_ms, condition.alerted_ms) == (began_ms, trouble.clock.now_ms())


async def test_condition_that_cannot_be_stored_is_alerted_once_the_store_works(
    trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(db: Database, *, on: bool) -> None:
        db.execute(f"PRAGMA query_only = {int(on)}")

    trouble.wrong = [GAP]
    monitor = trouble.monitor()
    await trouble.store.run(read_only, on=True)
    for _ in range(3):
        await monitor.evaluate()
    assert [(record.levelname, vars(record)["reason"]) for record in caplog.records] == [("ERROR", "read_only")]
    await trouble.store.run(read_only, on=False)
    await monitor.evaluate()
    assert (trouble.woken, await trouble.alert_states()) == (1, [("gap", "firing")])


async def test_alerts_match_the_event_schema_and_appear_in_messages(trouble: Trouble) -> None:
    monitor = trouble.monitor()
    trouble.wrong = [GAP, HELD]
    await monitor.evaluate()
    trouble.wrong = [GAP]
    await monitor.evaluate()
    gap, held, over = await trouble.events()
    (alone, *_) = [orjson.loads(single(event, HttpFormat.CLOUDEVENTS).body) for event in (gap, held, over)]
    mixed = orjson.loads(batch([sample_event("acme", 0), gap, held, over], HttpFormat.CLOUDEVENTS).body)
    for event in mixed:
        Draft202012Validator(schema()).validate(event)
    assert alone == mixed[1]
    assert (alone["source"], alone["subject"], alone["type"]) == ("/notifier", "sources/acme", "notifier.alert")
    templates = Templates(None, print)
    layout = lay_out([sample_event("acme", 0), gap, held, over], templates, digest=False, fits=slack.fits)
    text = "\n".join(row.text for row in layout)
    assert text.splitlines()[0] == "1 training completed, 3 alerts"
    assert (
        "⚠️ acme: changes may have been missed · Something may have been missed · since 21 Nov 2026, 17:00 UTC" in text
    )
    assert "✅ Resolved · acme: many records are missing; their removal is held back · began 21 Nov 2026" in text
    many = [gap, *(sample_event("acme", number) for number in range(60))]
    digest = lay_out(many, templates, digest=True, fits=slack.fits)
    assert any("acme: changes may have been missed" in row.text for row in digest)


@dataclass
class AlertReceivers:
    """Receivers of two destinations, hr and safety, and the conditions of the only source."""

    state_file: Path
    wrong: list[Condition] = field(default_factory=list)
    received: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"hr": [], "safety": []})
    url: str = ""

    async def receive(self, request: web.Request) -> web.Response:
        self.received[request.match_info["name"]].append(orjson.loads(await request.read()))
        return web.Response()

    def settings(self, alerts_to: str, *destinations: str) -> Settings:
        """Configure a source that never answers, and destinations that want no events."""
        wants_nothing = {"type": "http", "events": []}
        return Settings.model_validate(
            {
                "store": {"path": str(self.state_file)},
                "http": {"listen": ""},
                "alerts": {"destination": alerts_to},
                "sources": {"acme": {"base_url": "http://127.0.0.1:9/v1", "token": "sandbox"}},
                "destinations": {name: {**wants_nothing, "url": f"{self.url}/{name}"} for name in destinations},
            }
        )


@pytest.fixture
async def post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AlertReceivers]:
    around = AlertReceivers(tmp_path / "notifier.db")
    monkeypatch.setattr(source_rules, "conditions", lambda *_: tuple(around.wrong))
    monkeypatch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 0.05)
    app = web.Application()
    app.router.add_post("/{name}", around.receive)
    async with serving(app) as url:
        around.url = url
        yield around


async def test_daemon_sends_alerts_only_to_the_alert_destination(post: AlertReceivers) -> None:
    post.wrong = [GAP, Condition(ConditionName.GAP, destination_subject("safety"), "its own trouble")]
    async with running(post.settings("safety", "hr", "safety")) as daemon:
        fire = (await daemon.operations.status())["conditions"]
        assert [it["subject"] for it in fire] == ["destinations/safety", "sources/acme"]
        await until(lambda: len(post.received["safety"]) >= 1)
        post.wrong = []
        await until(lambda: len(post.received["safety"]) >= 2)
        assert (await daemon.operations.status())["conditions"] == []
    firing, resolved = post.received["safety"]
    assert (firing["data"]["state"], firing["subject"]) == ("firing", "sources/acme")
    assert (resolved["data"]["state"], resolved["subject"]) == ("resolved", "sources/acme")
    assert firing["id"] != resolved["id"]
    assert post.received["hr"] == []


async def test_new_alert_destination_gets_conditions_that_already_fire(post: AlertReceivers) -> None:
    post.wrong = [GAP]
    for settings in (post.settings("safety", "safety"), post.settings("")):
        async with running(settings) as daemon:
            assert [it["condition"] for it in (await daemon.operations.status())["conditions"]] == ["gap"]
    async with running(post.settings("hr", "hr")):
        # It gets the alert that the condition is active, not only the alert that it is resolved.
        await until(lambda: len(post.received["hr"]) >= 1)
        post.wrong = []
        await until(lambda: len(post.received["hr"]) >= 2)
    assert [event["data"]["state"] for event in post.received["hr"]] == ["firing", "resolved"]


async def test_former_alert_destination_is_informed_once_and_the_new_one_alerted(post: AlertReceivers) -> None:
    post.wrong = [GAP, HELD]
    async with running(post.settings("safety", "hr", "safety")) as daemon:
        await until(lambda: len(post.received["safety"]) == 2)
        await until_delivered(daemon, "safety", 2)
    for _ in range(2):
        # A restart repeats nothing, because the state file stores which destination got each alert.
        async with running(post.settings("hr", "hr", "safety")) as daemon:
            await until(lambda: len(post.received["hr"]) == 2)
            await until(lambda: len(post.received["safety"]) == 3)
            await until_delivered(daemon, "hr", 2)
    *_, last = post.received["safety"]
    Draft202012Validator(schema()).validate(last)
    assert (last["data"]["condition"], last["data"]["state"]) == ("alerts_moved", "withdrawn")
    assert last["data"]["summary"] == (
        "alerts now go to hr and no longer here; these conditions are still active: acme:"
        " changes may have been missed; acme: many records are missing; their removal is held back"
    )
    assert [event["data"]["state"] for event in post.received["hr"]] == ["firing", "firing"]
    async with running(post.settings("", "hr", "safety")):
        await until(lambda: len(post.received["hr"]) == 3)
    assert "alerts now go to nobody" in post.received["hr"][-1]["data"]["summary"]
    assert len(post.received["safety"]) == 3


async def until_delivered(daemon: Daemon, destination: str, events: int) -> None:
    """Wait until the state file shows this number of delivered events."""
    while (await daemon.operations.status())["destinations"][destination]["delivered"] != events:
        await asyncio.sleep(0.02)
