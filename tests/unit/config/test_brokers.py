"""The settings of message brokers."""

from collections.abc import Callable
from typing import Any

import pytest

from notifier.config import AwsSettings, brokers
from tests.unit.config.conftest import Load

Problems = Callable[..., list[str]]
SOURCE = '[sources.acme]\ntoken = "t0ken"\n'
SECRET = "Geheim-0f-the-broker"
MQTT = '[destinations.x]\ntype = "mqtt"\nurl = "mqtts://broker.example.com"\n'
AMQP = '[destinations.x]\ntype = "amqp"\nurl = "amqps://rabbit.example.com/vhost"\nexchange = "training"\n'
KAFKA = '[destinations.x]\ntype = "kafka"\nservers = "kafka.example.com:9093"\ntopic = "training"\n'
CONNECTION = f"Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey={SECRET}"
AWS = '[destinations.x]\ntype = "aws"\narn = "arn:aws:sqs:eu-west-1:123456789012:training"\n'
FULL = {
    "aws": f'{AWS}access_key_id = "AKIA"\nsecret_access_key = "{SECRET}"\n',
    "kafka": f'{KAFKA}username = "$ConnectionString"\npassword = "{CONNECTION}"\n',
    "amqp": f"{AMQP.replace('amqps://', f'amqps://notifier:{SECRET}@')}",
    "mqtt": f'{MQTT}username = "gate"\npassword = "{SECRET}"\n',
}
LIBRARIES = {
    "aws": ("botocore", "botocore"),
    "kafka": ("confluent_kafka", "confluent-kafka"),
    "amqp": ("aio_pika", "aio-pika"),
    "mqtt": ("paho", "paho-mqtt"),
}


@pytest.mark.parametrize("type_", FULL)
def test_broker_settings_do_not_show_the_password(type_: str, load_text: Load) -> None:
    settings = load_text(SOURCE + FULL[type_])
    (destination,) = settings.destinations.values()
    said = f"{settings!r} {settings.model_dump_json()} {destination.address()} {settings.warnings()}"
    assert SECRET not in said
    assert SECRET in " ".join(settings.secrets())


@pytest.mark.parametrize("more", ["", 'password = ""\n'])
@pytest.mark.parametrize("table", [MQTT, AMQP, KAFKA])
def test_broker_without_a_password_gives_no_warning(table: str, more: str, load_text: Load) -> None:
    assert load_text(SOURCE + table + more).warnings() == ()


@pytest.mark.parametrize("type_", FULL)
def test_missing_broker_library_is_reported_with_its_install_command(
    type_: str, problems_of: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, library = LIBRARIES[type_]
    monkeypatch.setattr(brokers, "find_spec", lambda name: None if name == module else object())
    assert problems_of(SOURCE + FULL[type_]) == [
        f"destinations.x.type: needs the library {library}: pip install 'completion-notifier[{type_}]'"
    ]


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("mqtts://broker.example.com", False),
        ("mqtt://127.0.0.1", False),
        ("mqtt://localhost:1884", False),
        ("mqtt://broker.example.com", True),
    ],
)
def test_mqtt_without_tls_on_another_machine_gives_a_warning(url: str, load_text: Load, *, warned: bool) -> None:
    text = MQTT.replace("mqtts://broker.example.com", url)
    warnings = [str(warning) for warning in load_text(SOURCE + text).warnings()]
    assert any("cross the network unencrypted; use mqtts://" in warning for warning in warnings) is warned


WRONG = [
    (MQTT, "url", '"https://broker.example.com"', "begins with mqtts://"),
    (MQTT, "url", '"mqtts://"', "begins with mqtts:// or mqtt:// and a host"),
    (MQTT, "url", '"mqtts://broker.example.com/topic"', "the topic has its own key"),
    (MQTT, "url", '"mqtts://a:b#c@broker.example.com"', ""),
    (MQTT, "url", '"mqtts://broker.example.com:99999"', "valid host and port"),
    (MQTT, "url", "5", "must be text"),
    (AWS, "arn", '"arn:aws:s3:::bucket"', "must be the ARN of"),
    (AWS, "arn", '"arn:aws:events:eu-west-1:123456789012:rule/x"', "must be the ARN of"),
    (AWS, "arn", '"arn:aws:sqs:eu-west-1:1234:training"', "must be the ARN of"),
    (AWS, "endpoint_url", '"ftp://x"', "begins with https://"),
    (AWS, "endpoint_url", '"https://u:p@x"', "without a user name"),
    (KAFKA, "servers", '""', "HOST:PORT"),
    (KAFKA, "servers", '"kafka.example.com"', "HOST:PORT"),
    (KAFKA, "servers", '"kafka.example.com:99999"', "HOST:PORT"),
    (KAFKA, "servers", '"a:1,,b:2"', "HOST:PORT"),
    (KAFKA, "topic", '"a topic"', "must be the name of a topic"),
    (KAFKA, "topic", f'"{"x" * 250}"', "must be the name of a topic"),
    (KAFKA, "sasl_mechanism", '"GSSAPI"', "PLAIN"),
    (KAFKA, "password", '"alone"', "$ConnectionString"),
    (KAFKA, "tls", '"perhaps"', "must be true or false"),
    (AMQP, "url", '"rabbit.example.com"', "begins with amqps://"),
    (AMQP, "url", '"amqps://rabbit.example.com/a/b"', "written as %2F"),
    (AMQP, "url", '"amqps://rabbit.example.com/a?heartbeat=0"', "before any `?`"),
    (AMQP, "routing_key", '""', "must not be empty"),
    (AMQP, "routing_key", '"{key}"', "the fields are {source} and {type}"),
    (AMQP, "exchange", "5", "must be text"),
    (MQTT, "topic", '""', "must be the name of a topic"),
    (MQTT, "topic", '"training/#"', "must not contain + or #"),
    (MQTT, "topic", '"$SYS/x"', "does not begin with $"),
    (MQTT, "topic", '"training/{user}"', "the fields are {source} and {type}"),
    (MQTT, "topic", '"training/{type"', "a brace without its partner"),
    (MQTT, "topic", f'"{"x" * 201}"', "at most 200 characters"),
    (MQTT, "password", '"alone"', "needs username"),
    (MQTT, "batch_size", "1001", "at most 1000"),
    (MQTT, "client_key_file", '"config.toml"', "needs client_cert_file"),
]


