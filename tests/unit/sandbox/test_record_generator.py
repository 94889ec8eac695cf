from collections.abc import Callable
from typing import Any

import pytest

from notifier.sandbox import Account, Dialect, Version, build_account, documented_account

Sample = Callable[[str], dict[str, Any]]


def test_documented_v1_account_lists_exactly_the_example(sample: Sample) -> None:
    page = documented_account(Version.V1).page(Version.V1)
    assert page.records == sample("completedtrainings.list.v1.json")["completedtrainings"]


def test_documented_v2_account_of_2020_lists_exactly_the_example(sample: Sample) -> None:
    page = documented_account(Version.V2, dialect=Dialect(newer_fields=False)).page(Version.V2)
    assert page.records == sample("completedtrainings.v2.list.2020.json")["completedtrainings"]


def test_documented_v2_account_of_today_begins_with_the_example(sample: Sample) -> None:
    page = documented_account(Version.V2).page(Version.V2)
    payload = sample("completedtrainings.v2.list.today.json")
    assert page.records[:1] == payload["completedtrainings"]
    assert page.last_page == payload["paging"]["last_page"]


def test_documented_account_contains_the_examples_of_both_versions(sample: Sample) -> None:
    account = documented_account(dialect=Dialect(newer_fields=False))
    v2 = sample("completedtrainings.v2.list.2020.json")["completedtrainings"]
    v1 = sample("completedtrainings.list.v1.json")["completedtrainings"]
    assert account.page(Version.V2).records[:3] == v2
    assert account.page(Version.V1).records[3:] == v1
    assert len(account) == 6


@pytest.mark.parametrize(
    ("version", "name"), [(Version.V1, "trainings.list.v1.json"), (Version.V2, "trainings.v2.list.json")]
)
def test_documented_account_contains_the_documented_trainings(version: Version, name: str, sample: Sample) -> None:
    shown = [training.format_for(version) for training in documented_account().trainings]
    assert [training for training in shown if training in sample(name)["trainings"]] == sample(name)["trainings"]


def test_documented_account_contains_the_documented_people(sample: Sample) -> None:
    assert documented_account().users[:2] == sample("users.list.json")["users"]


def test_documented_account_has_names_for_most_ids() -> None:
    account = documented_account()
    people = {user["id"] for user in account.users}
    trainings = {training.ids for training in account.trainings}
    assert all(record.training in trainings for record in account.records())
    assert [record.id for record in account.records() if record.user not in people] == [1233, 1015]
    assert all(record.instructor in people for record in account.records() if record.instructor)


def test_build_account_returns_the_examples_or_an_account_of_a_given_size() -> None:
    def shown(account: Account) -> list[dict[str, Any]]:
        return account.page(Version.V2).records

    assert shown(build_account()) == shown(documented_account())
    assert len(build_account(123, seed=4)) == 123
