"""The requests of the API client, and how it reads the answers."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from notifier import __version__
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.name_stream import NamesReader
from notifier.kpa.rate_limiter import Priority, RateLimiter

if TYPE_CHECKING:
    from tests.unit.kpa.conftest import Gathered, MakeClient, Upstream

USER = "5e580f0cb780600088bd2c11"
EMPTY = {"ok": True, "completedtrainings": []}


async def test_page_request_is_a_post_with_the_token_only_in_the_body(
    upstream: "Upstream", client_of: "MakeClient", token: str
) -> None:
    upstream.answers(EMPTY)
    await client_of(upstream.url).page(3, limit=100, priority=Priority.HEAD)
    [asked] = upstream.asked
    assert (asked.method, asked.path) == ("POST", "/v1/completedtrainings.v2.list")
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["user-agent"] == f"completion-notifier/{__version__}"
    assert token not in str(asked.headers)
    assert json.loads(asked.body) == {"token": token, "page": 3, "limit": 100}


@pytest.mark.parametrize(
    ("keys", "narrowed", "expected"),
    [
        ({}, {}, {}),
        ({"training_id": "1046"}, {}, {"training_id": 1046}),
        ({"training_id": 1046}, {}, {"training_id": 1046}),
        ({"training_id": USER}, {}, {"training_id": USER}),
        ({"user_id": USER, "has_attachments": False}, {}, {"user_id": USER, "has_attachments": False}),
        ({"has_attachments": True}, {"training_id": "7"}, {"training_id": 7, "has_attachments": True}),
        ({"user_id": USER}, {"user_id": "other", "training_id": "7"}, {"user_id": "other", "training_id": 7}),
        ({"api": "v1", "training_id": "1" * 24}, {}, {"training_id": "1" * 24}),
        ({"api": "v1"}, {"user_id": USER, "training_id": "7"}, {"user_id": USER, "training_id": "7"}),
    ],
)
async def test_page_request_has_the_filters_of_the_source_and_of_the_caller(
    keys: dict[str, Any],
    narrowed: dict[str, Any],
    expected: dict[str, Any],
    upstream: "Upstream",
    client_of: "MakeClient",
) -> None:
    upstream.answers(EMPTY)
    await client_of(upstream.url, **keys).page(1, limit=5, priority=Priority.SWEEP, **narrowed)
    assert upstream.asked[0].parameters == {"page": 1, "limit": 5} | expected


@pytest.mark.parametrize(
    ("api", "name", "method"),
    [
        ("v1", "completedtrainings.list.v1.json", "completedtrainings.list"),
        ("v2", "completedtrainings.v2.list.2020.json", "completedtrainings.v2.list"),
        ("v2", "completedtrainings.v2.list.today.json", "completedtrainings.v2.list"),
    ],
)
async def test_page_reads_the_documented_examples(
    api: str, name: str, method: str, upstream: "Upstream", client_of: "MakeClient", sample: Callable[[str], Any]
) -> None:
    document = sample(name)
    upstream.answers(document, Date="Sat, 21 Nov 2026 17:00:00 GMT")
    page = await client_of(upstream.url, api=api).page(2, limit=1000, priority=Priority.HEAD)
    assert upstream.asked[0].path == f"/v1/{method}"
    assert (page.number, page.limit, page.size) == (2, 1000, len(document["completedtrainings"]))
    assert [json.loads(completion.raw) for completion in page.completions] == document["completedtrainings"]
    assert page.bad == ()
    assert page.last_page == document.get("paging", {}).get("last_page")
    assert page.total is None
    assert page.served_at_ms == 1_795_280_400_000
    assert 0 < page.seconds < 5


async def test_page_requested_at_excludes_the_wait_for_the_rate_limiter(
    upstream: "Upstream", client_of: "MakeClient", budget: RateLimiter
) -> None:
    upstream.answers(EMPTY)
    client = client_of(upstream.url)
    budget.silence(0.3)
    begun = asyncio.get_running_loop().time()
    page = await client.page(2, limit=5, priority=Priority.HEAD)
    ended = asyncio.get_running_loop().time()
    assert begun + 0.25 < page.requested_at < page.requested_at + page.seconds <= ended


async def test_page_with_a_bad_record_returns_it_beside_the_good_ones(
    upstream: "Upstream", client_of: "MakeClient", sample: Callable[[str], Any]
) -> None:
    document = sample("completedtrainings.v2.list.2020.json")
    document["completedtrainings"][1]["date_number"] = "soon"
    upstream.answers(document)
    page = await client_of(upstream.url).page(1, limit=1, priority=Priority.HEAD)
    assert [completion.key for completion in page.completions] == ["1238", "1233"]
    assert [record.key for record in page.bad] == ["1236"]
    assert page.size == 3


@pytest.mark.parametrize(
    ("paging", "last_page", "total"),
    [
        ({"last_page": 7, "total": 650}, 7, 650),
        ({"last_page": "7", "total": "650"}, 7, 650),
        ({"last_page": 0, "total": 0}, 0, 0),
        ({"last_page": None, "total": ""}, None, None),
        ({"last_page": -1, "total": 10**13}, None, None),
        ({"last_page": 1.5, "total": True}, None, None),
        ({"last_page": [7], "total": {"records": 650}}, None, None),
        ({"last_page": "many", "total": "-3"}, None, None),
        ({"pages": 7}, None, None),
        ([7], None, None),
        ("7", None, None),
        (7, None, None),
        (None, None, None),
    ],
)
async def test_page_ignores_paging_of_a_wrong_type(
    paging: object, last_page: int | None, total: int | None, upstream: "Upstream", client_of: "MakeClient"
) -> None:
    upstream.answers(EMPTY | {"paging": paging})
    page = await client_of(upstream.url).page(1, limit=100, priority=Priority.HEAD)
    assert (page.last_page, page.total) == (last_page, total)


@pytest.mark.parametrize("records", [None, {}, {"0": {"id": 1}}, "none", 5, True])
async def test_page_with_records_that_are_no_list_raises_unexpected_shape(
    records: object, upstream: "Upstream", client_of: "MakeClient"
) -> None:
    upstream.answers({"ok": True, "completedtrainings": records})
    with pytest.raises(ApiError) as caught:
        await client_of(upstream.url).page(1, limit=100, priority=Priority.HEAD)
    assert caught.value.reason is ApiErrorReason.UNEXPECTED_SHAPE


async def test_page_reads_an_answer_of_megabytes(upstream: "Upstream", client_of: "MakeClient") -> None:
    record = {"id": 1, "training_id": 2, "m_user_id": USER, "signature": {"png": "x" * 20_000}}
    upstream.answers({"ok": True, "completedtrainings": [record | {"id": number} for number in range(200)]})
    page = await client_of(upstream.url).page(1, limit=200, priority=Priority.SWEEP)
    assert [completion.key for completion in page.completions] == [str(number) for number in range(200)]


async def test_people_returns_names_and_numbers_and_no_other_personal_data(
    upstream: "Upstream", client_of: "MakeClient", gathered: "Gathered", sample: Callable[[str], Any]
) -> None:
    upstream.answers(sample("users.list.json"))
    people = await gathered(client_of(upstream.url).people())
    assert (upstream.asked[0].path, upstream.asked[0].parameters) == ("/v1/users.list", {})
    person = people["5804f0f40ef50473af5870e6"]
    assert (person.name, person.employee_number) == ("David Ball", "DAVI2345")
    for personal in ("dball", "555", "emergency", "1345525200000"):
        assert personal not in str(people)


async def test_people_yields_to_the_event_loop_after_each_piece_of_a_long_list(
    upstream: "Upstream", client_of: "MakeClient", gathered: "Gathered", monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0
    turns_at_pieces = []
    feed = NamesReader.feed

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def noted_feed(reader: NamesReader[Any], piece: bytes) -> None:
        turns_at_pieces.append(turns)
        feed(reader, piece)

    monkeypatch.setattr(NamesReader, "feed", noted_feed)
    upstream.answers({"ok": True, "users": [{"id": number, "firstname": "Ann" * 100} for number in range(2_000)]})
    counting = asyncio.create_task(count_turns())
    assert len(await gathered(client_of(upstream.url).people())) == 2_000
    counting.cancel()
    assert len(turns_at_pieces) == len(set(turns_at_pieces)) > 40


@pytest.mark.parametrize(
    ("api", "name", "method", "title"),
    [
        ("v1", "trainings.list.v1.json", "trainings.list", ("5804f0f70ef50473af5871a9", "Ladder Safety")),
        ("v2", "trainings.v2.list.json", "trainings.v2.list", ("1024", "Coordinator Training")),
    ],
)
async def test_trainings_uses_the_api_version_of_the_source(
    api: str,
    name: str,
    method: str,
    title: tuple[str, str],
    upstream: "Upstream",
    client_of: "MakeClient",
    gathered: "Gathered",
    sample: Callable[[str], Any],
) -> None:
    upstream.answers(sample(name))
    trainings = await gathered(client_of(upstream.url, api=api).trainings())
    assert (upstream.asked[0].path, upstream.asked[0].parameters) == (f"/v1/{method}", {})
    assert title in {id_: training.title for id_, training in trainings.items()}.items()


async def test_echo_accepts_its_object_alone_or_wrapped(upstream: "Upstream", client_of: "MakeClient") -> None:
    client = client_of(upstream.url)
    upstream.answers(EMPTY)
    await client.echo()
    assert upstream.asked[0].path == "/v1/api.echo"
    sent = upstream.asked[0].parameters["response"]
    for answer in (sent, {"ok": True, "response": sent}):
        upstream.answers(answer)
        await client.echo()


async def test_rate_limiter_counts_every_request(
    upstream: "Upstream", client_of: "MakeClient", gathered: "Gathered", budget: RateLimiter
) -> None:
    client = client_of(upstream.url)
    upstream.answers(EMPTY | {"users": [], "trainings": []})
    await client.page(1, limit=1, priority=Priority.HEAD)
    await gathered(client.people())
    await gathered(client.trainings())
    await client.echo()
    assert budget.requests == len(upstream.asked) == 4


@pytest.mark.parametrize(
    ("number", "error", "keys", "narrowed", "is_empty"),
    [
        (2, "content_not_found", {}, {}, True),
        (2, "parameter_invalid", {}, {}, True),
        (2, "parameter_invalid", {"training_id": "7"}, {}, True),
        (2, "server_error", {}, {}, False),
        (1, "content_not_found", {}, {}, True),
        (1, "content_not_found", {}, {"user_id": USER, "training_id": "7"}, True),
        (1, "parameter_invalid", {}, {"user_id": USER}, True),
        (1, "server_error", {}, {"user_id": USER}, False),
        (1, "content_not_found", {"training_id": "7"}, {}, False),
        (1, "parameter_invalid", {}, {}, False),
    ],
)
async def test_page_is_empty_after_an_error_that_means_nothing_was_found(
    number: int,
    error: str,
    keys: dict[str, Any],
    narrowed: dict[str, Any],
    is_empty: bool,
    upstream: "Upstream",
    client_of: "MakeClient",
) -> None:
    upstream.answers({"ok": False, "error": error})
    asking = client_of(upstream.url, **keys).page(number, limit=10, priority=Priority.HEAD, **narrowed)
    if is_empty:
        page = await asking
        assert (page.number, page.size, page.completions, page.last_page, page.total) == (number, 0, (), None, None)
    else:
        with pytest.raises(ApiError):
            await asking
