"""What the brokers of the tests share: what one has stored, a process, a free port, and a way to it that can be cut."""

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
    """A message that a broker gives to consumers: its id, where it lies, its body, and what keeps its order."""

    id: str
    where: str
    body: bytes
    content_type: str
    order: str = ""


class Broker(Protocol):
    """A broker of the tests."""

    def keys(self, *, port: int | None = None, tls: bool = False, **keys: Any) -> dict[str, Any]:
        """Return the settings of a destination there; `port` is that of a way to it."""
        ...

    async def stored(self, count: int) -> Sequence[Stored]:
        """Return the next messages that consumers get, in order; waits until there are so many."""
        ...


def answers(port: int) -> bool:
    """Return whether something listens on a port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass(slots=True)
class Process:
    """A program that runs until it is stopped, in a process group of its own."""

    command: Sequence[str | Path]
    log: Path
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start it, and wait until it is ready."""
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
        """Send a signal to the whole group."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """Kill the whole group."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait(10)


@dataclass(slots=True)
class Way:
    """A TCP way to a broker: what it sends can be held back, and all connections can be cut."""

    port: int = 0
    is_silent: bool = False
    """Whether what the broker answers is held back."""
    to_broker: int = 0
    """How many bytes have gone to the broker."""
    connections: int = 0
    """How many connections were made."""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Reset all connections, as when the broker is killed."""
        for writer in self.writers:
            writer.transport.abort()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Admit = Callable[[Streams, Streams], Awaitable[None]]
"""Speaks with a client and the broker before what they send is forwarded."""


@asynccontextmanager
async def way_to(port: int, *, tls: ssl.SSLContext | None = None, admit: Admit | None = None) -> AsyncIterator[Way]:
    """Open a way to a port of this machine. Where the answers name that port, as Kafka's do, they name the way's.

    With `tls`, clients speak TLS, which ends here.
    """
    way = Way()
    tasks: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                while is_answer and way.is_silent:
                    await asyncio.sleep(0.01)
                if is_answer:
                    data = data.replace(
                        b"127.0.0.1" + port.to_bytes(4, "big"), b"127.0.0.1" + way.port.to_bytes(4, "big")
                    )
                way.to_broker += 0 if is_answer else len(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", port)
        way.writers |= {writer, back}
        if admit is not None:
            try:
                await admit((reader, writer), (there, back))
            except (OSError, EOFError):
                writer.close()
                back.close()
                return
        for task in (forward(reader, back, is_answer=False), forward(there, writer, is_answer=True)):
            tasks.add(asyncio.create_task(task))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    way.port = server.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        way.cut()


@contextmanager
def gate_to(port: int, *, tls: ssl.SSLContext | None = None, admit: Admit | None = None) -> Iterator[int]:
    """Open a way like `way_to` in a thread, for several tests; yield its port."""
    opened: Future[tuple[int, Callable[[], object]]] = Future()

    async def serve() -> None:
        is_over = asyncio.Event()
        over = partial(asyncio.get_running_loop().call_soon_threadsafe, is_over.set)
        async with way_to(port, tls=tls, admit=admit) as way:
            opened.set_result((way.port, over))
            await is_over.wait()
        # The connections that were cut are closed in a later turn of the loop.
        await asyncio.sleep(0.05)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    opened_port, close = opened.result(10)
    try:
        yield opened_port
    finally:
        close()
        thread.join()
