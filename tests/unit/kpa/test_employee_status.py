"""Pages of the employee status list: what is read, what is left out, and what is an error."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from notifier.facts import ListedEnd, Validity, ValiditySource, listed_validity
from notifier.http.exchange import Answer
from notifier.kpa.employee_status import StatusPage, read_status_page
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.rate_limiter import Priority
from notifier.sandbox import DEFAULT_TOKEN, build_account, make_app, serve
from notifier.watch.employee_statuses import read_employee_statuses

if TYPE_CHECKING:
    from tests.unit.kpa.conftest import MakeClient


def read(employees: Any, *, number: int = 1, limit: int = 2, **paging: Any) -> StatusPage:
    body = json.dumps({"ok": True, "employees": employees, "paging": paging}).encode()
    return read_status_page(Answer(200, CIMultiDictProxy(CIMultiDict()), body), "secret", number=number, limit=limit)


def employee(user: Any, *entries: Any) -> dict[str, Any]:
    return {"m_user_id": user, "status": "active", "last_completed": [*entries]}


def test_read_status_page_returns_only_trainings_with_a_date_and_an_end() -> None:
    ends = {"id": 7, "date_number": 20220506, "expiresOn": 20230715}
    page = read(
        [
            employee(
                "a", ends, {"id": 8, "date_number": "20220101", "expiresOn": None}, {"id": 9, "expiresOn": 20230101}
            ),
            {"m_user_id": "b", "status": "unassigned"},
        ]
    )
    assert page.people == {"a": {"7": ListedEnd("2022-05-06", "2023-07-15")}, "b": {}}


@pytest.mark.parametrize(
    "entries",
    [
        [{"id": 1, "date_number": 20220506, "expiresOn": "soon"}],
        [{"date_number": 20220506, "expiresOn": 20230506}],
        [3],
    ],
)
def test_read_status_page_omits_a_person_with_an_unreadable_entry(entries: list[Any]) -> None:
    assert read([employee("a", *entries), employee("b")]).people == {"b": {}}
    with pytest.raises(ApiError) as caught:
        read([employee("a", *entries)])
    assert caught.value.reason is ApiErrorReason.UNEXPECTED_SHAPE


@pytest.mark.parametrize("employees", [None, {}, "none"])
def test_read_status_page_without_a_list_raises_unexpected_shape(employees: Any) -> None:
    with pytest.raises(ApiError) as caught:
        read(employees)
    assert caught.value.reason is ApiErrorReason.UNEXPECTED_SHAPE


def test_status_page_is_last_if_the_api_names_it_or_it_is_not_full() -> None:
    two = [employee("a"), employee("b")]
    assert not read(two, last_page=2).is_last
    assert read(two, last_page=1).is_last
    assert not read(two).is_last
    assert read(two[:1]).is_last
    assert read([], last_page=9).is_last


def test_listed_validity_needs_the_completion_date_of_the_listed_end() -> None:
    end = ListedEnd("2022-05-06", "2023-07-15")
    assert listed_validity("2022-05-06", end) == Validity("2023-07-15", ValiditySource.EMPLOYEE_STATUS)
    assert listed_validity("2022-05-07", end) is None
    assert listed_validity(None, end) is None
    assert listed_validity("2022-05-06", None) is None


async def test_read_employee_statuses_raises_if_a_page_repeats() -> None:
    async def page(number: int, limit: int) -> StatusPage:
        del number, limit
        return StatusPage({"a": {}}, is_last=False)

    statuses = read_employee_statuses(page)
    assert await anext(statuses) == {"a": {}}
    with pytest.raises(ApiError, match="page 2 repeats"):
        await anext(statuses)


@pytest.mark.parametrize("missing_is_error", [False, True])
async def test_employee_status_reads_the_pages_of_the_sandbox(client_of: "MakeClient", missing_is_error: bool) -> None:
    account = build_account(records=400)
    account.dialect = type(account.dialect)(missing_is_error=missing_is_error)
    async with serve(make_app(account, rate_limit=None)) as base_url:
        client = client_of(base_url, api="v2", token=DEFAULT_TOKEN)
        pages = [await client.employee_status(number, limit=20) for number in (1, 2)]
        assert [len(page.people) for page in pages] == [20, 20]
        assert not pages[0].is_last
        assert pages[0].people.keys().isdisjoint(pages[1].people)
        beyond = await client.employee_status(1000, limit=20, priority=Priority.NAMES)
        assert (beyond.people, beyond.is_last) == ({}, True)
        one = await client_of(
            base_url, api="v2", token=DEFAULT_TOKEN, user_id=account.users[0]["id"], training_id="1"
        ).employee_status(1, limit=20)
        assert [*one.people] == [account.users[0]["id"]]
