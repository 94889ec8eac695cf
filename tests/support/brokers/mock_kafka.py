"""Runs the mock cluster of the Kafka library in a separate process.

The mock cluster supports neither TLS nor logins; proxies in front of it do.
"""

import asyncio
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.support.brokers.common import PASSWORD, USER, Process, Stored, Streams, shared_tcp_proxy_to
from tests.support.destinations import CertificateFiles

TOPIC = "training"


@dataclass(slots=True)
class MockKafka:
    """A running cluster with one broker."""

    port: int
    login_port: int
    """The port of a proxy that requires the user's login."""
    tls_port: int
    tls_login_port: int
    read: dict[int, int] = field(default_factory=dict)

    def keys(self, *, port: int | None = None, tls: bool = False, **keys: Any) -> dict[str, Any]:
        open_port, login_port = (self.tls_port, self.tls_login_port) if tls else (self.port, self.login_port)
        usual = login_port if "password" in keys else open_port
        servers = f"127.0.0.1:{port or usual}"
        if "password" in keys:
            keys = {"username": USER, **keys}
        return {"type": "kafka", "servers": servers, "topic": TOPIC, "tls": tls} | keys

    async def stored(self, count: int) -> Sequence[Stored]:
        return await asyncio.to_thread(self._stored, count)

    def _stored(self, count: int) -> Sequence[Stored]:
        consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{self.port}", "group.id": "reader"})
        partitions = consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        consumer.assign([TopicPartition(TOPIC, number, self.read.get(number, 0)) for number in partitions])
        found: list[tuple[int, Stored]] = []
        end = time.monotonic() + 10
        while time.monotonic() < end:
            message = consumer.poll(0.2)
            if message is None and len(found) >= count:
                break
            if message is None or message.error():
                continue
            self.read[message.partition() or 0] = (message.offset() or 0) + 1
            headers = {name: value for name, value in dict(message.headers() or ()).items() if isinstance(value, bytes)}
            found.append(
                (
                    message.timestamp()[1],
                    Stored(
                        headers["ce_id"].decode(),
                        str(message.topic()),
                        message.value() or b"",
                        headers["content-type"].decode(),
                        (message.key() or b"").decode(),
                    ),
                )
            )
        consumer.close()
        assert len(found) >= count, f"{len(found)} of {count} messages"
        # Partitions are read in any order; the sort is stable within each partition.
        return [one for _, one in sorted(found, key=lambda pair: pair[0])]


@contextmanager
def mock_kafka(folder: Path, certificates: CertificateFiles) -> Iterator[MockKafka]:
    """Run a cluster."""
    told = folder / "port"
    process = Process([sys.executable, __file__, told], folder / "log")
    try:
        process.start(told.exists)
        port, tls = int(told.read_text()), certificates.server_context
        with (
            shared_tcp_proxy_to(port, handshake=_log_in) as login_port,
            shared_tcp_proxy_to(port, tls=tls) as tls_port,
            shared_tcp_proxy_to(port, tls=tls, handshake=_log_in) as tls_login_port,
        ):
            yield MockKafka(port, login_port, tls_port, tls_login_port)
    finally:
        process.stop()


_API_VERSIONS, _HANDSHAKE, _AUTHENTICATE = 18, 17, 36


async def _log_in(client: Streams, broker: Streams) -> None:
    """Speak the part of Kafka's protocol that a login with a password needs."""
    credentials = f"\0{USER}\0{PASSWORD}".encode()
    while True:
        size, key, version, number = struct.unpack(">ihhi", await client[0].readexactly(12))
        rest = await client[0].readexactly(size - 8)
        is_admitted = False
        match key:
            case 18 if version > 0:
                answer = struct.pack(">hi", 35, 0)  # UNSUPPORTED_VERSION: ask again with version 0
            case 18:
                answer = await _versions(broker)
            case 17:
                answer = struct.pack(">hih", 0, 1, 5) + b"PLAIN"
            case _:
                is_admitted = key == _AUTHENTICATE and rest.endswith(credentials)
                answer = struct.pack(">hhi", 0 if is_admitted else 58, -1, 0)  # SASL_AUTHENTICATION_FAILED
        client[1].write(struct.pack(">ii", len(answer) + 4, number) + answer)
        if is_admitted:
            return


async def _versions(broker: Streams) -> bytes:
    """Return an answer with the API versions of the cluster and, in addition, those of the login requests."""
    broker[1].write(struct.pack(">ihhih", 10, _API_VERSIONS, 0, 0, -1))
    (size,) = struct.unpack(">i", await broker[0].readexactly(4))
    said = await broker[0].readexactly(size)
    _, error, count = struct.unpack(">ihi", said[:10])
    login = struct.pack(">hhhhhh", _HANDSHAKE, 0, 1, _AUTHENTICATE, 0, 0)
    return struct.pack(">hi", error, count + 2) + said[10 : 10 + 6 * count] + login


def _serve(told: Path) -> None:
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored"})
    brokers = producer.list_topics(TOPIC, timeout=10).brokers
    (broker,) = brokers.values()
    written = told.with_suffix(".new")
    written.write_text(str(broker.port))
    written.rename(told)
    while True:
        producer.poll(1)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))
    _serve(Path(sys.argv[1]))
