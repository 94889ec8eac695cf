"""The cluster for tests that the Kafka library contains, in a process of its own."""

import asyncio
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.support.brokers.common import USER, Process, Stored
from tests.support.destinations import CertificateFiles

TOPIC = "training"


@dataclass(slots=True)
class MockKafka:
    """A running cluster with one broker."""

    port: int
    refusing_port: int
    """The port of a broker that refuses every login, which the cluster cannot do."""
    tls_port: int
    """A port that shows the self-signed certificate, and nothing more."""
    read: dict[int, int] = field(default_factory=dict)

    def keys(self, *, port: int | None = None, tls: bool = False, **keys: Any) -> dict[str, Any]:
        usual = self.tls_port if tls else self.refusing_port if "password" in keys else self.port
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
        # Partitions are read in any order; the sort keeps the order within each.
        return [one for _, one in sorted(found, key=lambda pair: pair[0])]


@contextmanager
def mock_kafka(folder: Path, certificates: CertificateFiles) -> Iterator[MockKafka]:
    """Run a cluster."""
    told = folder / "port"
    process = Process([sys.executable, __file__, told], folder / "log")
    try:
        process.start(told.exists)
        with listening(_refuse) as refusing_port, listening(show(certificates)) as tls_port:
            yield MockKafka(int(told.read_text()), refusing_port, tls_port)
    finally:
        process.stop()


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Answer connections in threads; yield the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError, struct.error):
            answer(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def show(certificates: CertificateFiles) -> Callable[[socket.socket], None]:
    """Return what shows the self-signed certificate on a connection, and nothing more."""

    def shake_hands(connection: socket.socket) -> None:
        with certificates.server_context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(1)

    return shake_hands


def _refuse(connection: socket.socket) -> None:
    """Speak as much of Kafka's protocol as it takes to refuse a login."""
    while True:
        size, key, version, number = struct.unpack(">ihhi", connection.recv(12, socket.MSG_WAITALL))
        connection.recv(size - 8, socket.MSG_WAITALL)
        match key:
            case 18 if version > 0:
                answer = struct.pack(">hi", 35, 0)  # UNSUPPORTED_VERSION: ask again with version 0
            case 18:
                known = [(18, 0, 0), (17, 0, 1), (36, 0, 0), (3, 0, 1), (0, 0, 3)]
                answer = struct.pack(">hi", 0, len(known)) + b"".join(struct.pack(">hhh", *one) for one in known)
            case 17:
                answer = struct.pack(">hih", 0, 1, 5) + b"PLAIN"
            case _:
                answer = struct.pack(">hhi", 58, -1, 0)  # SASL_AUTHENTICATION_FAILED
        connection.sendall(struct.pack(">ii", len(answer) + 4, number) + answer)


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
