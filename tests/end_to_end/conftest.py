"""A receiver, and the program ready to be started."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.end_to_end.harness import Program, Receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    this = Receiver()
    app = web.Application()
    app.add_routes([web.post("/hook", this.hook), web.post("/slack", this.channel), web.get("/beat", this.beat)])
    app.add_routes([web.post("/alerts", this.alert)])
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    this.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield this
    await runner.cleanup()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    this = Program(tmp_path)
    yield this
    if this.process is not None and this.process.poll() is None:
        this.kill()
