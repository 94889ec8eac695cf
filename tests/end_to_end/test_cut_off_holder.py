"""The holder loses its connection to the database, but to nothing else: the standby takes over, and no event is lost.

This is harder than the failure of a machine, because the holder could continue to send what the standby sends too.
"""

import asyncio
import http.client
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from aiohttp import web

from notifier.daemon.socket_path import socket_path
from notifier.sandbox.account import Account
from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from notifier.sandbox.server import make_app
from tests.support.network_namespace import CUTS, Cut, Namespace, namespaces
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.program import Receiver
from tests.support.standby_pair import Member, now
from tests.support.waiting import until

TAKEOVER_LIMIT_SECONDS = 15.0
"""The longest time from the cut until the standby has the lock. (Its start may take longer.)"""

LONGEST_SENDING_SECONDS = 5.0
"""The longest time that the holder may send after the cut. It stops if an outcome cannot be stored for 3 seconds."""

ANSWER_DELAY_SECONDS = 0.25
"""The delay of answers to the holder, so that the holder still has events to send when it stops."""


class NamespaceMember(Member):
    """A daemon in a network namespace; the test reads its metrics over the Unix socket."""

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("localhost", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(5)
            connection.sock.connect(str(socket_path(self.folder / "notifier.db")))
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()


@dataclass
class SlowReceiver(Receiver):
    """A receiver that delays requests from inside the namespace, and records their times and event ids."""

    from_inside: list[tuple[float, str]] = field(default_factory=list)

    async def hook_inside(self, request: web.Request) -> web.Response:
        self.from_inside.append((now(), orjson.loads(await request.read())["id"]))
        answer = await self.hook(request)
        await asyncio.sleep(ANSWER_DELAY_SECONDS)
        return answer


@asynccontextmanager
async def serve_on_both_machines(
    machine: Namespace, inside: web.Application, outside: web.Application
) -> AsyncIterator[str]:
    """Serve one application on the loopback interface of each machine, at the same port; yield the URL."""
    runners = web.AppRunner(inside), web.AppRunner(outside)
    with socket.create_server(("127.0.0.1", 0)) as here:
        port = here.getsockname()[1]
        listeners = machine.listener(port), here.dup()
        try:
            for runner, listener in zip(runners, listeners, strict=True):
                await runner.setup()
                await web.SockSite(runner, listener).start()
            yield f"http://127.0.0.1:{port}"
        finally:
            for runner in runners:
                await runner.cleanup()


@asynccontextmanager
async def serve_api_and_receiver(account: Account, machine: Namespace) -> AsyncIterator[tuple[str, SlowReceiver]]:
    """Serve the API and a receiver for both machines; yield the API's URL and the receiver."""
    receiver = SlowReceiver()
    apps = web.Application(), web.Application()
    apps[0].add_routes([web.post("/hook", receiver.hook_inside)])
    apps[1].add_routes([web.post("/hook", receiver.hook)])
    both = make_app(account, rate_limit=None), make_app(account, rate_limit=None)
    async with serve_on_both_machines(machine, *both) as api, serve_on_both_machines(machine, *apps) as url:
        receiver.url = url
        yield f"{api}/v1", receiver


async def wait_for_state(member: Member, state: str, within: float) -> None:
    """Wait until a member is in this state: `holds` or `stands_by`."""
    began = now()
    while not await asyncio.to_thread(getattr, member, state):
        assert now() - began < within, (state, member.said()[-3000:])
        await asyncio.sleep(0.05)


async def wait_until_all_received(receiver: Receiver, account: Account, history: set[str]) -> None:
    def is_all_received() -> bool:
        return set(receiver.subjects) == {str(it.id) for it in account.records()} - history

    await until(is_all_received, deadline=30, pause=0.05)


async def run_cut(cut: Cut, machine: Namespace, server: PostgresServer, folder: Path) -> None:
    name, make, repair = cut
    account = build_account(50)
    inside, outside = NamespaceMember(folder / f"{name}-inside"), Member(folder / f"{name}-outside")
    cable = machine.cable
    async with serve_api_and_receiver(account, machine) as (api, receiver):
        try:
            inside.configure_for(
                f"postgresql://postgres@{cable.here}:{server.port}/postgres", api, receiver.url, name=name
            )
            outside.configure_for(server.url(), api, receiver.url, name=name)
            inside.start(*machine.prefix)
            await wait_for_state(inside, "holds", 30)
            outside.start()
            await wait_for_state(outside, "stands_by", 30)
            await until(lambda: "sweep has read the whole list" in inside.said(), pause=0.05)
            history = {str(it.id) for it in account.records()}
            Growth(account, seed=1).grow(250)
            await until(lambda: len(receiver.events) >= 20)

            await asyncio.to_thread(make, cable)
            cut_at, cut_at_ms = now(), time.time() * 1000
            await wait_for_state(outside, "holds", 30)
            since_ms = server.execute(f"SELECT max(since) FROM {name}.holders")[0][0]
            assert since_ms - cut_at_ms < TAKEOVER_LIMIT_SECONDS * 1000
            Growth(account, seed=2).grow(10)
            await wait_until_all_received(receiver, account, history)

            await asyncio.to_thread(repair, cable)
            await wait_for_state(inside, "stands_by", 20)
            by_inside = list(receiver.from_inside)
            sent_for = max(at for at, _ in by_inside) - cut_at
            doubled = {id_ for id_, times in Counter(receiver.ids).items() if times > 1}
            assert sent_for < LONGEST_SENDING_SECONDS
            # Only events that were sent around the cut are sent again, because earlier outcomes were stored.
            assert doubled <= {id_ for at, id_ in by_inside if at > cut_at - 1}
            assert max(Counter(receiver.ids).values()) <= 2

            await outside.stop()
            await wait_for_state(inside, "holds", 30)
            Growth(account, seed=3).grow(5)
            await wait_until_all_received(receiver, account, history)
            await inside.stop()
        finally:
            for member in (inside, outside):
                if member.process is not None and member.process.poll() is None:
                    await asyncio.to_thread(member.kill)
    subjects = Counter(subject for subject, _ in {(it["subject"], it["id"]) for it in receiver.events})
    assert set(subjects.values()) == {1}, "a record was reported under two ids"


async def test_holder_cut_off_from_the_database_stops_and_the_standby_takes_over(tmp_path: Path) -> None:
    with (
        namespaces(tuple(name for name, *_ in CUTS)) as machines,
        running_postgres(addresses=[it.cable.here for it in machines]) as server,
    ):
        # All cuts are tested at the same time, because each test mostly waits.
        async with asyncio.TaskGroup() as group:
            for cut, machine in zip(CUTS, machines, strict=True):
                group.create_task(run_cut(cut, machine, server, tmp_path))