@pytest.mark.parametrize(("table", "key", "value", "sentence"), WRONG)
def test_wrong_broker_value_is_reported(table: str, key: str, value: str, sentence: str, problems_of: Problems) -> None:
    kept = [line for line in table.splitlines() if not line.startswith(f"{key} =")]
    (problem,) = problems_of("\n".join([SOURCE, *kept, f"{key} = {value}\n"]))
    assert problem.startswith(f"destinations.x.{key}: ")
    assert sentence in problem


def test_broker_user_name_in_url_and_username_is_rejected(problems_of: Problems) -> None:
    (problem,) = problems_of(
        f'{SOURCE}[destinations.x]\ntype = "mqtt"\nurl = "mqtts://a:b@broker.example.com"\nusername = "c"\n'
    )
    assert problem == "destinations.x.username: is also in url; remove one"


def test_broker_ca_file_without_tls_is_rejected(problems_of: Problems) -> None:
    (problem,) = problems_of(f'{SOURCE}{MQTT.replace("mqtts:", "mqtt:")}ca_file = "config.toml"\n')
    assert problem == "destinations.x.ca_file: is used only with TLS: write mqtts:// in url"


def test_two_destinations_give_a_warning_only_with_the_same_topic(load_text: Load) -> None:
    def warnings(topic: str) -> list[Any]:
        second = MQTT.replace("destinations.x", "destinations.y") + f'topic = "{topic}"\n'
        settings = load_text(SOURCE + MQTT + second)
        return [warning for warning in settings.warnings() if "sent there twice" in warning.message]

    assert len(warnings("training/{source}/{type}")) == 1
    assert warnings("other") == []


def test_amqp_without_exchange_and_routing_key_gives_a_warning(load_text: Load) -> None:
    def warned(text: str) -> bool:
        return any("routing_key is the name of a queue" in str(it) for it in load_text(SOURCE + text).warnings())

    without = AMQP.replace('exchange = "training"', "")
    assert warned(without)
    assert not warned(f'{without}routing_key = "training"\n')
    assert not warned(AMQP)


@pytest.mark.parametrize(
    ("servers", "tls", "warned"),
    [
        ("kafka.example.com:9092", "true", False),
        ("kafka.example.com:9092", "false", True),
        ("127.0.0.1:9092,[::1]:9092", "false", False),
        ("127.0.0.1:9092,kafka.example.com:9092", "false", True),
    ],
)
def test_kafka_without_tls_on_another_machine_gives_a_warning(
    servers: str, tls: str, load_text: Load, *, warned: bool
) -> None:
    text = KAFKA.replace("kafka.example.com:9093", servers) + f"tls = {tls}\n"
    warnings = [str(warning) for warning in load_text(SOURCE + text).warnings()]
    assert any("unencrypted; write tls = true" in warning for warning in warnings) is warned


@pytest.mark.parametrize("key", ["access_key_id", "secret_access_key"])
def test_half_of_an_aws_access_key_is_rejected(key: str, problems_of: Problems) -> None:
    (other,) = {"access_key_id", "secret_access_key"} - {key}
    (problem,) = problems_of(f'{SOURCE}{AWS}{key} = "alone"\n')
    assert problem.startswith(f"destinations.x.{other}: is missing")


@pytest.mark.parametrize(
    ("arn", "url"),
    [
        ("arn:aws:sqs:eu-west-1:123456789012:a.fifo", "https://sqs.eu-west-1.amazonaws.com/"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:a", "https://sns.cn-north-1.amazonaws.com.cn/"),
        ("arn:aws-us-gov:events:us-gov-west-1:123456789012:event-bus/a", "https://events.us-gov-west-1.amazonaws.com/"),
    ],
)
def test_aws_endpoint_returns_the_url_of_the_arns_service(arn: str, url: str) -> None:
    assert AwsSettings.model_validate({"type": "aws", "arn": arn}).endpoint() == url
