import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from notifier.config import (
    AlertSettings,
    AmqpSettings,
    AppriseSettings,
    AwsSettings,
    BrokerSettings,
    DestinationSettings,
    HttpInterfaceSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    MqttSettings,
    Settings,
    SlackSettings,
    SourceSettings,
    StoreSettings,
    TeamsSettings,
    load,
)
from notifier.config.base_table import BaseTable
from notifier.config.json_schema import schema

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
COMMENTED_KEY = re.compile(r"^# (?=[a-z_]+ = |\[)", re.MULTILINE)

LISTED = tomllib.loads(COMMENTED_KEY.sub("", TEXT))
"""All keys that the example lists, including those in comments."""

WRITTEN = tomllib.loads(TEXT)
"""The keys of the example that are not in comments."""

SOURCE = "acme"
SLACK = "safety-channel"
TEAMS = "site-office"
APPRISE = "phones"
HTTP = "hr-system"
BROKERS: dict[str, type[BrokerSettings]] = {
    "log": KafkaSettings,
    "rabbit": AmqpSettings,
    "gates": MqttSettings,
    "bus": AwsSettings,
}
"""The brokers, each of which needs an extra."""

PLACEHOLDERS = [
    "sources.acme.token",
    "destinations.safety-channel.url",
    "destinations.site-office.url",
    "destinations.hr-system.secret",
]
"""The keys whose values every user has to replace."""


whole_schema = cache(schema)


def required(table: type[BaseTable], values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if table.model_fields[key].is_required()}


def test_example_gives_warnings_only_for_its_placeholders() -> None:
    assert [warning.key for warning in load(EXAMPLE, environ={}).warnings()] == PLACEHOLDERS


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (Settings, LISTED),
        (StoreSettings, LISTED["store"]),
        (LogSettings, LISTED["log"]),
        (HttpInterfaceSettings, LISTED["http"]),
        (AlertSettings, LISTED["alerts"]),
        (SourceSettings, LISTED["sources"][SOURCE]),
    ],
)
def test_example_lists_every_key_in_the_order_of_the_settings(table: type[BaseTable], values: dict[str, Any]) -> None:
    assert list(values) == list(table.model_fields)


def test_example_lists_every_http_key_with_its_own_keys_first() -> None:
    common = list(DestinationSettings.model_fields)
    own = [key for key in HttpSettings.model_fields if key not in common]
    listed = list(LISTED["destinations"][HTTP])
    assert set(listed[: len(own)]) == set(own)
    assert listed[len(own) :] == common


@pytest.mark.parametrize(
    ("table", "name"), [(SlackSettings, SLACK), (TeamsSettings, TEAMS), (AppriseSettings, APPRISE)]
)
def test_example_lists_own_keys_and_differing_defaults_of_a_channel(
    table: type[DestinationSettings], name: str
) -> None:
    common = DestinationSettings.model_fields
    own = [key for key in table.model_fields if key not in common]
    different = [key for key in common if table.model_fields[key].default != common[key].default]
    listed = list(LISTED["destinations"][name])
    assert set(listed[: len(own)]) == set(own)
    assert listed[len(own) :] == different


def test_http_settings_have_the_common_defaults() -> None:
    common = DestinationSettings.model_fields
    assert all(
        HttpSettings.model_fields[key].default == common[key].default for key in DestinationSettings.model_fields
    )


@pytest.mark.parametrize("name", BROKERS)
def test_example_lists_only_the_own_keys_of_a_broker(name: str) -> None:
    own = set(BROKERS[name].model_fields) - set(DestinationSettings.model_fields)
    assert set(LISTED["destinations"][name]) == own


def test_example_values_of_optional_keys_are_the_defaults() -> None:
    least = {
        "NOTIFIER_SOURCES": {SOURCE: required(SourceSettings, WRITTEN["sources"][SOURCE])},
        "NOTIFIER_DESTINATIONS": {
            SLACK: required(SlackSettings, WRITTEN["destinations"][SLACK]),
            TEAMS: required(TeamsSettings, WRITTEN["destinations"][TEAMS]),
            HTTP: required(HttpSettings, WRITTEN["destinations"][HTTP]),
        },
    }
    by_default = load(Path("/dev/null"), environ={name: json.dumps(table) for name, table in least.items()})
    assert load(EXAMPLE, environ={}) == by_default


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (StoreSettings, WRITTEN["store"]),
        (LogSettings, WRITTEN["log"]),
        (HttpInterfaceSettings, WRITTEN["http"]),
        (AlertSettings, WRITTEN["alerts"]),
        (SourceSettings, WRITTEN["sources"][SOURCE]),
        (SlackSettings, WRITTEN["destinations"][SLACK]),
        (TeamsSettings, WRITTEN["destinations"][TEAMS]),
        (AppriseSettings, LISTED["destinations"][APPRISE]),
        (HttpSettings, WRITTEN["destinations"][HTTP]),
        *((table, LISTED["destinations"][name]) for name, table in BROKERS.items()),
    ],
)
def test_example_writes_defaults_as_the_schema_does(table: type[BaseTable], values: dict[str, Any]) -> None:
    keys = whole_schema()["$defs"][table.__name__]["properties"]
    optional = values.keys() - required(table, values).keys()
    assert {key: values[key] for key in optional} == {key: keys[key]["default"] for key in optional}


def test_example_comments_out_only_keys_without_a_default_and_extras() -> None:
    assert set(LISTED["sources"][SOURCE]) - set(WRITTEN["sources"][SOURCE]) == {
        key for key, field in SourceSettings.model_fields.items() if field.default is None
    }
    with_extras = {name: LISTED["destinations"][name] for name in (APPRISE, *BROKERS)}
    assert LISTED["destinations"] == WRITTEN["destinations"] | with_extras


def test_example_with_its_commented_keys_enabled_can_be_loaded(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(COMMENTED_KEY.sub("", TEXT), encoding="utf-8")
    settings = load(file, environ={})
    assert settings.sources[SOURCE].training_id == "1046"
    assert isinstance(settings.destinations[APPRISE], AppriseSettings)
    assert {name: type(settings.destinations[name]) for name in BROKERS} == BROKERS
