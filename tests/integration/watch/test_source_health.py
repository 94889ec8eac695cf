"""The API fails at any request and in any way: no event is lost or sent twice, and requests stay few."""

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from notifier.sandbox import RateLimit, Token
from notifier.watch.observations import RequestCategory
from notifier.watch.rounds import RoundResult
from notifier.watch.source_health import SourceState

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from tests.support.watched_source import Answer, Asked, Station

pytestmark = pytest.mark.usefixtures("small_pages")

DAY = 86_400
YEARS_AGO = 20190704


@pytest.mark.parametrize(
    ("failing", "fault"),
    [(1, "cut_off"), (2, "server_error"), (3, "bad_gateway"), (4, "cut_off"), (5, "server_error")],
)
async def test_failed_head_poll_is_completed_by_the_next_one(
    station: "Station", faults: "dict[str, Answer]", fault: str, failing: int
) -> None:
    await station.open(300, page_size=10)
    await station.round()
    new = station.enter(170)
    station.upstream.fail([failing], faults[fault])
    done = await station.watcher.poll()
    assert done.result is RoundResult.FAILED
    assert station.watcher.state is SourceState.FAILING
    assert len(station.events) < 170
    assert (await station.watcher.poll()).result is RoundResult.DONE
    assert sorted(station.told()) == sorted(station.keys_of(new))
    await station.check_consistency()


@pytest.mark.parametrize(("failing", "api"), [(2, "v1"), (3, "v2"), (4, "v1")])
async def test_failed_head_poll_is_completed_after_a_restart(
    station: "Station", faults: "dict[str, Answer]", failing: int, api: str
) -> None:
    station.version = api
    await station.open(300, page_size=10)
    await station.round()
    new = station.enter(170)
    station.upstream.fail([failing], faults["bad_gateway"])
    await station.watcher.poll()
    await station.restart()
    await station.watcher.poll()
    assert sorted(station.told()) == sorted(station.keys_of(new))
    await station.check_consistency()


@pytest.mark.parametrize("killed_at", [2, 3, 4, 5])
async def test_killed_head_poll_is_completed_after_a_restart(station: "Station", killed_at: int) -> None:
    await station.open(300, page_size=10)
    await station.round()
    new = station.enter(170)
    reached = asyncio.Event()

    async def hold() -> None:
        reached.set()
        await asyncio.Event().wait()

    station.upstream.fail([killed_at], hold)
    polling = asyncio.create_task(station.watcher.poll())
    await reached.wait()
    polling.cancel()
    await asyncio.wait([polling])
    station.upstream.interfere = None
    await station.restart()
    await station.watcher.poll()
    assert sorted(station.told()) == sorted(station.keys_of(new))


async def test_head_poll_reaches_the_place_of_a_failure_despite_newer_records(
    station: "Station", faults: "dict[str, Answer]"
) -> None:
    await station.open(300, page_size=10)
    await station.round()
    new = station.enter(170)
    station.upstream.fail([4], faults["bad_gateway"])
    await station.watcher.poll()
    new += station.enter(30)
    station.upstream.fail([2], faults["bad_gateway"])
    await station.watcher.poll()
    new += station.enter(5)
    await station.watcher.poll()
    assert sorted(station.told()) == sorted(station.keys_of(new))
    station.upstream.asked.clear()
    await station.watcher.poll()
    assert station.upstream.pages() == [(1, 10)]


async def test_failing_large_pages_do_not_prevent_events_of_the_first_page(
    station: "Station", faults: "dict[str, Answer]"
) -> None:
    await station.open(300, page_size=10)
    await station.round()

    async def refuse_large(asked: "Asked") -> "web.StreamResponse | None":
        return await faults["server_error"]() if asked.limit == 50 else None

    station.upstream.interfere = refuse_large
    new = []
    for _ in range(3):
        new += station.enter(3)
        await station.watcher.poll()
        assert station.told() == station.keys_of(new)


@pytest.mark.parametrize(
    ("failing", "fault"), [(1, "cut_off"), (2, "server_error"), (3, "bad_gateway"), (5, "cut_off")]
)
async def test_failed_sweep_resumes_at_the_failed_page(
    station: "Station", faults: "dict[str, Answer]", fault: str, failing: int
) -> None:
    await station.open(230, page_size=10)
    await station.watcher.poll()
    new = station.enter(3, date_number=19991231)
    station.upstream.fail([failing], faults[fault])
    await station.watcher.run_followups()
    await station.quiet()
    # The newest records can still be read: only the scan fails.
    assert station.watcher.state is SourceState.OK
    assert list(station.watcher.report().request_failures) == [RequestCategory.SCAN]
    station.upstream.interfere = None
    station.upstream.asked.clear()
    station.clock.advance(60)
    await station.round()
    assert [page for page, limit in station.upstream.pages() if limit == 50] == list(range(failing, 6))
    assert station.told() == station.keys_of(new)
    assert (await station.memory()).swept_at_ms is not None
    await station.check_consistency()


