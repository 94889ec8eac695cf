from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from notifier.sandbox import (
    Account,
    Dialect,
    Filters,
    IdPair,
    Override,
    Record,
    Version,
    documented_account,
    synthetic_account,
)

CRANE, LADDER = IdPair.from_number(2046), IdPair.from_number(2047)
ANNA, BORIS = "5e580f0cb780600088bd2c11", "5e580f0db780600088bd2ca6"
NOW = 1_790_000_000_000

dates = st.sampled_from([20200227, 20200228, 20210101, 20190704])
people = st.sampled_from([ANNA, BORIS])
trainings = st.sampled_from([CRANE, LADDER])
indexes = st.integers(min_value=0, max_value=1000)


def ids(account: Account, **query: Any) -> list[int]:
    return [record["id"] for record in account.page(Version.V2, limit=1000, **query).records]


def account_of(*records: Record) -> Account:
    account = Account(now_ms=lambda: NOW)
    account.add_many(records)
    return account


class ListedAsDocumented(RuleBasedStateMachine):
    """After any changes, an account lists its records by completion date, and pages and filters agree with the list."""

    def __init__(self) -> None:
        super().__init__()
        self.account = Account(now_ms=lambda: NOW)
        self.model: dict[int, Record] = {}

    def any_id(self, index: int) -> int:
        return sorted(self.model)[index % len(self.model)]

    @rule(date=dates, user=people, training=trainings)
    def add(self, date: int, user: str, training: IdPair) -> None:
        record = self.account.add(user=user, training=training, date_number=date)
        self.model[record.id] = record

    @rule(several=st.lists(st.tuples(dates, people, trainings), max_size=40))
    def add_many(self, several: list[tuple[int, str, IdPair]]) -> None:
        records = [
            Record(self.account.next_id(), user, training, NOW, date, files=({"name": "a.pdf"},) * (index % 2))
            for index, (date, user, training) in enumerate(several)
        ]
        self.account.add_many(sorted(records, key=lambda record: record.date_number))
        self.model |= {record.id: record for record in records}

    @precondition(lambda self: self.model)
    @rule(index=indexes, date=dates, user=people, training=trainings)
    def edit(self, index: int, date: int, user: str, training: IdPair) -> None:
        record_id = self.any_id(index)
        self.model[record_id] = self.account.edit(record_id, date_number=date, user=user, training=training)

    @precondition(lambda self: self.model)
    @rule(index=indexes)
    def remove(self, index: int) -> None:
        record_id = self.any_id(index)
        assert self.account.remove(record_id) == self.model.pop(record_id)

    @rule(seed=st.integers())
    def reshuffle(self, seed: int) -> None:
        self.account.reshuffle_ties(seed)

    @invariant()
    def lists_every_record_once_newest_date_first(self) -> None:
        listed = list(self.account.records())
        assert sorted(record.id for record in listed) == sorted(self.model)
        assert all(self.model[record.id] == record for record in listed)
        assert [record.date_number for record in listed] == sorted((r.date_number for r in listed), reverse=True)

    @invariant()
    def every_page_is_a_piece_of_the_list(self) -> None:
        everything = ids(self.account)
        assert everything == [record.id for record in self.account.records()]
        pages = [self.account.page(Version.V2, limit=7, page=number) for number in range(1, len(everything) // 7 + 3)]
        assert [record["id"] for page in pages for record in page.records] == everything
        assert {page.last_page for page in pages} == {max(1, -(-len(everything) // 7))}

    @invariant()
    def filters_choose_from_the_same_list(self) -> None:
        for filters in (
            Filters(user=ANNA),
            Filters(training=CRANE.v2),
            Filters(training=CRANE.v1),
            Filters(user=BORIS, training=LADDER.v2),
            Filters(has_attachments=True),
            Filters(user=ANNA, has_attachments=False),
        ):
            expected = [record.id for record in self.account.records() if filters.accept(record)]
            assert ids(self.account, filters=filters) == expected


ListedAsDocumented.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestListedAsDocumented = ListedAsDocumented.TestCase


def test_account_lists_a_backdated_record_by_its_date() -> None:
    account = account_of(Record(1, ANNA, CRANE, NOW, 20260920), Record(2, ANNA, CRANE, NOW, 20260919))
    account.add(user=ANNA, training=CRANE, date_number=20200101)
    assert ids(account) == [1, 2, 3]


def test_account_add_without_details_uses_the_present_moment_and_day() -> None:
    added = account_of(Record(41, ANNA, CRANE, 5, 20200101)).add(user=BORIS, training=LADDER)
    assert (added.id, added.created, added.date_number) == (42, NOW, 20260921)


def test_account_lists_equal_dates_newest_entry_first_until_reshuffled() -> None:
    account = account_of(*(Record(number, ANNA, CRANE, NOW, 20200227) for number in range(1, 51)))
    assert ids(account) == list(range(50, 0, -1))
    orders = []
    for seed in (1, 2, 1):
        account.reshuffle_ties(seed)
        orders.append(ids(account))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(1, 51))


def test_account_add_many_with_a_taken_id_raises_and_adds_nothing() -> None:
    account = account_of(Record(1, ANNA, CRANE, NOW, 20200227))
    for taken in (1, 2):
        with pytest.raises(ValueError, match=f"record {taken} already"):
            account.add_many([Record(2, ANNA, CRANE, NOW, 20200227), Record(taken, BORIS, CRANE, NOW, 20200227)])
    assert ids(account) == [1]


def test_account_get_edit_and_remove_of_an_unknown_record_raise_key_error() -> None:
    account = account_of()
    for attempt in (account.get, account.remove, account.edit):
        with pytest.raises(KeyError):
            attempt(7)


def test_account_knows_people_and_trainings_by_name_or_by_their_records() -> None:
    account = documented_account()
    derrick = account.users[0]["id"]
    added = account.add(user="0" * 24, training=LADDER)
    known = [account.has_user(derrick), account.has_user("0" * 24), account.has_training(LADDER.v1)]
    account.remove(added.id)
    assert known == [True, True, True]
    assert account.has_user(derrick)
    assert not account.has_user("0" * 24)
    assert not account.has_training(LADDER.v1)
    assert account.has_training(1035)


def test_account_page_shows_the_same_record_in_both_versions() -> None:
    group = IdPair.from_number(1050)
    account = account_of(
        Record(9, ANNA, CRANE, NOW, 20200227, expiry=20210101, instructor=BORIS, group=group, notes="ok")
    )
    v1, v2 = (account.page(version).records for version in Version)
    assert v1 == [
        {
            "user_id": ANNA,
            "training_id": CRANE.v1,
            "created": NOW,
            "dateNumber": 20200227,
            "specialExpirationDateNumber": 20210101,
            "instructor_id": BORIS,
            "groupTraining_id": group.v1,
        }
    ]
    assert v2 == [
        {
            "id": 9,
            "training_id": 2046,
            "m_user_id": ANNA,
            "created": NOW,
            "date_number": 20200227,
            "special_expiration_date_number": 20210101,
            "m_instructor_id": BORIS,
            "group_training_id": 1050,
            "notes": "ok",
            "signature": None,
            "files": [],
        }
    ]
    assert len(CRANE.v1) == 24


def test_v1_page_omits_fields_that_a_record_does_not_have() -> None:
    (record,) = account_of(Record(9, ANNA, CRANE, NOW, 20200227)).page(Version.V1).records
    assert record.keys() == {"user_id", "training_id", "created", "dateNumber"}


def test_v2_page_without_newer_fields_omits_notes_signature_and_files() -> None:
    account = account_of(Record(9, ANNA, CRANE, NOW, 20200227, notes="late", files=({"name": "a.pdf"},)))
    account.dialect = Dialect(newer_fields=False)
    (record,) = account.page(Version.V2).records
    assert record.keys().isdisjoint({"notes", "signature", "files"})


@pytest.mark.parametrize("version", Version)
def test_overrides_change_the_shown_values_but_not_the_order(version: Version) -> None:
    odd = {"created": "1709784464569", "training_id": Override.ABSENT, "colour": [1, None]}
    account = account_of(Record(1, ANNA, CRANE, NOW, 20200227), Record(2, ANNA, CRANE, NOW, 20200301))
    account.edit(1, overrides={**odd, "date_number": "soon", "dateNumber": "soon"})
    usual, record = account.page(version).records
    assert usual["training_id"] in {CRANE.v1, CRANE.v2}
    assert (record["created"], record["colour"]) == ("1709784464569", [1, None])
    assert "training_id" not in record
    assert account.edit(1, overrides=None).overrides is None


def test_account_page_40_of_a_large_account_is_correct() -> None:
    account = synthetic_account(50_000, seed=3)
    page = account.page(Version.V2, limit=1000, page=40)
    expected = sorted(account.records(), key=lambda r: (r.date_number, r.id), reverse=True)[39_000:40_000]
    assert [record["id"] for record in page.records] == [record.id for record in expected]
    assert (page.last_page, page.total) == (50, 50_000)
