"""Two hundred sources and two hundred destinations in trouble at once: few messages, and every subject named."""

from collections.abc import Collection
from pathlib import Path

import orjson

from notifier.alerts.conditions import Condition, ConditionKey, ConditionName, destination_subject, source_subject
from notifier.alerts.evaluation import EvaluationFindings
from notifier.alerts.monitor import AlertMonitor
from notifier.destinations import slack
from notifier.messages.layout import lay_out
from notifier.messages.templates import Templates
from notifier.store.file.store import FileStore
from notifier.store.queries import history
from tests.support.clocks import FakeClock
from tests.support.new_state_file import new_state_file

MANY = 200
MAX_MESSAGES = 8

SOURCES = [
    Condition(
        ConditionName.SOURCE_FAILING,
        source_subject(f"customer-{number}"),
        f"customer-{number}: no poll has succeeded since 2026-11-21T17:00:00.123Z: the connection was lost",
        cause="http_status" if number % 50 else "token_invalid",
    )
    for number in range(MANY)
]
DESTINATIONS = [
    Condition(
        ConditionName.DESTINATION_FAILING,
        destination_subject(f"receiver-{number}"),
        f"receiver-{number}: events cannot be delivered",
        cause="server_error",
    )
    for number in range(MANY)
]


async def test_400_conditions_at_once_cause_few_alerts_that_name_every_subject(tmp_path: Path) -> None:
    store, clock = FileStore(new_state_file(tmp_path / "notifier.db")), FakeClock()
    await store.open()
    wrong = [*SOURCES, *DESTINATIONS]

    async def current(_firing: Collection[ConditionKey]) -> EvaluationFindings:
        return EvaluationFindings(wrong)

    monitor = AlertMonitor(store, clock, "safety", current, lambda _events: None)
    await monitor.evaluate()
    events = await store.run(history.events_after, 0, 1000)
    assert len(events) <= MAX_MESSAGES
    named = {subject for event in events for subject in orjson.loads(event.data)["subjects"]}
    assert named == {it.subject for it in wrong}
    said = " ".join(
        row.text for event in events for row in lay_out([event], Templates(None, print), digest=False, fits=slack.fits)
    )
    digest = lay_out(events, Templates(None, print), digest=True, fits=slack.fits)
    assert sum(row.text.count("⚠️") for row in digest) == len(events)
    for it in wrong:
        assert it.subject.partition("/")[2] in said
    wrong.clear()
    await monitor.evaluate()
    ends = (await store.run(history.events_after, 0, 1000))[len(events) :]
    assert len(ends) <= MAX_MESSAGES
    assert {orjson.loads(event.data)["state"] for event in ends} == {"resolved"}
    await store.close()
