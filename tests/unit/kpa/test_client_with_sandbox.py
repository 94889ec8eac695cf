"""The API client works with the simulated API, which was written independently of it."""

from typing import TYPE_CHECKING

import pytest

from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.rate_limiter import Priority
from notifier.sandbox import DEFAULT_TOKEN, build_account, documented_account, make_app, serve

if TYPE_CHECKING:
    from tests.unit.kpa.conftest import Gathered, MakeClient


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_client_methods_work_with_the_sandbox(api: str, client_of: "MakeClient", gathered: "Gathered") -> None:
    async with serve(make_app(documented_account())) as base_url:
        client = client_of(base_url, api=api, token=DEFAULT_TOKEN)
        await client.echo()
        people, trainings = await gathered(client.people()), await gathered(client.trainings())
        page = await client.page(1, limit=1000, priority=Priority.HEAD)
        assert page.bad == ()
        assert page.size == len(page.completions) > 0
        assert page.last_page == 1
        assert page.served_at_ms is not None
        assert any(completion.user_id in people for completion in page.completions)
        assert all(completion.training_id in trainings for completion in page.completions)
        one = page.completions[0]
        narrowed = await client.page(
            1, limit=1000, priority=Priority.SEARCH, user_id=one.user_id, training_id=one.training_id
        )
        assert one in narrowed.completions
        assert {completion.user_id for completion in narrowed.completions} == {one.user_id}


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_pages_of_a_large_account_contain_each_record_under_its_own_key(
    api: str, client_of: "MakeClient"
) -> None:
    async with serve(make_app(build_account(records=2_500), rate_limit=None)) as base_url:
        client = client_of(base_url, api=api, token=DEFAULT_TOKEN)
        pages = [await client.page(number, limit=1000, priority=Priority.SWEEP) for number in (1, 2, 3)]
        assert [page.size for page in pages] == [1000, 1000, 500]
        assert {page.last_page for page in pages} == {3}
        assert not any(page.bad for page in pages)
        assert len({completion.key for page in pages for completion in page.completions}) == 2_500


async def test_wrong_token_is_token_invalid_and_is_not_repeated(client_of: "MakeClient") -> None:
    async with serve(make_app(documented_account())) as base_url:
        with pytest.raises(ApiError) as caught:
            await client_of(base_url, token="mistyped").echo()
    assert caught.value.reason is ApiErrorReason.TOKEN_INVALID
    assert "mistyped" not in caught.value.message
