"""The settings of the destinations that are message brokers, one class for each type."""

from collections.abc import Iterator
from enum import StrEnum
from importlib.util import find_spec
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from notifier.config import likely_mistakes
from notifier.config.base_table import default
from notifier.config.broker_values import (
    AmqpUrl,
    Arn,
    ArnParts,
    Endpoint,
    KafkaTopic,
    MqttUrl,
    Password,
    RoutingKey,
    Servers,
    TopicTemplate,
    parse_arn,
)
from notifier.config.destinations import DestinationSettings
from notifier.config.durations import Duration
from notifier.config.errors import Problem, problem_if
from notifier.config.types import CountUpTo1000, ReadableFile, Text
from notifier.config.urls import is_plain_beyond_loopback
from notifier.http.proxy import is_loopback
from notifier.redact import redact

_UNENCRYPTED: Final = "people's names and the password cross the network unencrypted"


class BrokerSettings(DestinationSettings):
    """The keys of every type of message broker."""

    module: ClassVar[str]
    """The top-level module of the library that speaks to the broker."""
    library: ClassVar[str]
    """The name of the library's distribution."""

    type: str
    """The type of destination."""
    batch_size: CountUpTo1000 = 1
    """The maximum number of events that are sent together, each as a message of its own."""
    batch_wait: Duration = default("1s")
    """How long a batch that is not full waits for further events."""
    ca_file: ReadableFile = default("")
    """A file with the certificates (PEM) of a private certificate authority."""

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys, and one if the library is not installed."""
        yield from super().conflicts()
        if find_spec(self.module) is None:
            yield Problem("type", f"needs the library {self.library}: pip install 'completion-notifier[{self.type}]'")

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        if self.ca_file:
            yield from problem_if("ca_file", likely_mistakes.of_certificate_file(self.ca_file))


class ClientCertificateSettings(BrokerSettings):
    """The keys of every type of message broker that can request a client certificate."""

    client_cert_file: ReadableFile = default("")
    """A file with the certificate (PEM) that is shown to the receiver (mutual TLS)."""
    client_key_file: ReadableFile = default("")
    """A file with the certificate's private key (PEM), if it is not in `client_cert_file`."""

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        yield from super().conflicts()
        if self.client_key_file and not self.client_cert_file:
            yield Problem("client_key_file", "needs client_cert_file, the certificate that belongs to the key")


class UrlBrokerSettings(ClientCertificateSettings):
    """The keys of every type of message broker whose address is a URL."""

    encrypted_scheme: ClassVar[str]
    """The scheme that a URL has if the connection uses TLS."""

    url: SecretStr
    """The broker's address."""
    username: Text = ""
    """The user name, if it is not in `url`."""
    password: Password = default("")
    """The password, if it is not in `url`."""

    def address(self) -> str:
        """Return the address that events go to, without any secret."""
        return redact(self.url.get_secret_value())

    def public_urls(self) -> Iterator[str]:
        """Yield the broker's URL. Only a password in the URL is secret."""
        yield self.url.get_secret_value()

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        yield from super().conflicts()
        if self.username and urlsplit(self.url.get_secret_value()).username is not None:
            yield Problem("username", "is also in url; remove one")
        if self.password.get_secret_value() and not self.username:
            yield Problem("password", "needs username, to which it belongs")
        if not self.is_encrypted:
            yield from _unused_tls_files(self, f"is used only with TLS: write {self.encrypted_scheme}:// in url")

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        parts = urlsplit(self.url.get_secret_value())
        if not self.is_encrypted and not is_loopback(parts.hostname or ""):
            yield Problem("url", f"is {parts.scheme}://: {_UNENCRYPTED}; use {self.encrypted_scheme}://")
        yield from problem_if("url", likely_mistakes.of_url(self.url.get_secret_value()))
        yield from problem_if("password", likely_mistakes.of_secret(self.password.get_secret_value()))

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return urlsplit(self.url.get_secret_value()).scheme == self.encrypted_scheme


class MqttSettings(UrlBrokerSettings):
    """A topic of an MQTT 5 broker, such as Mosquitto, HiveMQ, EMQX, AWS IoT Core or Azure Event Grid."""

    identity = (
        *("type", "url", "topic", "username", "password", "client_id"),
        *("ca_file", "client_cert_file", "client_key_file"),
    )
    module = "paho"
    library = "paho-mqtt"
    encrypted_scheme = "mqtts"

    type: Literal["mqtt"]
    """The type of destination."""
    url: MqttUrl
    """The broker's address: mqtts://HOST, or mqtt://HOST without TLS. `notifier check` warns about mqtt:// addresses on
    other machines."""
    topic: TopicTemplate = "training/{source}/{type}"
    """The topic. `{source}` and `{type}` stand for the event's source and type."""
    client_id: Text = ""
    """The client identifier, if the broker allows only certain ones. Empty: the broker chooses one."""

    def address(self) -> str:
        """Return the broker and the topic, without any secret."""
        return f"{super().address()} {self.topic}"

    def receiver_identity(self) -> object:
        """Return the values that identify the receiver: the broker's URL and the topic."""
        return self.url.get_secret_value(), self.topic