async def test_sweep_whose_last_count_fails_is_completed_a_minute_later(
    station: "Station", faults: "dict[str, Answer]"
) -> None:
    async def refuse_count_after_last_page(asked: "Asked") -> "web.StreamResponse | None":
        is_over = (5, 50) in station.upstream.pages()
        return await faults["server_error"]() if asked.counts and is_over else None

    await station.open(230, page_size=10)
    station.upstream.interfere = refuse_count_after_last_page
    await station.watcher.poll()
    await station.watcher.run_followups()
    await station.quiet()
    assert list(station.watcher.report().request_failures) == [RequestCategory.SCAN]
    station.upstream.interfere = None
    station.upstream.asked.clear()
    station.clock.advance(60)
    await station.round()
    assert [page for page, limit in station.upstream.pages() if limit == 50] == [6]
    assert station.watcher.report().request_failures == {}
    assert (await station.memory()).swept_at_ms is not None


async def test_failing_sweep_pauses_for_a_minute_while_polls_continue(
    station: "Station", faults: "dict[str, Answer]"
) -> None:
    async def refuse_large(asked: "Asked") -> "web.StreamResponse | None":
        return await faults["server_error"]() if asked.limit == 50 else None

    await station.open(230, page_size=10)
    station.upstream.interfere = refuse_large
    for _ in range(6):
        await station.round()
        station.clock.advance(10)
    assert station.upstream.pages() == [(1, 10), (1, 50), *[(1, 10)] * 5]
    await station.round()
    assert station.upstream.pages()[-1] == (1, 50)


@pytest.mark.parametrize("failing", [1, 2, 3])
async def test_failed_first_poll_stores_no_first_contact(
    either: "Station", faults: "dict[str, Answer]", failing: int
) -> None:
    await either.open(120, page_size=10)
    either.upstream.fail(range(1, failing + 1), faults["server_error"])
    for _ in range(failing):
        assert (await either.watcher.poll()).result is RoundResult.FAILED
        assert either.watcher.unready()
    assert (await either.memory()).first_contact_ms is None
    either.enter(2)
    assert (await either.round()).events == 0
    new = either.enter(1)
    await either.round()
    assert either.told() == either.keys_of(new)
    assert either.watcher.unready() is None


async def test_failure_is_logged_and_stored_and_the_state_is_ok_after_a_success(
    station: "Station", faults: "dict[str, Answer]", caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "notifier.watch")
    await station.open(20)
    await station.round()
    caplog.clear()
    station.upstream.fail(range(1, 4), faults["bad_gateway"])
    for _ in range(4):
        await station.watcher.poll()
        station.clock.advance(60)
    messages = [(record.levelno, record.__dict__.get("reason")) for record in caplog.records]
    assert messages == [(logging.WARNING, "http_status"), (logging.WARNING, None)]
    memory = await station.memory()
    assert memory == station.watcher.memory
    assert memory.error is not None
    assert memory.error.reason == "http_status"
    assert station.watcher.state is SourceState.OK


async def test_source_is_unready_after_three_intervals_without_success(
    station: "Station", faults: "dict[str, Answer]"
) -> None:
    await station.open(20, poll_interval="60s")
    assert station.watcher.unready() == "not polled successfully yet"
    await station.round()
    station.upstream.fail(range(1, 100), faults["server_error"])
    for _ in range(3):
        station.clock.advance(60)
        await station.watcher.poll()
        assert station.watcher.unready() is None
    station.clock.advance(1)
    assert (station.watcher.unready() or "").startswith("server_error: ")
    station.upstream.interfere = None
    await station.watcher.poll()
    assert station.watcher.unready() is None


async def exceed_the_limit(station: "Station", **keys: object) -> None:
    """Open a source whose API has just answered with `rate_limit_exceeded`."""
    station.options["rate_limit"] = RateLimit(requests=5, window=60.0, penalty=60.0)
    await station.open(20, page_size=10, **keys)
    await station.round()
    while (await station.watcher.poll()).result is RoundResult.DONE:
        pass
    station.upstream.asked.clear()


