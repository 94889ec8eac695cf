"""The primary database server fails and a replica is promoted: nothing is lost, and no event gets a second id."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier.sandbox.account import Account
from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.program import Receiver, served
from tests.support.standby_pair import Member, now
from tests.support.waiting import until

LONGEST_SENDING_SECONDS = 3.5
"""The longest time that a holder may send while it cannot store outcomes."""

STORED = "SELECT count(*) FROM pair.deliveries WHERE state = 'delivered'"


@pytest.fixture
def servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary database server and its streaming replica."""
    with running_postgres() as primary, running_postgres(primary=primary) as replica:
        yield primary, replica


@pytest.fixture
def members(tmp_path: Path) -> Iterator[tuple[Member, Member]]:
    both = Member(tmp_path / "one"), Member(tmp_path / "other")
    yield both
    for member in both:
        if member.process is not None and member.process.poll() is None:
            member.kill()


def record_keys(account: Account) -> set[str]:
    return {str(record.id) for record in account.records()}


async def wait_for_holder(*members: Member) -> None:
    deadline = now() + 30
    while not any([await asyncio.to_thread(getattr, member, "holds") for member in members]):
        assert now() < deadline, [member.said()[-3000:] for member in members]
        await asyncio.sleep(0.05)


async def wait_for_sweep(*members: Member) -> None:
    await until(lambda: any("sweep has read the whole list" in it.said() for it in members), pause=0.05)


async def wait_for_streaming(primary: PostgresServer, state: str) -> None:
    deadline = now() + 20
    query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = %s AND state = 'streaming'"
    while (await asyncio.to_thread(primary.execute, query, state))[0][0] != 1:
        assert now() < deadline
        await asyncio.sleep(0.05)


async def fail_over(primary: PostgresServer, replica: PostgresServer) -> None:
    await asyncio.to_thread(primary.stop, "immediate")
    await asyncio.to_thread(replica.execute, "SELECT pg_promote()")


def check_ids(receiver: Receiver) -> None:
    ids = Counter(subject for subject, _ in {(it["subject"], it["id"]) for it in receiver.events})
    assert set(ids.values()) == {1}, "a record was reported under two ids"


async def test_promotion_of_a_synchronous_replica_under_load_loses_no_event(
    servers: tuple[PostgresServer, PostgresServer], members: tuple[Member, Member], receiver: Receiver
) -> None:
    primary, replica = servers
    account = build_account(50)
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.execute("SELECT pg_reload_conf()")
    await wait_for_streaming(primary, "sync")
    async with served(account) as api:
        for member in members:
            member.configure_for(primary.tcp_url_of_both(replica), api, receiver.url)
            member.start()
        await wait_for_holder(*members)
        await wait_for_sweep(*members)
        history = record_keys(account)
        growing = asyncio.create_task(Growth(account, seed=3).run(40))
        await until(lambda: len(receiver.events) >= 30)
        told = len(receiver.events)
        # Otherwise, the promoted replica would wait for a replica of its own.
        await asyncio.to_thread(replica.execute, "ALTER SYSTEM SET synchronous_standby_names = ''")
        await fail_over(primary, replica)
        await wait_for_holder(*members)
        await until(lambda: replica.execute(STORED)[0][0] >= told + 60, pause=0.1)
        growing.cancel()
        entered = record_keys(account) - history
        await until(lambda: set(receiver.subjects) >= entered, pause=0.05)
        for member in members:
            await member.stop()
        assert replica.execute(STORED) == [(len(entered),)]
    check_ids(receiver)
    assert set(receiver.subjects) == entered
    doubled = [id_ for id_, times in Counter(receiver.ids).items() if times > 1]
    # Only events whose delivery was in progress, or whose outcome was not stored yet, are sent twice.
    assert len(doubled) <= 20


