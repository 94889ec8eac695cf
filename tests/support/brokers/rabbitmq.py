"""Runs RabbitMQ with a port for TLS and a low size limit for messages."""

import asyncio
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika

from tests.support.brokers.common import PASSWORD, USER, Process, Stored, answers
from tests.support.destinations import CertificateFiles
from tests.support.needed_programs import needed
from tests.support.ports import free_port

LARGEST_BYTES = 50_000
QUEUE = "training"
_PROGRAMS = Path("/usr/lib/rabbitmq/bin")

_CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
ssl_options.verify = verify_none
max_message_size = {largest}
loopback_users = none
default_user = {user}
default_pass = {password}
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 1MB
"""


@dataclass(slots=True)
class Rabbit:
    """A running RabbitMQ."""

    port: int
    tls_port: int
    erlang: dict[str, str] = field(default_factory=dict)
    """The environment variables for RabbitMQ's programs."""

    def control(self, *words: str) -> None:
        """Run `rabbitmqctl`, which takes some seconds."""
        subprocess.run(
            [_PROGRAMS / "rabbitmqctl", "-q", *words],
            env={**os.environ, **self.erlang},
            check=True,
            capture_output=True,
            timeout=60,
        )

    def keys(self, *, port: int | None = None, tls: bool = False, **keys: Any) -> dict[str, Any]:
        scheme, usual = ("amqps", self.tls_port) if tls else ("amqp", self.port)
        url = f"{scheme}://127.0.0.1:{port or usual}"
        more = {"url": url, "username": USER, "password": PASSWORD, "exchange": "amq.topic"}
        return {"type": "amqp", **more} | keys

    async def stored(self, count: int) -> Sequence[Stored]:
        connection = await aio_pika.connect(f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/")
        found: list[Stored] = []
        async with connection, asyncio.timeout(10):
            queue = await (await connection.channel()).get_queue(QUEUE)
            while len(found) < count or (await queue.declare()).message_count:
                message = await queue.get(no_ack=True, fail=False)
                if message is None:
                    await asyncio.sleep(0.01)
                    continue
                assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
                found.append(
                    Stored(
                        str(message.message_id),
                        str(message.routing_key),
                        message.body,
                        str(message.content_type),
                    )
                )
        return found

    async def prepare(self) -> None:
        """Create the queue."""
        connection = await aio_pika.connect(f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/")
        async with connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(QUEUE, durable=True)
            await queue.bind(await channel.get_exchange("amq.topic"), "#.acme")


@contextmanager
def rabbitmq(folder: Path, certificates: CertificateFiles) -> Iterator[Rabbit]:
    """Run RabbitMQ, which takes some seconds to start."""
    needed("rabbitmq-server", "rabbitmq-server")
    # Debian's wrapper changes to another user, who cannot read the test's folder.
    program = _PROGRAMS / "rabbitmq-server"
    broker = Rabbit(free_port(), free_port())
    (folder / "rabbitmq.conf").write_text(
        _CONFIGURATION.format(
            port=broker.port,
            tls_port=broker.tls_port,
            certificate=certificates.certificate,
            key=certificates.key,
            largest=LARGEST_BYTES,
            user=USER,
            password=PASSWORD,
        )
    )
    (folder / "plugins").write_text("[].")
    erlang = {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"notifier{os.getpid()}@localhost",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(free_port()),
    }
    broker.erlang |= erlang
    # RabbitMQ would start Erlang's name server as a daemon that stays. As a separate process it ends with the broker.
    names = Process(["epmd", "-port", erlang["ERL_EPMD_PORT"]], folder / "names", erlang)
    process = Process([program], folder / "output", erlang)
    try:
        names.start(lambda: answers(int(erlang["ERL_EPMD_PORT"])))
        process.start(lambda: answers(broker.port) and answers(broker.tls_port))
        asyncio.run(broker.prepare())
        yield broker
    finally:
        process.stop()
        names.stop()
