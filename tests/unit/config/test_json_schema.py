import json
from functools import cache
from typing import Any

import jsonschema
import pytest

from notifier.config import (
    AlertSettings,
    AmqpSettings,
    AppriseSettings,
    AwsSettings,
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
)
from notifier.config.base_table import BaseTable
from notifier.config.json_schema import schema

TABLES = [
    Settings,
    StoreSettings,
    LogSettings,
    HttpInterfaceSettings,
    AlertSettings,
    SourceSettings,
    SlackSettings,
    TeamsSettings,
    AppriseSettings,
    HttpSettings,
    KafkaSettings,
    AmqpSettings,
    MqttSettings,
    AwsSettings,
]


whole = cache(schema)


def described(table: type[BaseTable]) -> dict[str, Any]:
    found: dict[str, Any] = whole() if table is Settings else whole()["$defs"][table.__name__]
    return found


def test_schema_is_json_and_names_its_dialect() -> None:
    assert json.loads(json.dumps(whole()))["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("table", TABLES)
def test_schema_describes_every_key_and_allows_no_other(table: type[BaseTable]) -> None:
    assert set(described(table)["properties"]) == set(table.model_fields)
    assert all(key["description"].endswith(".") for key in described(table)["properties"].values())
    assert described(table)["additionalProperties"] is False


@pytest.mark.parametrize("table", TABLES)
def test_schema_marks_required_keys_and_contains_each_default_but_none(table: type[BaseTable]) -> None:
    keys = described(table)["properties"]
    required = set(described(table).get("required", ()))
    without_default = {name for name, key in keys.items() if "default" not in key}
    assert required == {name for name, field in table.model_fields.items() if field.is_required()}
    assert without_default - required == {name for name, field in table.model_fields.items() if field.default is None}


def test_schema_gives_durations_a_pattern_and_marks_secrets() -> None:
    keys = described(SourceSettings)["properties"]
    assert keys["poll_interval"]["type"] == "string"
    assert keys["poll_interval"]["default"] == "60s"
    assert keys["poll_interval"]["pattern"] == "^([0-9]{1,15})(ms|s|m|h|d)$"
    assert keys["token"]["type"] == "string"
    assert keys["token"]["writeOnly"] is True


def test_schema_restricts_names_and_types_of_destinations() -> None:
    destinations = described(Settings)["properties"]["destinations"]
    ((pattern, either),) = destinations["patternProperties"].items()
    assert pattern == "^[a-z0-9]+(-[a-z0-9]+)*$"
    assert destinations["additionalProperties"] is False
    assert either["properties"]["type"]["enum"] == ["slack", "teams", "apprise", "http", "kafka", "amqp", "mqtt", "aws"]


@pytest.mark.parametrize("type_", ["slack", "teams", "apprise", "http"])
def test_schema_reports_an_unknown_destination_key_as_one_error(type_: str) -> None:
    destination = {"type": type_, "url": "https://hooks.example/x", "colour": "red"}
    wrong = {"sources": {"acme": {"token": "t"}}, "destinations": {"hr": destination}}
    (error,) = jsonschema.Draft202012Validator(whole()).iter_errors(wrong)
    assert "colour" in error.message
    assert [*error.absolute_path] == ["destinations", "hr"]


def test_schema_has_an_id() -> None:
    assert whole()["$id"] == "urn:completion-notifier:configuration"


def test_schema_contains_no_null() -> None:
    assert "null" not in json.dumps(whole())