async def test_rate_limit_silences_automatic_and_manual_polls(station: "Station") -> None:
    await exceed_the_limit(station)
    for _ in range(5):
        station.clock.advance(11.9)
        assert (await station.round()).result is RoundResult.SILENT
        assert (await station.watcher.poll(by_hand=True)).result is RoundResult.SILENT
        assert station.watcher.binding_silence_reason()
    assert station.upstream.asked == []
    assert station.watcher.state == "rate_limited"
    station.clock.advance(0.6)
    assert (await station.round()).result is RoundResult.DONE
    assert station.watcher.state == "ok"
    assert station.watcher.binding_silence_reason() is None
    assert (await station.memory()).silent_until_ms is None


async def test_rate_limit_pause_lasts_as_long_as_configured(station: "Station") -> None:
    await exceed_the_limit(station, rate_limit_pause="200s")
    station.clock.advance(199)
    assert (await station.watcher.poll()).result is RoundResult.SILENT
    assert station.watcher.silence_seconds() == pytest.approx(1.0)
    station.clock.advance(1)
    assert (await station.watcher.poll()).result is RoundResult.DONE


async def test_rate_limit_pause_survives_a_restart(station: "Station") -> None:
    await exceed_the_limit(station)
    station.clock.advance(20)
    await station.restart()
    assert station.watcher.state is SourceState.RATE_LIMITED
    assert station.watcher.silence_seconds() == pytest.approx(40, abs=0.1)
    assert (await station.watcher.poll(by_hand=True)).result is RoundResult.SILENT
    station.clock.advance(39.8)
    assert (await station.watcher.poll()).result is RoundResult.SILENT
    assert station.upstream.asked == []
    station.clock.advance(0.3)
    assert (await station.watcher.poll()).result is RoundResult.DONE


@pytest.mark.parametrize("jump", [-3600.0, -DAY * 365.0])
async def test_rate_limit_pause_after_a_clock_set_back_is_at_most_ten_minutes(station: "Station", jump: float) -> None:
    await exceed_the_limit(station)
    station.clock.set_wall_clock(jump)
    await station.restart()
    assert 0 < station.watcher.silence_seconds() <= 600
    station.clock.advance(600)
    assert (await station.watcher.poll()).result is RoundResult.DONE


async def test_rate_limit_pause_outlasts_a_failure(
    station: "Station", refusal: "Callable[[str], Answer]", faults: "dict[str, Answer]"
) -> None:
    """A request of a sweep is under way when a head poll exceeds the rate limit; then it fails with another error."""
    reached, released = asyncio.Event(), asyncio.Event()

    async def interfere(asked: "Asked") -> "web.StreamResponse | None":
        if asked.limit == 50:
            reached.set()
            await released.wait()
            return await faults["bad_gateway"]()
        return None if asked.counts else await refusal("rate_limit_exceeded")()

    await station.open(230, page_size=10)
    await station.watcher.poll()
    station.upstream.interfere = interfere
    await station.watcher.run_followups()
    await reached.wait()
    await station.watcher.poll()
    released.set()
    await station.quiet()
    station.upstream.interfere = None
    assert station.watcher.binding_silence_reason()
    await station.restart()
    assert station.watcher.silence_seconds() == pytest.approx(60, abs=0.1)


async def test_rate_limit_pause_outlasts_a_success(station: "Station", refusal: "Callable[[str], Answer]") -> None:
    """A head poll is under way when a sweep exceeds the rate limit; then it succeeds."""
    reached, released = asyncio.Event(), asyncio.Event()

    async def interfere(asked: "Asked") -> "web.StreamResponse | None":
        if asked.limit == 50:
            return await refusal("rate_limit_exceeded")()
        if asked.counts:
            return None
        reached.set()
        await released.wait()
        return None

    await station.open(230, page_size=10)
    await station.watcher.poll()
    station.upstream.interfere = interfere
    polling = asyncio.create_task(station.watcher.poll())
    await reached.wait()
    await station.watcher.begin_sweep()
    await station.quiet()
    released.set()
    assert (await polling).result is RoundResult.DONE
    station.upstream.interfere = None
    station.upstream.asked.clear()
    assert station.watcher.state is SourceState.RATE_LIMITED
    assert (await station.round()).result is RoundResult.SILENT
    await station.restart()
    assert (await station.round()).result is RoundResult.SILENT
    assert station.upstream.asked == []


