from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from notifier.sandbox import RateLimit, Token, documented_account
from tests.support.clocks import FakeClock

if TYPE_CHECKING:
    from tests.unit.sandbox.conftest import Caller, Start


async def answers(api: "Caller", requests: int, **parameters: Any) -> list[bool]:
    return [(await api.post("trainings.list", **parameters))["ok"] for _ in range(requests)]


async def test_rate_limit_rejects_the_81st_request_in_a_minute_as_documented(
    start: "Start", sample: Callable[[str], dict[str, Any]]
) -> None:
    api = await start(documented_account(), clock=FakeClock().monotonic)
    assert all(await answers(api, 80))
    assert await api.post("trainings.list") == sample("error.rate_limit_exceeded.json")
    assert api.traffic.errors == {"rate_limit_exceeded": 1}
    assert api.traffic.requests == {"trainings.list": 81}


async def test_rate_limit_penalty_rejects_every_token_for_a_minute(start: "Start") -> None:
    clock = FakeClock()
    api = await start(documented_account(), tokens=[Token("sandbox"), Token("payroll")], clock=clock.monotonic)
    assert all(await answers(api, 40))
    assert await answers(api, 41, token="payroll") == [True] * 40 + [False]
    for _ in range(6):
        clock.seconds += 9.9
        assert not any(await answers(api, 1) + await answers(api, 1, token="payroll"))
    clock.seconds += 0.6
    assert all(await answers(api, 40) + await answers(api, 40, token="payroll"))


async def test_rate_limit_counts_a_sliding_minute(start: "Start") -> None:
    clock = FakeClock()
    api = await start(documented_account(), clock=clock.monotonic, rate_limit=RateLimit(requests=4))
    assert all(await answers(api, 2))
    clock.seconds += 40
    assert all(await answers(api, 2))
    clock.seconds += 20
    assert await answers(api, 3) == [True, True, False]


async def test_rate_limit_penalty_lasts_even_if_the_minute_has_room_again(start: "Start") -> None:
    clock = FakeClock()
    api = await start(documented_account(), clock=clock.monotonic, rate_limit=RateLimit(requests=4))
    await answers(api, 2)
    clock.seconds += 50
    assert await answers(api, 3) == [True, True, False]
    clock.seconds += 59
    assert await answers(api, 1) == [False]
    clock.seconds += 1
    assert await answers(api, 1) == [True]


async def test_rate_limit_never_rejects_a_steady_rate_within_it(start: "Start") -> None:
    clock = FakeClock()
    api = await start(documented_account(), clock=clock.monotonic)
    for _ in range(200):
        clock.seconds += 60 / 80
        assert all(await answers(api, 1))


async def test_rate_limit_counts_wrong_requests_of_known_tokens_only(start: "Start") -> None:
    tokens = [Token("sandbox"), Token("sleeping", active=False)]
    api = await start(
        documented_account(), tokens=tokens, clock=FakeClock().monotonic, rate_limit=RateLimit(requests=3)
    )
    assert not any(await answers(api, 5, token="stranger"))
    await answers(api, 1, token="sleeping")
    await answers(api, 1, colour="red")
    assert await answers(api, 2) == [True, False]
    assert (await api.post("trainings.list", token="stranger"))["error"] == "token_invalid"


async def test_rate_limit_none_rejects_no_request(start: "Start") -> None:
    api = await start(documented_account(), rate_limit=None)
    assert all(await answers(api, 200))
