"""What the brokers for tests share: stored messages, server processes, and TCP proxies that tests can cut."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

USER = "notifier"
PASSWORD = "pa55word-of-the-broker"
WRONG_PASSWORD = "wr0ng-password-of-the-broker"
STARTS_WITHIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a consumer gets it. `where` is its topic or queue; messages with equal `order` stay in order."""

    id: str
    where: str
    body: bytes
    content_type: str
    order: str = ""


class Broker(Protocol):
    """A running broker for tests."""

    def keys(self, *, port: int | None = None, tls: bool = False, **keys: Any) -> dict[str, Any]:
        """Return the settings of a destination for this broker; `port` is that of a `TcpProxy` to the broker."""
        ...

    async def stored(self, count: int) -> Sequence[Stored]:
        """Wait for at least `count` messages, and return the next messages that a consumer gets, in order."""
        ...


def answers(port: int) -> bool:
    """Return whether a program listens on a port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass(slots=True)
class Process:
    """A program that runs in its own process group until it is stopped."""

    command: Sequence[str | Path]
    log: Path
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start the program, and wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*map(str, self.command)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **self.environ},
            )
        end = time.monotonic() + STARTS_WITHIN_SECONDS
        while not is_ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the group."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """Kill all processes of the group."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait(10)


@dataclass(slots=True)
class TcpProxy:
    """A TCP proxy in front of a broker. A test can hold back the broker's answers, and cut all connections."""

    port: int = 0
    holds_answers: bool = False
    """Whether the broker's answers are held back."""
    to_broker: int = 0
    """The number of bytes sent to the broker."""
    connections: int = 0
    """The number of connections made so far."""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Reset all connections, as when the broker is killed."""
        for writer in self.writers:
            writer.transport.abort()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handshake = Callable[[Streams, Streams], Awaitable[None]]
"""A function that exchanges data with a client and a broker, before the proxy forwards data between them."""


@asynccontextmanager
async def tcp_proxy_to(
    port: int, *, tls: ssl.SSLContext | None = None, handshake: Handshake | None = None
) -> AsyncIterator[TcpProxy]:
    """Run a TCP proxy for a port of this machine. In answers, such as Kafka's, the proxy's port replaces that port.

    With `tls`, clients use TLS to the proxy, and the proxy forwards plain data.
    """
    proxy = TcpProxy()
    tasks: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                while is_answer and proxy.holds_answers:
                    await asyncio.sleep(0.01)
                if is_answer:
                    data = data.replace(
                        b"127.0.0.1" + port.to_bytes(4, "big"), b"127.0.0.1" + proxy.port.to_bytes(4, "big")
                    )
                proxy.to_broker += 0 if is_answer else len(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", port)
        proxy.writers |= {writer, back}
        if handshake is not None:
            try:
                await handshake((reader, writer), (there, back))
            except (OSError, EOFError):
                writer.close()
                back.close()
                return
        for task in (forward(reader, back, is_answer=False), forward(there, writer, is_answer=True)):
            tasks.add(asyncio.create_task(task))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        proxy.cut()


@contextmanager
def shared_tcp_proxy_to(
    port: int, *, tls: ssl.SSLContext | None = None, handshake: Handshake | None = None
) -> Iterator[int]:
    """Run a proxy like `tcp_proxy_to` in a thread, so that several tests can share it; yield its port."""
    opened: Future[tuple[int, Callable[[], object]]] = Future()

    async def serve() -> None:
        is_over = asyncio.Event()
        over = partial(asyncio.get_running_loop().call_soon_threadsafe, is_over.set)
        async with tcp_proxy_to(port, tls=tls, handshake=handshake) as proxy:
            opened.set_result((proxy.port, over))
            await is_over.wait()
        # The event loop closes the cut connections in a later turn.
        await asyncio.sleep(0.05)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    opened_port, close = opened.result(10)
    try:
        yield opened_port
    finally:
        close()
        thread.join()
