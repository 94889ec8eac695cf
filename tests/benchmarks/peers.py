"""Compares the notifier with other programs that post to a webhook: rate, latency, and the loss after a SIGKILL.

    python -m tests.benchmarks.peers [--events 10000] [--singles 100]

The other programs are Alertmanager (Debian's package prometheus-alertmanager), with each alert in a separate group; a
script as cron would start it, which posts one event after the other with `requests` and stores nothing; and Node-RED
(`npm install node-red`; NODE_RED may name the program) with a flow that forwards HTTP requests. Programs that are not
installed are left out. Only the notifier signs its requests, and stores each outcome before it counts.

For the rate, all events are submitted at once; it is measured between the first and the last arrival. For the latency,
events are submitted one by one. It begins when an event is sent to the program or, for the notifier, when the API's
answer with the record begins to arrive. For the loss, all events are submitted. The program is killed when it has
posted a third of them, and started again; nothing is submitted again.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from msgspec.structs import replace

from notifier.clock import SystemClock
from notifier.config import HttpSettings
from notifier.delivery.subscriptions import subscription_of
from notifier.events import Change
from notifier.store.file.store import FileStore
from notifier.store.tables import records, sources
from tests.benchmarks import latency
from tests.benchmarks.common import beside, news, report, with_bytecode
from tests.benchmarks.delivery import SECRET

_QUIET_SECONDS = 4.0
"""Seconds without an arrival after which no more are expected; a restarted notifier needs some two to begin."""

_START_SECONDS = 60.0
_AT_ONCE = 500


class Peer(ABC):
    """A program that posts events to a webhook. It is started with its own folder."""

    name: str

    def __init__(self, folder: Path, webhook: str) -> None:
        self.folder = folder
        self.webhook = webhook
        self.process: subprocess.Popen[str] | None = None
        self.accepted: set[int] = set()
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]

    @staticmethod
    def missing() -> str | None:
        """Return what is missing if the program cannot be run, otherwise None."""
        return None

    @abstractmethod
    def command(self) -> list[str]:
        """Write the program's files, and return the command that starts it."""

    @abstractmethod
    async def hand_over(self, session: aiohttp.ClientSession, numbers: range) -> None:
        """Submit events to the running program."""

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Start the program, and wait until it listens."""
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
        )
        await self.ready(session)

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Wait until the program answers."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{self.port}/"):
                    return
            except aiohttp.ClientError:
                assert time.monotonic() < deadline, f"{self.name} does not start"
                await asyncio.sleep(0.1)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the program."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=30)
            assert self.process.stdin is not None
            self.process.stdin.close()


class Alertmanager(Peer):
    """Alertmanager, configured so that every alert is a separate group and request."""

    name = "alertmanager"

    @staticmethod
    def missing() -> str | None:
        return None if shutil.which("prometheus-alertmanager") else "Debian's package prometheus-alertmanager"

    def command(self) -> list[str]:
        config = self.folder / "alertmanager.yml"
        config.write_text(
            "route: {receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1h, repeat_interval: 24h}\n"
            f"receivers: [{{name: hook, webhook_configs: [{{url: '{self.webhook}', send_resolved: false}}]}}]\n"
        )
        return [
            "prometheus-alertmanager",
            f"--config.file={config}",
            f"--storage.path={self.folder}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]

    async def hand_over(self, session: aiohttp.ClientSession, numbers: range) -> None:
        for first in range(0, len(numbers), _AT_ONCE):
            alerts = [{"labels": {"alertname": f"bench-{number}"}} for number in numbers[first : first + _AT_ONCE]]
            async with session.post(f"http://127.0.0.1:{self.port}/api/v2/alerts", json=alerts) as response:
                response.raise_for_status()
            self.accepted.update(numbers[first : first + _AT_ONCE])


class NodeRed(Peer):
    """Node-RED with a flow that forwards requests."""

    name = "node-red"

    @staticmethod
    def program() -> str | None:
        return os.environ.get("NODE_RED") or shutil.which("node-red")

    @staticmethod
    def missing() -> str | None:
        return None if NodeRed.program() else "`npm install node-red`, or NODE_RED with the path of the program"

    def command(self) -> list[str]:
        common = {"z": "flow"}
        target = {"method": "POST", "ret": "txt", "paytoqs": "ignore", "url": self.webhook, "persist": True}
        flows = [
            {"id": "flow", "type": "tab", "label": "posts"},
            {"id": "in", "type": "http in", "url": "/in", "method": "post", "wires": [["ask", "answer"]], **common},
            {"id": "ask", "type": "http request", **target, "wires": [[]], **common},
            {"id": "answer", "type": "http response", "wires": [], **common},
        ]
        (self.folder / "flows.json").write_text(json.dumps(flows))
        (self.folder / "settings.js").write_text("module.exports = {flowFile: 'flows.json', uiHost: '127.0.0.1'}")
        return [self.program() or "", "--userDir", str(self.folder), "--port", str(self.port)]

    async def hand_over(self, session: aiohttp.ClientSession, numbers: range) -> None:
        waiting = iter(numbers)

        async def keep_posting() -> None:
            for number in waiting:
                async with session.post(f"http://127.0.0.1:{self.port}/in", json={"id": f"bench-{number}"}) as answer:
                    await answer.read()
                self.accepted.add(number)

        await asyncio.gather(*(keep_posting() for _ in range(8)))

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Wait until the flow is deployed, which is later than the editor."""
        await super().ready(session)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            async with session.post(f"http://127.0.0.1:{self.port}/in", json={}) as answer:
                if answer.ok:
                    return
            await asyncio.sleep(0.1)
        raise TimeoutError("Node-RED's flow does not start")


