"""Two daemons share a store in PostgreSQL: one takes over from the other, and no event is lost or gets a second id."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from notifier.daemon.run import LONGEST_STOP_SECONDS
from notifier.daemon.standby import SILENT_AFTER_SECONDS, TRY_EVERY_SECONDS
from notifier.sandbox.account import Account
from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.ports import free_port
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.program import Program, Receiver, served
from tests.support.standby_pair import Member, now
from tests.support.waiting import until

KILLS = 4


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as this:
        yield this


@pytest.fixture
def pair(tmp_path: Path, server: PostgresServer) -> Iterator[tuple[Member, Member]]:
    both = Member(tmp_path / "one"), Member(tmp_path / "other")
    yield both
    for member in both:
        if member.process is not None and member.process.poll() is None:
            member.signal(signal.SIGCONT)
            member.kill()
    server.execute("DROP SCHEMA IF EXISTS pair CASCADE")


def pid(member: Member) -> int:
    assert member.process is not None
    return member.process.pid


async def wait_for_holder(*members: Member, within: float = 20.0) -> Member:
    """Wait until one of the members holds the store, and return that member."""
    deadline = now() + within
    while now() < deadline:
        for member in members:
            if await asyncio.to_thread(getattr, member, "holds"):
                return member
        await asyncio.sleep(0.02)
    raise AssertionError([member.said()[-3000:] for member in members])


async def wait_for_standby(member: Member) -> None:
    deadline = now() + 20
    while not await asyncio.to_thread(getattr, member, "stands_by"):
        assert now() < deadline, member.said()[-3000:]
        await asyncio.sleep(0.02)


def start_pair(pair: tuple[Member, Member], server: PostgresServer, api: str, receiver: Receiver) -> None:
    for member in pair:
        member.configure_for(server.url(), api, receiver.url)
        member.start()


async def wait_for_sweep(*members: Member) -> None:
    await until(lambda: any("sweep has read the whole list" in it.said() for it in members), deadline=30)


def record_keys(account: Account) -> set[str]:
    return {str(record.id) for record in account.records()}


def check_events(receiver: Receiver, entered: set[str]) -> None:
    """Check that each record was reported under one id. An event may arrive twice, as a kill can cut off a request."""
    assert set(receiver.subjects) == entered
    ids = Counter(subject for subject, _ in {(it["subject"], it["id"]) for it in receiver.events})
    assert set(ids.values()) <= {1}
    first_sequences = list(dict.fromkeys((it["id"], it["sequence"]) for it in receiver.events))
    assert len(first_sequences) == len({id_ for id_, _ in first_sequences})


async def test_standby_reports_its_role_and_takes_over_when_the_holder_stops(
    pair: tuple[Member, Member], server: PostgresServer, receiver: Receiver
) -> None:
    account = build_account(50)
    async with served(account) as api:
        start_pair(pair, server, api, receiver)
        first = await wait_for_holder(*pair)
        second = next(it for it in pair if it is not first)
        await wait_for_standby(second)
        await wait_for_sweep(first)
        assert await asyncio.to_thread(second.get, "/healthz") == (200, '{"ok":true}')
        code, body = await asyncio.to_thread(second.get, "/readyz")
        assert (code, orjson.loads(body)["error"]["reason"]) == (503, "standby")
        assert (await asyncio.to_thread(second.get, "/readyz?standby=ok"))[0] == 200
        code, body = await asyncio.to_thread(second.get, "/v1/status")
        assert (code, orjson.loads(body)["error"]["reason"]) == (503, "standby")
        # While the first daemon creates the tables, its name is not stored yet.
        await until(lambda: f"process {pid(first)} holds" in second.said_by_page())
        shown = await asyncio.to_thread(second.command, "status")
        assert shown.returncode == 0, shown.stderr
        assert "This process stands by; " in shown.stdout
        assert f"process {pid(first)} holds the database since" in shown.stdout
        refused = await asyncio.to_thread(second.command, "poll", "acme")
        assert refused.returncode == 1
        assert "ask the holder" in refused.stderr
        by_holder = await asyncio.to_thread(first.command, "status")
        assert "Its state is in a database" in by_holder.stdout
        for command in (("deliveries", "--json"), ("replay", "--status")):
            listed = await asyncio.to_thread(second.command, *command)
            assert listed.returncode == 0, listed.stderr
        history = record_keys(account)
        Growth(account, seed=1).grow(10)
        await until(lambda: set(receiver.subjects) == record_keys(account) - history)
        began = now()
        await first.stop()
        assert await wait_for_holder(second) is second
        assert now() - began < 5
        Growth(account, seed=2).grow(10)
        await until(lambda: set(receiver.subjects) == record_keys(account) - history)
        await second.stop()
        assert [member.errors() for member in pair] == [[], []]
    check_events(receiver, record_keys(account) - history)
    # Both daemons stopped normally, so the event numbers have no gap.
    assert max(int(event["sequence"]) for event in receiver.events) < 1_000_000
    assert len(receiver.ids) == len(set(receiver.ids))


async def test_kills_of_the_holder_at_random_moments_lose_no_event(
    pair: tuple[Member, Member], server: PostgresServer, receiver: Receiver
) -> None:
    account = build_account(200)
    moments = random.Random(20261130)
    async with served(account) as api:
        start_pair(pair, server, api, receiver)
        await wait_for_sweep(*pair)
        history = record_keys(account)
        growing = asyncio.create_task(Growth(account, seed=3).run(40))
        for _ in range(KILLS):
            holder = await wait_for_holder(*pair)
            await asyncio.sleep(moments.random())
            holder.kill()
            killed = now()
            taken = await wait_for_holder(*(it for it in pair if it is not holder))
            assert now() - killed < 10, taken.said()[-2000:]
            holder.start()
        growing.cancel()
        entered = record_keys(account) - history
        await until(lambda: set(receiver.subjects) >= entered, deadline=30)
        for member in pair:
            await asyncio.to_thread(member.kill)
    check_events(receiver, entered)
    assert len(entered) > 50


async def test_holder_paused_until_its_session_ended_stands_by_afterwards(
    pair: tuple[Member, Member], server: PostgresServer, receiver: Receiver
) -> None:
    """The database server ends the session of a silent machine; here, an administrator ends it instead."""
    account = build_account(50)
    async with served(account) as api:
        start_pair(pair, server, api, receiver)
        first = await wait_for_holder(*pair)
        await wait_for_sweep(first)
        second = next(it for it in pair if it is not first)
        await wait_for_standby(second)
        # While its session exists, a paused daemon remains the holder.
        first.signal(signal.SIGSTOP)
        await asyncio.sleep(3 * TRY_EVERY_SECONDS)
        assert await asyncio.to_thread(getattr, second, "stands_by")
        first.signal(signal.SIGCONT)
        assert await wait_for_holder(first) is first
        first.signal(signal.SIGSTOP)
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s",
            f"%/{pid(first)}",
        )
        assert await wait_for_holder(second) is second
        history = record_keys(account)
        Growth(account, seed=1).grow(10)
        await until(lambda: set(receiver.subjects) == record_keys(account) - history)
        first.signal(signal.SIGCONT)
        await wait_for_standby(first)
        Growth(account, seed=2).grow(10)
        await until(lambda: set(receiver.subjects) == record_keys(account) - history)
        await second.stop()
        assert await wait_for_holder(first) is first
        await first.stop()
    check_events(receiver, record_keys(account) - history)


async def test_stalled_database_makes_the_standby_unready_and_both_daemons_can_end(
    pair: tuple[Member, Member], server: PostgresServer, receiver: Receiver
) -> None:
    async with served(build_account(50)) as api:
        start_pair(pair, server, api, receiver)
        first = await wait_for_holder(*pair)
        second = next(it for it in pair if it is not first)
        await wait_for_standby(second)
        await wait_for_sweep(first)
        server.signal(signal.SIGSTOP)
        try:
            deadline = now() + SILENT_AFTER_SECONDS + 5
            while (await asyncio.to_thread(second.get, "/readyz?standby=ok"))[0] != 503:
                assert now() < deadline
                await asyncio.sleep(0.1)
            assert "there has been no answer for" in second.said_by_page()
            for member in pair:
                member.signal(signal.SIGTERM)
            for member in pair:
                assert member.process is not None
                assert await asyncio.to_thread(member.process.wait, LONGEST_STOP_SECONDS + 5) == 1
                (error,) = member.errors()
                assert error["message"].startswith("the stop takes too long")
        finally:
            server.signal(signal.SIGCONT)


async def test_database_restart_under_load_loses_no_event(pair: tuple[Member, Member], receiver: Receiver) -> None:
    account = build_account(50)
    with running_postgres(durable=True) as server:
        async with served(account) as api:
            start_pair(pair, server, api, receiver)
            await wait_for_holder(*pair)
            await wait_for_sweep(*pair)
            history = record_keys(account)
            growing = asyncio.create_task(Growth(account, seed=3).run(40))
            for mode in ("immediate", "fast"):
                await asyncio.sleep(0.7)
                await asyncio.to_thread(server.stop, mode)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(server.start)
                await wait_for_holder(*pair)
            growing.cancel()
            entered = record_keys(account) - history
            await until(lambda: set(receiver.subjects) >= entered, deadline=30)
            for member in pair:
                await member.stop()
    check_events(receiver, entered)


async def test_state_moves_from_a_file_to_the_database_and_can_be_backed_up(
    pair: tuple[Member, Member], server: PostgresServer, receiver: Receiver
) -> None:
    account = build_account(30)
    file = Program(pair[0].folder)
    async with served(account) as api:
        file.configure(api, receiver.url, source="names = false")
        file.start()
        await wait_for_sweep(pair[0])
        history = record_keys(account)
        Growth(account, seed=1).grow(5)
        await until(lambda: set(receiver.subjects) == record_keys(account) - history)
        await file.stop()
        member = pair[1]
        member.configure_for(server.url(), api, receiver.url)
        moved = await asyncio.to_thread(member.command, "restore", str(pair[0].folder / "notifier.db"))
        assert (moved.returncode, "filled with the state of" in moved.stdout) == (0, True), moved.stderr
        member.start()
        Growth(account, seed=2).grow(5)
        await until(lambda: set(receiver.subjects) == record_keys(account) - history)
        kept = await asyncio.to_thread(member.command, "backup", "back.db")
        assert (kept.returncode, "checked" in kept.stdout) == (0, True), kept.stderr
        refused = await asyncio.to_thread(member.command, "restore", "back.db")
        assert (refused.returncode, "a daemon holds it" in refused.stderr) == (1, True)
        await member.stop()
    # Events that were sent before the move are not sent again.
    assert len(receiver.ids) == len(set(receiver.ids)) == 10


async def test_standby_reloads_its_configuration_and_takes_over_with_it(
    pair: tuple[Member, Member], server: PostgresServer, receiver: Receiver
) -> None:
    account = build_account(20)
    async with served(account) as api:
        start_pair(pair, server, api, receiver)
        first = await wait_for_holder(*pair)
        second = next(it for it in pair if it is not first)
        await wait_for_standby(second)
        await wait_for_sweep(first)
        second.configure_for(server.url(), api, receiver.url, more='[destinations.hr.headers]\nx-site = "wrong\\n"')
        second.signal(signal.SIGHUP)
        await until(lambda: "the configuration could not be read again" in second.said())
        refused = await asyncio.to_thread(second.command, "reload")
        assert (refused.returncode, "nothing was changed" in refused.stderr) == (78, True), refused.stderr
        second.port = free_port()
        second.configure_for(server.url(), api, receiver.url, name="other", more='headers = {x-site = "b"}')
        done = await asyncio.to_thread(second.command, "reload")
        assert done.stdout.splitlines() == [
            "destinations changed: hr",
            "takes effect only after a restart: store.name",
            "this process stands by, and uses the new configuration when it takes over",
        ]
        await wait_for_standby(second)
        await first.stop()
        assert await wait_for_holder(second) is second
        history = record_keys(account)
        Growth(account, seed=1).grow(1)
        await until(lambda: set(receiver.subjects) == record_keys(account) - history)
        assert receiver.headers[-1]["x-site"] == "b"
        await second.stop()


async def test_start_waits_for_a_database_that_is_down(tmp_path: Path, receiver: Receiver) -> None:
    account = build_account(20)
    member = Member(tmp_path / "one")
    with running_postgres() as server:
        await asyncio.to_thread(server.stop)
        async with served(account) as api:
            member.configure_for(server.url(), api, receiver.url)
            member.start()
            await wait_for_standby(member)
            assert (await asyncio.to_thread(member.get, "/readyz?standby=ok"))[0] == 503
            await asyncio.to_thread(server.start)
            assert await wait_for_holder(member) is member
            await member.stop()
    assert member.count("cannot be reached") == 1
