"""The text of alerts in both languages."""

from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from msgspec.structs import replace

from notifier.alerts.conditions import Condition, ConditionName, destination_subject, source_subject
from notifier.alerts.policy import find_changes
from notifier.config.message_values import Language
from notifier.messages.notices import alert_variables
from notifier.messages.phrasing import Phrasing
from notifier.store.tables.alert_events import alert_data
from notifier.store.tables.conditions import ConditionChange, StoredCondition
from notifier.wording.sentences import Sentence

SPANISH = Phrasing(Language.ES, ZoneInfo("America/Chicago"))
NOW = 1_795_280_400_123
SINCE = "2026-11-21T16:45:00.123Z"


def failing(name: str = "hr") -> Condition:
    why = Sentence("general.detail", text=Sentence("attempt.server_error"), detail="HTTP 503: busy")
    since_text = Sentence("destination_failing.since", since=SINCE, why=why, name=name, waiting=1500)
    return Condition(
        ConditionName.DESTINATION_FAILING,
        destination_subject(name),
        Sentence("general.named", name=name, text=since_text),
        remedy=Sentence("destination_failing.retry", name=name),
    )


def variables_of(changes: tuple[ConditionChange, ...], phrasing: Phrasing = SPANISH) -> dict[str, Any]:
    return alert_variables(orjson.loads(alert_data(changes)), 400, phrasing)


def begun(*conditions: Condition) -> tuple[ConditionChange, ...]:
    return find_changes(conditions, (), "ops", NOW)


def stored(changes: tuple[ConditionChange, ...]) -> list[StoredCondition]:
    return [replace(it.condition) for it in changes]


def test_alert_details_and_remedy_are_in_the_language_of_the_message() -> None:
    found = variables_of(begun(failing()))
    assert found["title"] == "fallan las entregas"
    assert found["details"].startswith(
        "No se pueden entregar eventos desde 21 nov 2026, 10:45 CST: tuvo un error interno (HTTP 503: busy);"
    )
    assert found["details"].endswith("en espera: 1,500 eventos")
    other = replace(failing(), summary=Sentence("general.named", name="hr", text=Sentence("attempt.timeout")))
    assert variables_of(begun(other))["remedy"].startswith("cuando funcione, ")


def test_resolved_or_withdrawn_alert_is_in_the_language_of_the_message() -> None:
    before = stored(begun(failing()))
    resolved = variables_of(find_changes((), before, "ops", NOW + 1))
    assert resolved["details"].startswith("Esto ya pasó: hr: no se pueden entregar")
    why = {before[0].key: Sentence("ending.idle", name="hr")}
    withdrawn = variables_of(find_changes((), before, "ops", NOW + 1, withdrawn=why))
    assert withdrawn["details"].startswith(
        "Ningún evento espera ya a hr; el próximo mostrará si funciona. Antes: hr: no se"
    )


def test_alert_about_several_destinations_is_in_the_language_of_the_message() -> None:
    assert variables_of(begun(failing("hr"), failing("gate")))["details"].startswith(
        "2 destinos (hr, gate): el primero: hr: no se pueden entregar"
    )


def test_alert_without_known_texts_shows_the_stored_summary() -> None:
    plain = Condition(ConditionName.GAP, source_subject("acme"), "acme: something of another version")
    (firing,) = begun(plain)
    assert "texts" not in orjson.loads(alert_data([firing]))
    assert variables_of((firing,))["details"] == "Something of another version"
    strange = {**orjson.loads(alert_data([firing])), "texts": {"summary": {"text": "moon.full", "values": {}}}}
    assert alert_variables(strange, 400, SPANISH)["details"] == "Something of another version"


@pytest.mark.parametrize("language", Language)
def test_alert_details_begin_with_a_capital_and_omit_the_subject(language: Language) -> None:
    found = variables_of(begun(failing()), Phrasing(language))
    assert found["details"][0].isupper()
    assert not found["details"].startswith("hr:")