class Script(Peer):
    """A script that posts each line of its input and stores nothing."""

    name = "script"

    @staticmethod
    def missing() -> str | None:
        return None if importlib.util.find_spec("requests") else "the Python package requests"

    def command(self) -> list[str]:
        script = (
            "import requests, sys\n"
            "session = requests.Session()\n"
            "for line in sys.stdin:\n"
            "    session.post(sys.argv[1], json={'id': line.strip()}, timeout=10).raise_for_status()\n"
        )
        return [sys.executable, "-c", script, self.webhook]

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Return at once: the script reads lines as soon as it has started."""

    async def hand_over(self, session: aiohttp.ClientSession, numbers: range) -> None:
        del session
        assert self.process is not None
        assert self.process.stdin is not None
        lines = "".join(f"bench-{number}\n" for number in numbers)
        # The data is larger than a pipe's buffer, so it is written while the script reads.
        written = await asyncio.to_thread(_write, self.process.stdin.fileno(), lines.encode())
        self.accepted.update(numbers[: lines[:written].count("\n")])


def _write(descriptor: int, data: bytes) -> int:
    """Write the data until the reader ends; return the number of written bytes."""
    written = 0
    while written < len(data):
        try:
            written += os.write(descriptor, data[written:])
        except BrokenPipeError:
            break
    return written


class Notifier(Peer):
    """The notifier; the events are in its state file when it starts."""

    name = "notifier"

    def command(self) -> list[str]:
        (self.folder / "config.toml").write_text(
            f'[store]\npath = "{self.folder}/notifier.db"\n[http]\nlisten = ""\n'
            '[sources.acme]\nbase_url = "http://127.0.0.1:9/v1"\ntoken = "sandbox"\npoll_interval = "1h"\n'
            f'[destinations.receiver]\ntype = "http"\nurl = "{self.webhook}"\nsecret = "{SECRET}"\n'
        )
        return [sys.executable, "-m", "notifier", "run", "--config", str(self.folder / "config.toml")]

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Return at once: the events are in the state file."""

    async def hand_over(self, session: aiohttp.ClientSession, numbers: range) -> None:
        """Write events into the state file as a poll does, while the program is stopped, because it locks the file."""
        self.end()
        store = FileStore(self.folder / "notifier.db")
        await store.open()
        await store.run(sources.read_or_create, "acme")
        wants = [subscription_of("receiver", HttpSettings.model_validate({"type": "http", "url": self.webhook}))]
        for first in range(0, len(numbers), 1000):
            found = records.Findings("acme", "acme", changes=_named(numbers[first : first + 1000]))
            await store.run(records.write, found, wants, SystemClock().now_ms())
        await store.close()
        self.accepted.update(numbers)
        await self.start(session)


def _named(numbers: range) -> list[Change]:
    return [
        replace(change, completion=replace(change.completion, notes=f"bench-{change.completion.key}"))
        for change in news(numbers)
    ]


