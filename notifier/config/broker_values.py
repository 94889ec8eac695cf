"""The types of the values in the settings of message brokers, and their checks."""

import re
from typing import Annotated, Final
from urllib.parse import unquote

from msgspec import Struct
from pydantic import AfterValidator, SecretStr

from notifier.config.errors import InvalidValue
from notifier.config.urls import check_broker_url, check_url

_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_ALLOWED_FIELDS: Final = frozenset({"source", "type"})
_SERVER: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_HIGHEST_PORT: Final = 65_535
_KAFKA_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_ARN: Final = re.compile(
    r"arn:(aws[a-z-]*):(?:(?=sqs:[^:]*:[^:]*:[A-Za-z0-9_-]+(?:\.fifo)?$|sns:[^:]*:[^:]*:[A-Za-z0-9_-]+(?:\.fifo)?$"
    r"|events:[^:]*:[^:]*:event-bus/[A-Za-z0-9._/-]+$)(sqs|sns|events)):([a-z0-9-]+):([0-9]{12}):(.+)"
)
_LONGEST_TEMPLATE: Final = 200


def _check_one_line(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().isprintable():
        raise InvalidValue("must be one line of text, without control characters")
    return secret


Password = Annotated[SecretStr, AfterValidator(_check_one_line)]
"""A password; `""` for none."""


def _check_template(text: str) -> str:
    if not text.isprintable() or len(text) > _LONGEST_TEMPLATE:
        raise InvalidValue(f"must be one line of at most {_LONGEST_TEMPLATE} characters")
    if not set(_FIELD.findall(text)) <= _ALLOWED_FIELDS:
        raise InvalidValue("contains a field that does not exist; the fields are {source} and {type}")
    if set("{}") & set(_FIELD.sub("", text)):
        raise InvalidValue("contains a brace without its partner; fields are {source} and {type}")
    return text


Template = Annotated[str, AfterValidator(_check_template)]
"""A name in which `{source}` and `{type}` stand for the source and the type of each event."""


def _check_topic(text: str) -> str:
    if set("+#\0") & set(text):
        raise InvalidValue("must not contain + or #: they stand for many topics, and only subscribers may use them")
    if not text or text.startswith("$"):
        raise InvalidValue("must be the name of a topic, which does not begin with $")
    return text


TopicTemplate = Annotated[Template, AfterValidator(_check_topic)]
"""The name of an MQTT topic, in which `{source}` and `{type}` are replaced."""


def _check_mqtt_url(url: SecretStr) -> SecretStr:
    parts = check_broker_url(url.get_secret_value(), "mqtts", "mqtt")
    if parts.path.strip("/") or parts.query:
        raise InvalidValue("must end after the host and the port; the topic has its own key")
    return url


MqttUrl = Annotated[SecretStr, AfterValidator(_check_mqtt_url)]
"""The address of an MQTT broker."""


def _check_amqp_url(url: SecretStr) -> SecretStr:
    parts = check_broker_url(url.get_secret_value(), "amqps", "amqp")
    if parts.path.count("/") > 1:
        raise InvalidValue("must end after the virtual host; a slash in its name is written as %2F")
    if parts.query:
        raise InvalidValue("must end before any `?`: the keys of the destination take the place of parameters")
    if not unquote(parts.path).isprintable():
        raise InvalidValue("must have a virtual host without control characters")
    return url


AmqpUrl = Annotated[SecretStr, AfterValidator(_check_amqp_url)]
"""The address of an AMQP broker, possibly with a virtual host."""


def _check_routing_key(text: str) -> str:
    if not text:
        raise InvalidValue("must not be empty")
    return text


RoutingKey = Annotated[Template, AfterValidator(_check_routing_key)]
"""An AMQP routing key, in which `{source}` and `{type}` are replaced."""


def _parse_servers(text: str) -> str:
    servers = [server.strip() for server in text.split(",")]
    if not all(map(_SERVER.fullmatch, servers)) or any(int(it.rpartition(":")[2]) > _HIGHEST_PORT for it in servers):
        raise InvalidValue("must be addresses HOST:PORT, with commas between them")
    return ",".join(servers)


Servers = Annotated[str, AfterValidator(_parse_servers)]
"""One or more addresses `HOST:PORT`, with commas between them."""


def _check_kafka_topic(text: str) -> str:
    if not _KAFKA_TOPIC.fullmatch(text) or text in {".", ".."}:
        raise InvalidValue("must be the name of a topic: at most 249 letters, digits, dots, hyphens and underscores")
    return text


KafkaTopic = Annotated[str, AfterValidator(_check_kafka_topic)]
"""The name of a Kafka topic."""


def _check_arn(text: str) -> str:
    if not _ARN.fullmatch(text):
        raise InvalidValue(
            "must be the ARN of an SQS queue, an SNS topic or an EventBridge bus, such as"
            " arn:aws:sqs:eu-west-1:123456789012:training"
        )
    return text


Arn = Annotated[str, AfterValidator(_check_arn)]
"""The ARN of a queue, a topic or an event bus."""


class ArnParts(Struct, frozen=True):
    """The parts of an ARN (Amazon Resource Name); `service` is `sqs`, `sns` or `events`."""

    partition: str
    service: str
    region: str
    account: str
    name: str


def parse_arn(arn: str) -> ArnParts:
    """Return the parts of an ARN. If the text is not an ARN, all parts are empty."""
    found = _ARN.fullmatch(arn)
    return ArnParts(*found.groups()) if found else ArnParts("", "", "", "", "")


def _check_endpoint(url: str) -> str:
    if url:
        parts = check_url(url)
        if parts.username is not None or parts.query or parts.fragment:
            raise InvalidValue("must be a URL without a user name, and end before any `?` or `#`")
    return url


Endpoint = Annotated[str, AfterValidator(_check_endpoint)]
"""An http or https URL without credentials; `""` for none."""