async def test_promotion_of_a_lagging_replica_finds_missing_events_again(
    servers: tuple[PostgresServer, PostgresServer], members: tuple[Member, Member], receiver: Receiver
) -> None:
    """Only the daemon that held the primary is running: it must not assume that the replica has all data."""
    primary, replica = servers
    member = members[0]
    account = build_account(50)
    await wait_for_streaming(primary, "async")
    async with served(account) as api:
        member.configure_for(primary.tcp_url_of_both(replica), api, receiver.url)
        member.start()
        await wait_for_holder(member)
        await wait_for_sweep(member)
        history = record_keys(account)
        growth = Growth(account, seed=3)
        growth.grow(10)
        await until(lambda: set(receiver.subjects) == record_keys(account) - history)
        await until(lambda: replica.execute(STORED) == [(10,)], pause=0.1)
        # It is not enough to pause the replay, because a promotion first replays all received data.
        replica.execute("ALTER SYSTEM SET primary_conninfo = ''")
        replica.execute("SELECT pg_reload_conf()")
        await until(lambda: not replica.execute("SELECT 1 FROM pg_stat_wal_receiver"), pause=0.1)
        growth.grow(30)
        await until(lambda: set(receiver.subjects) == record_keys(account) - history)
        await until(lambda: primary.execute(STORED) == [(40,)], pause=0.1)
        told_before = list(receiver.events)
        await fail_over(primary, replica)
        assert replica.execute("SELECT count(*) FROM pair.events") == [(10,)]
        growth.grow(10)
        await until(lambda: set(receiver.subjects) == record_keys(account) - history, pause=0.05)
        await until(lambda: replica.execute(STORED) == [(50,)], pause=0.1)
        await member.stop()
    check_ids(receiver)
    # Readers of the feed may know events that the replica lacks, so new events get higher numbers.
    again = receiver.events[len(told_before) :]
    assert {it["id"] for it in told_before[10:]} <= {it["id"] for it in again}
    assert min(int(it["sequence"]) for it in again) > max(int(it["sequence"]) for it in told_before)
    # Events that the replica knows as delivered are not sent again.
    assert not {it["id"] for it in told_before[:10]} & {it["id"] for it in again}
    assert max(Counter(receiver.ids).values()) == 2


async def test_holder_pauses_while_the_replica_does_not_confirm_and_loses_no_event(
    servers: tuple[PostgresServer, PostgresServer], members: tuple[Member, Member], receiver: Receiver
) -> None:
    """With `remote_apply`, a commit waits while the replica's replay is paused, just as it waits for a failed replica.

    The holder gets no answer, so it stops sending. Its session keeps the lock.
    """
    primary, replica = servers
    account = build_account(50)
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.execute("SELECT pg_reload_conf()")
    await wait_for_streaming(primary, "sync")
    url = f"{primary.tcp_url_of_both(replica)}?options=-c%20synchronous_commit%3Dremote_apply"
    async with served(account) as api:
        for member in members:
            member.configure_for(url, api, receiver.url)
            member.start()
        await wait_for_holder(*members)
        await wait_for_sweep(*members)
        history = record_keys(account)
        growing = asyncio.create_task(Growth(account, seed=3).run(40))
        await until(lambda: len(receiver.events) >= 30)
        replica.execute("SELECT pg_wal_replay_pause()")
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        await until(lambda: primary.execute(waiting)[0][0] > 0, pause=0.1)
        await asyncio.sleep(LONGEST_SENDING_SECONDS)
        told = len(receiver.events)
        await asyncio.sleep(1)
        assert len(receiver.events) == told
        assert [member.stands_by for member in members].count(True) == 1
        replica.execute("SELECT pg_wal_replay_resume()")
        growing.cancel()
        entered = record_keys(account) - history
        await until(lambda: set(receiver.subjects) >= entered, pause=0.05)
        for member in members:
            await member.stop()
    check_ids(receiver)
    assert len(receiver.ids) == len(set(receiver.ids))
    assert max(int(it["sequence"]) for it in receiver.events) < 1_000_000