async def test_rate_limit_error_of_a_name_request_silences_polls(
    station: "Station", refusal: "Callable[[str], Answer]"
) -> None:
    await station.open(20, names=True)
    await station.watcher.poll()
    station.upstream.fail([1], refusal("rate_limit_exceeded"), method="users.list")
    await station.watcher.run_followups()
    await station.until(lambda: bool(station.watcher.silence_seconds()))
    station.upstream.asked.clear()
    async with asyncio.timeout(20):
        assert (await station.watcher.poll()).result is RoundResult.SILENT
        assert (await station.watcher.poll(by_hand=True)).result is RoundResult.SILENT
    assert station.upstream.pages() == []
    station.clock.advance(60)
    assert (await station.watcher.poll()).result is RoundResult.DONE


async def test_invalid_token_slows_polls_to_one_every_ten_minutes(
    station: "Station", caplog: pytest.LogCaptureFixture
) -> None:
    station.options["tokens"] = [Token("another")]
    await station.open(20)
    done = await station.watcher.poll()
    assert done.result is RoundResult.FAILED
    assert "the API does not know the token" in done.message
    # A single error may be the API's fault, so the token is tried once more before the pause.
    station.clock.advance(60)
    assert (await station.watcher.poll()).result is RoundResult.FAILED
    for _ in range(9):
        station.clock.advance(60)
        assert (await station.watcher.poll()).result is RoundResult.SILENT
    assert len(station.upstream.asked) == 2
    station.clock.advance(60)
    assert (await station.watcher.poll()).result is RoundResult.FAILED
    assert len(station.upstream.asked) == 3
    memory = await station.memory()
    assert memory.error is not None
    assert memory.error.reason == "token_invalid"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert station.watcher.state is SourceState.FAILING


async def test_manual_poll_with_a_corrected_token_ends_the_pause(station: "Station") -> None:
    station.options["tokens"] = [Token("sandbox", active=False)]
    await station.open(20)
    await station.watcher.poll()
    assert (await station.watcher.poll(by_hand=True)).result is RoundResult.FAILED
    station.tokens["sandbox"] = Token("sandbox")
    assert (await station.watcher.poll()).result is RoundResult.SILENT
    assert station.watcher.binding_silence_reason() is None
    assert (await station.watcher.poll(by_hand=True)).result is RoundResult.DONE
    assert (await station.watcher.poll()).result is RoundResult.DONE


async def test_restart_with_a_corrected_token_polls_at_once(station: "Station") -> None:
    station.options["tokens"] = [Token("sandbox", active=False)]
    await station.open(20)
    await station.watcher.poll()
    station.tokens["sandbox"] = Token("sandbox")
    await station.restart()
    assert (await station.watcher.poll()).result is RoundResult.DONE


async def test_one_unknown_error_does_not_silence_a_healthy_source(
    station: "Station", refusal: "Callable[[str], Answer]"
) -> None:
    await station.open(20)
    await station.round()
    station.upstream.fail([1], refusal("database_is_being_moved"))
    assert (await station.watcher.poll()).result is RoundResult.FAILED
    assert (await station.watcher.poll()).result is RoundResult.DONE
    assert station.watcher.unready() is None


async def test_failing_count_with_a_working_head_poll_raises_only_count_failing(
    station: "Station", faults: "dict[str, Answer]"
) -> None:
    await station.open(300, page_size=10)
    await station.round()
    failing = faults["server_error"]

    async def only_counts(asked: "Asked") -> "web.StreamResponse | None":
        return await failing() if asked.limit != 10 else None

    station.upstream.interfere = only_counts
    for _ in range(5):
        assert (await station.watcher.poll()).result is RoundResult.DONE
        assert station.watcher.state is SourceState.OK
        station.clock.advance(60)
    assert [it.name for it in station.conditions()] == ["count_failing"]
    station.upstream.interfere = None
    await station.round()
    assert RequestCategory.COUNT not in station.watcher.report().request_failures


@pytest.mark.parametrize(("limit", "from_page"), [(1, 1), (50, 3)], ids=["count", "sweep"])
async def test_permanent_error_of_count_or_sweep_does_not_slow_the_polls(
    station: "Station", refusal: "Callable[[str], Answer]", limit: int, from_page: int
) -> None:
    await station.open(300, page_size=10)
    await station.round()
    failing = refusal("query_cancelled")

    async def interfere(asked: "Asked") -> "web.StreamResponse | None":
        return await failing() if asked.limit == limit and (asked.page or 1) >= from_page else None

    station.upstream.interfere = interfere
    await station.watcher.begin_sweep()
    for _ in range(5):
        entered = station.enter()
        assert (await station.round()).is_done
        assert station.told()[-1:] == station.keys_of(entered)
        station.clock.advance(60)
    assert station.watcher.unready() is None
    assert station.watcher.request_failures()
