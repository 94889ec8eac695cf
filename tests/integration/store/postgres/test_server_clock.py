"""A difference between this machine's clock and that of the database's server: how it is measured and reported."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.clock import SystemClock
from notifier.store.postgres.location import Location
from notifier.store.postgres.server_clock import DIFFERS_MS, difference_sentence, server_clock_ahead_ms
from notifier.store.postgres.store import PostgresStore
from tests.support.command_line import Home, home
from tests.support.postgres_server import PostgresServer

__all__ = ["home"]

HOUR_MS = 3_600_000


@pytest.fixture
def location(postgres_server: PostgresServer) -> Iterator[Location]:
    yield postgres_server.location("clock")
    postgres_server.execute("DROP SCHEMA IF EXISTS clock CASCADE")


class ShiftedClock:
    """This machine's clock, set ahead by so many milliseconds."""

    def __init__(self, by_ms: int = 0) -> None:
        self.by_ms = by_ms

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.by_ms


@given(st.integers(-HOUR_MS, HOUR_MS))
def test_difference_sentence_ignores_small_differences_and_names_the_direction(ahead_ms: int) -> None:
    said = difference_sentence(ahead_ms)
    assert (said is None) is (abs(ahead_ms) < DIFFERS_MS)
    assert said is None or (" behind that" in said) is (ahead_ms > 0)


@pytest.mark.parametrize("by_ms", [-HOUR_MS, 0, HOUR_MS])
async def test_server_clock_ahead_ms_returns_the_difference_to_the_server(location: Location, by_ms: int) -> None:
    store = PostgresStore(location, SystemClock().now_ms)
    await store.open()
    # Both clocks are this machine's, so no request takes long enough to hide an hour.
    assert abs(await store.run(server_clock_ahead_ms, ShiftedClock(by_ms).now_ms) + by_ms) < 60_000
    await store.close()


async def test_server_clock_ahead_ms_returns_0_when_the_answer_is_slow(location: Location) -> None:
    store = PostgresStore(location, SystemClock().now_ms)
    await store.open()
    moments = iter([0, 2 * SystemClock().now_ms()])
    assert await store.run(server_clock_ahead_ms, lambda: next(moments)) == 0
    await store.close()


async def test_log_names_start_and_end_of_a_difference(location: Location, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "notifier.store.postgres.store")
    clock = ShiftedClock(HOUR_MS)
    store = PostgresStore(location, clock.now_ms)
    await store.open()
    await store.check_access()
    clock.by_ms = 0
    for _ in range(2):
        await store.check_access()
    await store.close()
    assert [record.message for record in caplog.records] == [
        "the clock of this machine differs from that of the database's server",
        "the clock of this machine agrees with that of the database's server again",
    ]
    assert "3600 seconds ahead of" in caplog.records[0].__dict__["detail"]


async def test_check_and_status_commands_warn_of_a_clock_difference(
    location: Location, home: Home, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.configure()
    place = f'url = "{postgres_server.url()}"\nname = "clock"'
    home.config.write_text(home.config.read_text().replace('path = "notifier.db"', place))
    store = PostgresStore(location, SystemClock().now_ms)
    await store.open()
    await store.close()
    warning = "Warning: this machine's clock is 3600 seconds behind that of the database's server"
    for command in ("check", "status"):
        assert warning[:30] not in (await home.call(command)).out
    monkeypatch.setattr(SystemClock, "now_ms", lambda _: ShiftedClock(-HOUR_MS).now_ms())
    for command in ("check", "status"):
        said = await home.call(command)
        assert warning in said.out, said
