"""Version 1 of the API has no ids: records that are equal in what makes their key are told apart all the same."""

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.completions import Completion
from notifier.ledger.records import Known, fingerprint
from notifier.watch.equals import match

if TYPE_CHECKING:
    from notifier.sandbox import Record
    from tests.watch.conftest import Station

BASE = "v1-0123456789abcdef"
DAY = 86_400

version_1 = pytest.mark.parametrize("either", ["v1"], indirect=True)


def entered_alike(station: "Station", *days: int, created: int | None = None) -> list["Record"]:
    """Enter records of one person, one training and one moment, completed on different days."""
    moment = station.clock.now_ms() if created is None else created
    alike: dict[str, Any] = {"user": station.account.users[0]["id"], "training": station.account.trainings[0].ids}
    return [station.account.add(**alike, created=moment, date_number=day) for day in days]


@version_1
async def test_equal_records_on_different_pages_are_history_once_and_never_an_update(
    either: "Station", small_pages: int
) -> None:
    watcher = await either.open(4 * small_pages, page_size=20)
    entered_alike(either, 20250101, 20120101, created=either.account.now_ms() - 9_000_000_000)
    await either.round()
    for _ in range(2):
        either.clock.advance(DAY + 1)
        await either.round()
    assert either.events == []
    assert watcher.memory.records == len(either.account)
    await either.check_the_books()


@version_1
async def test_known_equal_records_cost_no_further_question(either: "Station", small_pages: int) -> None:
    await either.open(4 * small_pages, page_size=20)
    entered_alike(either, 20250101, 20120101, created=either.account.now_ms() - 9_000_000_000)
    await either.round()
    either.upstream.asked.clear()
    either.clock.advance(DAY + 1)
    await either.round()
    pages = either.upstream.pages()
    assert len(pages) == 1 + -(-len(either.account) // small_pages)


@version_1
async def test_equal_records_entered_far_apart_are_each_told_once(either: "Station", small_pages: int) -> None:
    await either.open(4 * small_pages, page_size=20)
    await either.round()
    either.clock.advance(5)
    entered_alike(either, 20261121, 20120101)
    await either.round()
    either.clock.advance(DAY + 1)
    await either.round()
    first, second = sorted(either.told())
    assert second == f"{first}-2"
    assert either.told_types() == {"completion.created": 2}
    either.clock.advance(DAY + 1)
    await either.round()
    assert len(either.events) == 2


@version_1
async def test_the_edit_of_one_equal_record_is_one_update_of_that_record(either: "Station", small_pages: int) -> None:
    await either.open(4 * small_pages, page_size=20)
    entered = entered_alike(either, 20250101, 20120101, created=either.account.now_ms() - 9_000_000_000)
    await either.round()
    either.account.edit(entered[1].id, expiry=20301231)
    either.clock.advance(DAY + 1)
    await either.round()
    assert either.told_types() == {"completion.updated": 1}
    either.clock.advance(DAY + 1)
    await either.round()
    assert len(either.events) == 1
    await either.check_the_books()


def record(content: int, number: int = 1) -> Completion:
    key = BASE if number == 1 else f"{BASE}-{number}"
    return Completion(key, "t", "u", None, None, 1, None, None, None, None, b"%d" % content)


def known(contents: list[int], removed: frozenset[int] = frozenset()) -> dict[str, Known]:
    return {
        record(content, number).key: Known(1, fingerprint(b"%d" % content), number in removed)
        for number, content in enumerate(contents, start=1)
    }


contents = st.lists(st.integers(0, 4), max_size=6)


@given(contents, contents)
def test_a_complete_list_gives_every_record_a_key_of_its_own_and_changes_as_few_as_possible(
    api: list[int], ledger: list[int]
) -> None:
    matched = match([record(content) for content in api], known(ledger), complete=True)
    keys = [one.key for one in matched.settled]
    assert matched.unclear == ()
    assert len(keys) == len(set(keys)) == len(api)
    assert sorted(one.raw for one in matched.settled) == sorted(b"%d" % content for content in api)
    same = sum(min(api.count(content), ledger.count(content)) for content in set(api))
    before = {key: memory.fingerprint for key, memory in known(ledger).items()}
    assert sum(before.get(one.key) == fingerprint(one.raw) for one in matched.settled) == same
    assert len(set(keys) - set(before)) == max(0, len(api) - len(ledger))


@given(contents, contents)
def test_a_page_never_turns_one_known_record_into_another(page: list[int], ledger: list[int]) -> None:
    matched = match([record(content) for content in page], known(ledger), complete=False)
    before = {key: memory.fingerprint for key, memory in known(ledger).items()}
    for one in matched.settled:
        assert one.key not in before or before[one.key] == fingerprint(one.raw)
    assert len(matched.settled) + len(matched.unclear) == len(page)


def test_a_removed_record_that_stands_there_again_is_recognised() -> None:
    [back] = match([record(7)], known([7], removed=frozenset({1})), complete=False).settled
    assert back.key == BASE


def test_numbers_go_on_behind_the_highest_known_one() -> None:
    matched = match([record(1), record(2), record(3)], known([1, 2]), complete=False)
    assert [one.key for one in matched.settled] == [BASE, f"{BASE}-2", f"{BASE}-3"]
