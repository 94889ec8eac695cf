"""A real daemon with account and receiver in its own thread, for clients that block."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from notifier.daemon.daemon import Daemon
from tests.support.daemon import World, status_when, until_swept


@contextmanager
def live_daemon(folder: Path) -> Iterator[str]:
    """Run a daemon that knows 22 records and has delivered two events; yield its URL."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    ready, done = threading.Event(), threading.Event()

    async def run() -> None:
        world = World(folder)
        async with world.resources:
            await world.open()
            daemon = Daemon(world.settings(listen=f"127.0.0.1:{port}"))
            await daemon.start()
            try:
                await until_swept(daemon)
                world.complete()
                world.complete()
                await status_when(daemon, "hr", "delivered", 2)
                ready.set()
                await asyncio.to_thread(done.wait)
            finally:
                ready.set()
                await daemon.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="live daemon")
    thread.start()
    assert ready.wait(30)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        done.set()
        thread.join(30)
