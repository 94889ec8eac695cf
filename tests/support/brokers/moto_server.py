"""Runs moto, a simulation of AWS, with SQS, SNS and EventBridge."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3

from tests.support.brokers.common import Process, Stored, Streams, answers, shared_tcp_proxy_to
from tests.support.destinations import CertificateFiles
from tests.support.ports import free_port

REGION = "eu-west-1"
ACCOUNT = "123456789012"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:training"
FIFO_QUEUE = f"{QUEUE}.fifo"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:training"
BUS = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/training"
_OF_TOPIC, _OF_BUS = "of-topic", "of-bus"
_REFUSAL = b'{"__type":"com.amazon.coral.service#InvalidClientTokenId","message":"The security token is invalid."}'


@dataclass(slots=True)
class Moto:
    """A running moto server."""

    port: int
    refusing_port: int
    tls_port: int
    arn: str = QUEUE
    """The ARN to which the default destination publishes."""
    queue: str = "training"
    """The name of the queue that gets messages published to `arn`."""

    def keys(self, *, port: int | None = None, tls: bool = False, **keys: Any) -> dict[str, Any]:
        password = keys.pop("password", "secret-access-key")
        usual = self.tls_port if tls else self.port if password == "secret-access-key" else self.refusing_port
        url = f"http{'s' if tls else ''}://127.0.0.1:{port or usual}"
        login = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": password}
        return {"type": "aws", "arn": self.arn, "endpoint_url": url, **login} | keys

    def client(self, service: str) -> Any:
        """Return boto3's client for a service."""
        login = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
        return boto3.client(service, region_name=REGION, endpoint_url=f"http://127.0.0.1:{self.port}", **login)

    async def stored(self, count: int) -> Sequence[Stored]:
        return await asyncio.to_thread(self.in_queue, self.queue, count)

    def in_queue(self, name: str, count: int) -> Sequence[Stored]:
        """Wait for at least `count` messages in a queue, and take all of them."""
        sqs = self.client("sqs")
        url = f"http://127.0.0.1:{self.port}/{ACCOUNT}/{name}"
        found: list[Stored] = []
        for _ in range(100):
            asked = {"QueueUrl": url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
            got = sqs.receive_message(**asked, AttributeNames=["All"]).get("Messages", [])
            if not got and len(found) >= count:
                break
            for message in got:
                told = {key: it["StringValue"] for key, it in message.get("MessageAttributes", {}).items()}
                group = message["Attributes"].get("MessageGroupId", "")
                body, id_ = message["Body"].encode(), told.get("id", "")
                if name == _OF_BUS:
                    body, id_ = _detail(message["Body"])
                found.append(Stored(id_, self.arn, body, told.get("content-type", ""), group))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def prepare(self) -> None:
        """Create the queues, the topic and the bus."""
        sqs, sns = self.client("sqs"), self.client("sns")
        sqs.create_queue(QueueName="training")
        sqs.create_queue(QueueName="training.fifo", Attributes={"FifoQueue": "true"})
        for name in (_OF_TOPIC, _OF_BUS):
            sqs.create_queue(QueueName=name)
        sns.create_topic(Name="training")
        raw = {"RawMessageDelivery": "true"}
        sns.subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint=QUEUE.replace("training", _OF_TOPIC), Attributes=raw)
        events = self.client("events")
        events.create_event_bus(Name="training")
        pattern = json.dumps({"source": ["completion-notifier"]})
        events.put_rule(Name="all", EventBusName="training", EventPattern=pattern)
        target = {"Id": "queue", "Arn": QUEUE.replace("training", _OF_BUS)}
        events.put_targets(Rule="all", EventBusName="training", Targets=[target])

    def topic(self) -> "Moto":
        """Return the same server with the topic as the default target."""
        return replace(self, arn=TOPIC, queue=_OF_TOPIC)

    def bus(self) -> "Moto":
        """Return the same server with the bus as the default target."""
        return replace(self, arn=BUS, queue=_OF_BUS)


def _detail(event: str) -> tuple[bytes, str]:
    """Return the body and the id of the notifier's event in an EventBridge event."""
    detail = json.loads(event)["detail"]
    return json.dumps(detail, ensure_ascii=False, separators=(",", ":")).encode(), detail["id"]


async def _refuse(client: Streams, _broker: Streams) -> None:
    await client[0].read(2**16)
    client[1].write(
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/x-amz-json-1.0\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(_REFUSAL), _REFUSAL)
    )
    raise EOFError


@contextmanager
def moto_server(folder: Path, certificates: CertificateFiles) -> Iterator[Moto]:
    """Run a moto server with queues, a topic and a bus."""
    port = free_port()
    environ = {"MOTO_ACCOUNT_ID": ACCOUNT}
    process = Process(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], folder / "log", environ
    )
    try:
        process.start(lambda: answers(port))
        with (
            shared_tcp_proxy_to(port, handshake=_refuse) as refusing_port,
            shared_tcp_proxy_to(port, tls=certificates.server_context) as tls_port,
        ):
            broker = Moto(port, refusing_port, tls_port)
            broker.prepare()
            yield broker
    finally:
        process.stop()
