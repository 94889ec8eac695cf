"""Runs Mosquitto, an MQTT broker, with a port for TLS and a user who may write only some topics."""

import asyncio
import getpass
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.support.brokers.common import PASSWORD, USER, Process, Stored, answers
from tests.support.destinations import CertificateFiles
from tests.support.needed_programs import needed
from tests.support.ports import free_port

LARGEST_BYTES = 50_000

_CONFIGURATION = """
user {user}
persistence false
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/rights
max_packet_size {largest}
log_dest stderr
listener {port} 127.0.0.1
listener {tls_port} 127.0.0.1
certfile {certificate}
keyfile {key}
"""
_RIGHTS = f"user {USER}\ntopic write training/#\nuser reader\ntopic read #\n"


@dataclass(slots=True)
class Mosquitto:
    """A running Mosquitto."""

    port: int
    tls_port: int
    messages: list[Stored] = field(default_factory=list)
    taken: int = 0

    def keys(self, *, port: int | None = None, tls: bool = False, **keys: Any) -> dict[str, Any]:
        scheme, usual = ("mqtts", self.tls_port) if tls else ("mqtt", self.port)
        url = f"{scheme}://127.0.0.1:{port or usual}"
        return {"type": "mqtt", "url": url, "username": USER, "password": PASSWORD} | keys

    async def stored(self, count: int) -> Sequence[Stored]:
        async with asyncio.timeout(10):
            while len(self.messages) < self.taken + count:
                await asyncio.sleep(0.01)
        found = self.messages[self.taken :]
        self.taken += len(found)
        return found


@contextmanager
def mosquitto(folder: Path, certificates: CertificateFiles) -> Iterator[Mosquitto]:
    """Run Mosquitto, and a client that receives all messages."""
    program = needed("mosquitto", "mosquitto")
    broker = Mosquitto(free_port(), free_port())
    for name, password in ((USER, PASSWORD), ("reader", "reader")):
        make = [] if (folder / "passwords").exists() else ["-c"]
        subprocess.run(
            ["mosquitto_passwd", *make, "-b", folder / "passwords", name, password], check=True, capture_output=True
        )
    (folder / "rights").write_text(_RIGHTS)
    (folder / "rights").chmod(0o600)
    (folder / "mosquitto.conf").write_text(
        _CONFIGURATION.format(
            user=getpass.getuser(),
            folder=folder,
            largest=LARGEST_BYTES,
            port=broker.port,
            tls_port=broker.tls_port,
            certificate=certificates.certificate,
            key=certificates.key,
        )
    )
    process = Process([program, "-c", folder / "mosquitto.conf"], folder / "log")
    try:
        process.start(lambda: answers(broker.port))
        with _reading(broker):
            yield broker
    finally:
        process.stop()


@contextmanager
def _reading(broker: Mosquitto) -> Iterator[None]:
    reads = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set("reader", "reader")

    def note(_client: Any, _data: Any, message: Any) -> None:
        known = dict(message.properties.UserProperty)
        broker.messages.append(Stored(known["id"], message.topic, message.payload, message.properties.ContentType))

    client.on_message = note
    client.on_subscribe = lambda *_: reads.set()
    client.connect("127.0.0.1", broker.port)
    client.subscribe("#", qos=1)
    client.loop_start()
    assert reads.wait(10)
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()
        # This breaks a reference cycle, so that the client is deleted here and closes its sockets.
        client.on_message = client.on_subscribe = None