class SaslMechanism(StrEnum):
    """The SASL mechanisms by which a Kafka client can log in with a password."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class KafkaSettings(ClientCertificateSettings):
    """A topic of a Kafka cluster, or of a service that speaks Kafka's protocol, such as Azure Event Hubs."""

    identity = (
        *("type", "servers", "topic", "tls", "username", "password"),
        *("ca_file", "client_cert_file", "client_key_file"),
    )
    address_key = "servers"
    module = "confluent_kafka"
    library = "confluent-kafka"

    type: Literal["kafka"]
    """The type of destination."""
    servers: Servers
    """The addresses of one or more brokers of the cluster: HOST:PORT, with commas between them."""
    topic: KafkaTopic
    """The topic, which must exist."""
    tls: bool = True
    """Whether connections are encrypted. `notifier check` warns about unencrypted connections to other machines."""
    username: Text = ""
    """The user name. Empty: no login, or only by a client certificate."""
    password: Password = default("")
    """The password; for Azure Event Hubs the connection string."""
    sasl_mechanism: SaslMechanism = SaslMechanism.PLAIN
    """The SASL mechanism by which the client logs in with its password."""

    def address(self) -> str:
        """Return the servers and the topic."""
        return f"{self.servers} {self.topic}"

    def receiver_identity(self) -> object:
        """Return the values that identify the receiver: the servers and the topic."""
        return self.servers, self.topic

    def further_secrets(self) -> Iterator[str]:
        """If the password is a connection string, as for Azure Event Hubs, yield the secret values within it."""
        for part in self.password.get_secret_value().split(";"):
            name, _, value = part.partition("=")
            if value and "://" not in value and "name" not in name.lower():
                yield value

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        yield from super().conflicts()
        if self.password.get_secret_value() and not self.username:
            yield Problem("password", "needs username, to which it belongs (for Azure Event Hubs: $ConnectionString)")
        if not self.tls:
            yield from _unused_tls_files(self, "is used only with tls = true")

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        hosts = [server.rpartition(":")[0].strip("[]") for server in self.servers.split(",")]
        if not self.tls and not all(map(is_loopback, hosts)):
            yield Problem("tls", f"is false: {_UNENCRYPTED}; write tls = true")
        yield from problem_if("password", likely_mistakes.of_secret(self.password.get_secret_value()))


class AwsSettings(BrokerSettings):
    """An SQS queue, an SNS topic or an EventBridge bus of Amazon Web Services."""

    identity = ("type", "arn", "access_key_id", "secret_access_key", "endpoint_url", "ca_file")
    address_key = "arn"
    module = "botocore"
    library = "botocore"

    type: Literal["aws"]
    """The type of destination."""
    arn: Arn
    """The ARN of a queue, a topic or an event bus."""
    access_key_id: Text = ""
    """The id of an access key. Empty: the credentials that other AWS programs use too, from the environment or the
    machine's role."""
    secret_access_key: Password = default("")
    """The secret of the access key."""
    endpoint_url: Endpoint = ""
    """The URL of the service, for example that of a VPC endpoint. Empty: the usual URL in the ARN's region."""

    def arn_parts(self) -> ArnParts:
        """Return the parts of the ARN."""
        return parse_arn(self.arn)

    def endpoint(self) -> str:
        """Return the URL that requests go to."""
        target = self.arn_parts()
        suffix = "amazonaws.com.cn" if target.partition == "aws-cn" else "amazonaws.com"
        return self.endpoint_url or f"https://{target.service}.{target.region}.{suffix}/"

    def address(self) -> str:
        """Return the ARN."""
        return self.arn

    def receiver_identity(self) -> object:
        """Return the values that identify the receiver: the ARN and the endpoint's URL."""
        return self.arn, self.endpoint_url

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        yield from super().conflicts()
        if bool(self.access_key_id) != bool(self.secret_access_key.get_secret_value()):
            key = "access_key_id" if not self.access_key_id else "secret_access_key"
            yield Problem(key, "is missing: access_key_id and secret_access_key belong together")

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        if self.endpoint_url and is_plain_beyond_loopback(self.endpoint_url):
            yield Problem("endpoint_url", f"is http://: {_UNENCRYPTED}; use https://")
        yield from problem_if("secret_access_key", likely_mistakes.of_secret(self.secret_access_key.get_secret_value()))


class AmqpSettings(UrlBrokerSettings):
    """An exchange or a queue of RabbitMQ, or of another broker that speaks AMQP 0-9-1."""

    identity = (
        *("type", "url", "exchange", "routing_key", "username", "password"),
        *("ca_file", "client_cert_file", "client_key_file"),
    )
    module = "aio_pika"
    library = "aio-pika"
    encrypted_scheme = "amqps"

    type: Literal["amqp"]
    """The type of destination."""
    url: AmqpUrl
    """The broker's address: amqps://HOST/VHOST, or amqp://HOST/VHOST without TLS. `notifier check` warns about amqp://
    addresses on other machines."""
    exchange: Text = ""
    """The exchange. Empty: the default exchange, for which `routing_key` is the name of a queue."""
    routing_key: RoutingKey = "{type}.{source}"
    """The routing key. `{source}` and `{type}` stand for the event's source and type."""

    def address(self) -> str:
        """Return the broker and the exchange or queue, without any secret."""
        return f"{super().address()} {self.exchange or self.routing_key}"

    def receiver_identity(self) -> object:
        """Return the values that identify the receiver: the broker's URL, the exchange and the routing key."""
        return self.url.get_secret_value(), self.exchange, self.routing_key

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        if not self.exchange and self.routing_key == type(self).model_fields["routing_key"].default:
            yield Problem(
                "exchange", "is empty: without an exchange, routing_key is the name of a queue, such as training"
            )


def _unused_tls_files(settings: ClientCertificateSettings, sentence: str) -> Iterator[Problem]:
    for key in ("ca_file", "client_cert_file"):
        if getattr(settings, key):
            yield Problem(key, sentence)
