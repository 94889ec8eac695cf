"""Parameters and answers of each method."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from notifier.sandbox import Account, Dialect, Growth, Version, documented_account, synthetic_account

if TYPE_CHECKING:
    from tests.unit.sandbox.conftest import Caller, Start

V1, V2 = "completedtrainings.list", "completedtrainings.v2.list"
STATUS = "training-employee-status.list"
Sample = Callable[[str], dict[str, Any]]


@pytest.fixture
def account() -> Account:
    return synthetic_account(450, seed=5)


@pytest.fixture
async def api(start: "Start", account: Account) -> "Caller":
    return await start(account, rate_limit=None)


async def test_completedtrainings_lists_return_the_documented_examples(start: "Start", sample: Sample) -> None:
    old = await start(documented_account(Version.V1))
    assert await old.post(V1) == {**sample("completedtrainings.list.v1.json"), "paging": {"last_page": 1}}
    new = await start(documented_account(Version.V2, dialect=Dialect(newer_fields=False)))
    assert await new.post(V2) == {**sample("completedtrainings.v2.list.2020.json"), "paging": {"last_page": 1}}


async def test_users_and_trainings_lists_contain_the_documented_examples(start: "Start", sample: Sample) -> None:
    api = await start(documented_account())
    users = (await api.post("users.list"))["users"]
    assert users[:2] == sample("users.list.json")["users"]
    for method, name in (("trainings.list", "trainings.list.v1.json"), ("trainings.v2.list", "trainings.v2.list.json")):
        trainings = (await api.post(method))["trainings"]
        assert all(training in trainings for training in sample(name)["trainings"])
        assert all(training["id"] and training["title"] for training in trainings)


async def test_users_and_trainings_lists_contain_the_ids_of_all_completions(api: "Caller") -> None:
    users = {user["id"] for user in (await api.post("users.list"))["users"]}
    titles = {training["id"] for training in (await api.post("trainings.list"))["trainings"]}
    titles_v2 = {training["id"] for training in (await api.post("trainings.v2.list"))["trainings"]}
    for record in (await api.post(V1, limit=1000))["completedtrainings"]:
        assert record["user_id"] in users
        assert record["training_id"] in titles
    for record in (await api.post(V2, limit=1000))["completedtrainings"]:
        assert record["m_user_id"] in users
        assert record["training_id"] in titles_v2


async def test_training_employee_status_follows_from_the_newest_completions(api: "Caller", account: Account) -> None:
    person, training = account.users[0]["id"], account.trainings[0]
    account.add(user=person, training=training.ids, date_number=20990101, expiry=20990715)
    asked = {"m_user_ids": [person], "training_ids": [training.ids.v2]}
    answer = await api.post(STATUS, **asked, include_all_completions=True)
    assert answer["paging"] == {"last_page": 1}
    assert answer["last_updated"] == pytest.approx(account.now_ms(), abs=60_000)
    (employee,) = answer["employees"]
    assert employee == {
        "m_user_id": person,
        "status": "active",
        "percent_complete": 100,
        "incomplete_training_ids": [],
        "complete_training_ids": [training.ids.v2],
        "last_completed": [
            {
                "id": training.ids.v2,
                "date_number": 20990101,
                "is_required": True,
                "expiresOn": 20990715,
                "startsExpiringOn": 20990615,
            }
        ],
    }
    account.status_ends[person, training.ids.v2] = 20200101
    (employee,) = (await api.post(STATUS, **asked))["employees"]
    assert (employee["status"], employee["percent_complete"]) == ("incomplete", 0)
    assert employee["last_completed"][0]["expiresOn"] == 20200101
    assert "is_required" not in employee["last_completed"][0]


async def test_training_employee_status_has_pages_and_rejects_wrong_parameters(api: "Caller", account: Account) -> None:
    pages = [(await api.post(STATUS, page=page, limit=10))["employees"] for page in (1, 2)]
    people = [employee["m_user_id"] for page in pages for employee in page]
    assert people == [user["id"] for user in account.users[:20]]
    for wrong in ({"limit": 1001}, {"m_user_ids": "a"}, {"training_ids": [None]}, {"include_all_completions": 1}):
        assert (await api.post(STATUS, **wrong))["error"] == "parameter_invalid"


async def test_api_echo_answers_with_exactly_the_given_response(api: "Caller") -> None:
    response = {"ok": True, "foo": "bar", "nested": [1, {"a": None}]}
    assert await api.post("api.echo", response=response) == response


@pytest.mark.parametrize("method", [V1, V2])
async def test_pages_of_any_size_add_up_to_the_whole_list(api: "Caller", account: Account, method: str) -> None:
    everything = (await api.post(method, limit=1000))["completedtrainings"]
    assert len(everything) == len(account) == 450
    for limit in (100, 7, 450, 449):
        read: list[dict[str, Any]] = []
        number, last_page = 1, 1
        while number <= last_page:
            answer = await api.post(method, limit=limit, page=number)
            last_page = answer["paging"]["last_page"]
            assert len(answer["completedtrainings"]) <= limit
            read += answer["completedtrainings"]
            number += 1
        assert read == everything
        assert last_page == -(-450 // limit)


async def test_list_without_parameters_returns_the_first_hundred_records(api: "Caller") -> None:
    default = await api.post(V2)
    assert default == await api.post(V2, limit=100, page=1)
    assert len(default["completedtrainings"]) == 100


async def test_last_page_with_limit_1_is_the_number_of_records(api: "Caller") -> None:
    assert (await api.post(V2, limit=1))["paging"] == {"last_page": 450}


async def test_empty_list_has_one_page(start: "Start") -> None:
    api = await start(Account())
    assert await api.post(V1) == {"ok": True, "completedtrainings": [], "paging": {"last_page": 1}}


async def test_paging_contains_the_total_only_with_the_dialect_for_it(api: "Caller", account: Account) -> None:
    user = next(account.records()).user
    assert (await api.post(V1))["paging"] == {"last_page": 5}
    account.dialect = Dialect(total=True)
    assert (await api.post(V1))["paging"] == {"last_page": 5, "total": 450}
    answer = await api.post(V2, user_id=user)
    assert answer["paging"] == {"last_page": 1, "total": len(answer["completedtrainings"])}


async def test_filters_select_records_and_apply_to_every_page(api: "Caller", account: Account) -> None:
    record = next(account.records())
    everything = (await api.post(V2, limit=1000))["completedtrainings"]
    for filters, chosen in (
        ({"user_id": record.user}, [r for r in everything if r["m_user_id"] == record.user]),
        ({"training_id": record.training.v2}, [r for r in everything if r["training_id"] == record.training.v2]),
        ({"has_attachments": True}, [r for r in everything if r["files"]]),
        ({"has_attachments": False}, [r for r in everything if not r["files"]]),
        (
            {"user_id": record.user, "training_id": record.training.v2, "has_attachments": bool(record.files)},
            [
                r
                for r in everything
                if (r["m_user_id"], r["training_id"], bool(r["files"]))
                == (record.user, record.training.v2, bool(record.files))
            ],
        ),
    ):
        assert chosen
        assert (await api.post(V2, limit=1000, **filters))["completedtrainings"] == chosen
        second = await api.post(V2, limit=2, page=2, **filters)
        assert second["completedtrainings"] == chosen[2:4]
        assert second["paging"]["last_page"] == -(-len(chosen) // 2)


async def test_v1_list_filters_by_training_ids_of_v1(api: "Caller", account: Account) -> None:
    record = next(account.records())
    everything = (await api.post(V1, limit=1000))["completedtrainings"]
    answer = await api.post(V1, limit=1000, training_id=record.training.v1, user_id=record.user)
    assert answer["completedtrainings"] == [
        r for r in everything if (r["training_id"], r["user_id"]) == (record.training.v1, record.user)
    ]


async def test_v2_filters_accept_ids_as_text_and_in_capitals(api: "Caller", account: Account) -> None:
    record = next(account.records())
    expected = await api.post(V2, training_id=record.training.v2, user_id=record.user)
    assert expected["completedtrainings"]
    assert await api.post(V2, training_id=str(record.training.v2), user_id=record.user.upper()) == expected


async def test_filter_with_an_unknown_id_returns_an_empty_list(api: "Caller") -> None:
    empty = {"ok": True, "completedtrainings": [], "paging": {"last_page": 1}}
    assert await api.post(V2, user_id="0" * 24) == empty
    assert await api.post(V2, training_id=-1) == empty
    assert await api.post(V1, training_id="0" * 24) == empty


async def test_page_beyond_the_last_one_is_empty(api: "Caller") -> None:
    assert await api.post(V2, page=6) == {"ok": True, "completedtrainings": [], "paging": {"last_page": 5}}


async def test_missing_is_error_answers_with_content_not_found(api: "Caller", account: Account) -> None:
    account.dialect = Dialect(missing_is_error=True)
    user = next(account.records()).user
    for parameters in ({"user_id": "0" * 24}, {"training_id": 7}, {"page": 6}, {"user_id": user, "page": 99}):
        assert (await api.post(V2, **parameters))["error"] == "content_not_found"
    for parameters in ({"page": 5}, {"user_id": user}, {"user_id": user, "has_attachments": True}):
        assert (await api.post(V2, **parameters))["ok"]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *((name, value) for name in ("limit", "page") for value in (0, -1, 1.5, "10", True, None, [1])),
        ("limit", 1001),
        *(("user_id", value) for value in ("", "5e58", 7, None, "g" * 24, "0" * 25)),
        *(("pretty", value) for value in (1, "true", None)),
    ],
)
@pytest.mark.parametrize("method", [V1, V2])
async def test_invalid_parameter_values_are_rejected(api: "Caller", method: str, parameter: str, value: object) -> None:
    answer = await api.post(method, **{parameter: value})
    assert answer["error"] == "parameter_invalid"
    assert f"`{parameter}`" in answer["description"]


@pytest.mark.parametrize(
    ("method", "parameter", "value"),
    [
        (V1, "training_id", 1046),
        (V1, "training_id", "1046"),
        (V2, "training_id", "5804f0f70ef50473af5871ab"),
        (V2, "training_id", True),
        (V2, "training_id", 1046.0),
        (V2, "training_id", None),
        (V2, "has_attachments", "true"),
        (V2, "has_attachments", 1),
    ],
)
async def test_parameter_values_of_another_type_or_version_are_rejected(
    api: "Caller", method: str, parameter: str, value: object
) -> None:
    assert (await api.post(method, **{parameter: value}))["error"] == "parameter_invalid"


@pytest.mark.parametrize(
    ("method", "parameter"),
    [
        (V1, "has_attachments"),
        (V1, "colour"),
        (V2, "m_user_id"),
        ("users.list", "limit"),
        ("trainings.v2.list", "page"),
    ],
)
async def test_parameters_that_a_method_does_not_have_are_rejected(api: "Caller", method: str, parameter: str) -> None:
    answer = await api.post(method, **{parameter: 1})
    assert answer["error"] == "parameter_unexpected"
    assert f"`{parameter}`" in answer["description"]


@pytest.mark.parametrize("limit", [1, 1000])
async def test_list_accepts_the_lowest_and_highest_limit(api: "Caller", limit: int) -> None:
    assert len((await api.post(V1, limit=limit))["completedtrainings"]) == min(limit, 450)


async def test_list_shows_added_and_removed_records_at_once(api: "Caller", account: Account) -> None:
    before = (await api.post(V2, limit=10))["completedtrainings"]
    (added,) = Growth(account, seed=1).grow()
    account.edit(added.id, date_number=99991231)
    account.remove(before[4]["id"])
    after = (await api.post(V2, limit=10))["completedtrainings"]
    assert [record["id"] for record in after[:10]] == [
        added.id,
        *(record["id"] for record in before if record["id"] != before[4]["id"]),
    ]
