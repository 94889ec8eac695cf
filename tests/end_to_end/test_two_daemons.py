"""Two daemons without a shared store watch one account. Their event ids agree as `notifier help availability` says."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until

NAMES = "names = false"


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[tuple[Program, Program]]:
    these = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        these.append(Program(tmp_path / name))
    yield these[0], these[1]
    for this in these:
        if this.process is not None and this.process.poll() is None:
            this.kill()


def id_counts(receiver: Receiver, kind: str) -> Counter[str]:
    """Count the received events of a type, by event id."""
    return Counter(event["id"] for event in receiver.events if event["type"] == f"completion.{kind}")


async def wait_for_events(receiver: Receiver, kind: str, count: int) -> None:
    """Wait until this number of events of a type was received, including copies."""
    await until(lambda: id_counts(receiver, kind).total() == count)


async def wait_for_sweep(program: Program) -> None:
    await until(lambda: "sweep has read the whole list" in program.said())


async def test_two_daemons_agree_on_ids_until_one_of_them_misses_an_update(
    programs: tuple[Program, Program], receiver: Receiver
) -> None:
    account = build_account(20)
    growth = Growth(account, seed=5)
    _, second = programs
    async with served(account) as api:
        for program in programs:
            program.configure(api, receiver.url, source=NAMES)
            program.start()
        for program in programs:
            await wait_for_sweep(program)
        growth.grow(10)
        await wait_for_events(receiver, "created", 20)
        assert set(id_counts(receiver, "created").values()) == {2}
        record, *_ = growth.grow()
        await wait_for_events(receiver, "created", 22)

        # An edit that both daemons see has one id.
        account.edit(record.id, notes="one")
        await wait_for_events(receiver, "updated", 2)
        assert len(id_counts(receiver, "updated")) == 1

        # Records that are created while the second daemon is down get the same id from both daemons.
        await second.stop()
        growth.grow(5)
        await wait_for_events(receiver, "created", 27)
        for count, notes in ((3, "two"), (4, "three")):
            account.edit(record.id, notes=notes)
            await wait_for_events(receiver, "updated", count)
        second.start()
        await wait_for_events(receiver, "created", 32)
        assert set(id_counts(receiver, "created").values()) == {2}
        # The second daemon saw one update where the first saw two. From then on, the record's updates have two ids.
        await wait_for_events(receiver, "updated", 5)
        account.edit(record.id, notes="four")
        await wait_for_events(receiver, "updated", 7)
        assert sorted(id_counts(receiver, "updated").values()) == [1, 1, 1, 1, 1, 2]
        for program in programs:
            await program.stop()