class Receiver:
    """The events that have arrived at the receiver."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def count(self) -> int:
        """Return the number of different events that have arrived since the last `take`."""
        async with self._session.get(f"{self._url}/count") as response:
            return int(await response.json())

    async def wait_for(self, events: int) -> None:
        """Wait until this many events have arrived, or no more arrive."""
        seen, since = await self.count(), time.monotonic()
        while seen < events and time.monotonic() - since < _QUIET_SECONDS:
            await asyncio.sleep(0.02)
            before, seen = seen, await self.count()
            if seen != before:
                since = time.monotonic()

    async def take(self) -> Mapping[int, list[int]]:
        """Return and clear the times (monotonic nanoseconds) at which each event arrived."""
        async with self._session.get(f"{self._url}/arrivals") as response:
            return {int(number): moments for number, moments in (await response.json()).items()}


@contextmanager
def _running(kind: type[Peer], webhook: str) -> Iterator[Peer]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        peer = kind(Path(folder), webhook)
        try:
            yield peer
        finally:
            peer.end()


async def rate(session: aiohttp.ClientSession, receiver: Receiver, peer: Peer, events: int) -> float:
    """Submit all events at once; return the number that arrived per second."""
    await peer.start(session)
    await peer.hand_over(session, range(events))
    await receiver.wait_for(events)
    arrivals = await receiver.take()
    assert len(arrivals) == events, f"{peer.name}: {len(arrivals)} of {events}"
    moments = sorted(times[0] for times in arrivals.values())
    return (events - 1) / (moments[-1] - moments[0]) * 1e9


async def latencies(session: aiohttp.ClientSession, receiver: Receiver, peer: Peer, events: range) -> list[float]:
    """Submit events one by one to the running program; return the milliseconds until each arrives."""
    took = []
    for number in events:
        began = time.monotonic_ns()
        await peer.hand_over(session, range(number, number + 1))
        await receiver.wait_for(1)
        took.append(((await receiver.take())[number][0] - began) / 1e6)
    return took


async def killed(session: aiohttp.ClientSession, receiver: Receiver, peer: Peer, events: int) -> tuple[int, int]:
    """Kill the program half-way, and start it again; return the numbers of lost and of duplicated events.

    Only events that the program had accepted can be lost: the sender knows that the others were not accepted.
    """
    await peer.start(session)
    handing = asyncio.create_task(peer.hand_over(session, range(events)))
    await receiver.wait_for(events // 3)
    peer.end(signal.SIGKILL)
    # The other submissions fail, because nothing listens.
    await asyncio.gather(handing, return_exceptions=True)
    await peer.start(session)
    await receiver.wait_for(events)
    arrivals = await receiver.take()
    return len(peer.accepted - arrivals.keys()), sum(len(times) > 1 for times in arrivals.values())


async def compare(kind: type[Peer], webhook: str, receiver: Receiver, options: argparse.Namespace) -> None:
    """Measure one program, and report its figures."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        with _running(kind, webhook) as peer:
            report(f"{kind.name}, posts", [await rate(session, receiver, peer, options.events)], "/s")
            if kind is not Notifier:
                numbers = range(options.events, options.events + options.singles)
                _report_latency(kind.name, await latencies(session, receiver, peer, numbers))
        with _running(kind, webhook) as peer:
            lost, twice = await killed(session, receiver, peer, options.events)
        accepted = len(peer.accepted)
    report(f"{kind.name}, lost", [lost], "events", f"of {accepted} accepted when killed in the middle")
    report(f"{kind.name}, twice", [twice], "events")


def _report_latency(name: str, took: list[float]) -> None:
    percentiles = statistics.quantiles(took, n=100, method="inclusive")
    report(f"{name}, latency p50", [percentiles[49]], "ms")
    report(f"{name}, latency p99", [percentiles[98]], "ms")


async def own_latency(singles: int) -> list[float]:
    """Return the milliseconds from the API's answer to the webhook's arrival."""
    with (
        latency.running_api() as (api, url),
        beside("receiver.py") as port,
        tempfile.TemporaryDirectory() as folder,
    ):
        return await latency.measure_notifier(
            api, url, f"http://127.0.0.1:{port}", singles, Path(folder), latency.Steps()
        )


async def main() -> None:
    """Measure the programs one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--singles", type=int, default=100)
    options = parser.parse_args()
    with_bytecode()
    for kind in (Notifier, Alertmanager, Script, NodeRed):
        if lacking := kind.missing():
            print(f"{kind.name} is left out: it needs {lacking}")
            continue
        with beside("peers_receiver.py") as port:
            async with aiohttp.ClientSession() as asking:
                url = f"http://127.0.0.1:{port}"
                await compare(kind, f"{url}/hook", Receiver(asking, url), options)
    _report_latency(Notifier.name, await own_latency(options.singles))


if __name__ == "__main__":
    asyncio.run(main())
