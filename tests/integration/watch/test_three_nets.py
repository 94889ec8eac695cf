"""Whatever happens to the list, the API and the daemon, in whatever order: after quiet returns nothing was missed,
nothing told twice, and the store holds what the account holds."""

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from notifier.events import without_private_content
from notifier.sandbox import Dialect, Record
from notifier.sandbox.records import Version, format_record
from tests.support.clocks import FakeClock
from tests.support.watched_source import Asked, Station, bad_gateway, cut_off, refuse

Result = TypeVar("Result")
Change = Callable[[], None]

pytestmark = pytest.mark.timeout(240)

DAY = 86_400
PAGE = 20
TODAY = 20261121

FAULTS = (refuse("server_error"), refuse("rate_limit_exceeded"), refuse("content_not_found"), bad_gateway, cut_off)

dates = st.sampled_from([TODAY, 20270301, 20251120, 20240229, 20190704, 20010101])
requests = st.integers(1, 8)
few = st.integers(1, 3)


class ThreeNets(RuleBasedStateMachine):
    """An account, its API, and the watching half of a daemon, which is stopped and started at will."""

    version = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.resources = AsyncExitStack()
        self.clock = FakeClock()
        self.history: set[str] = set()
        self.entered: dict[str, int] = {}
        self.to_come: dict[int, list[Change]] = {}
        self.to_fail: dict[int, Any] = {}

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    @initialize(records=st.sampled_from([0, 3, 90, 170]), total=st.booleans(), missing=st.booleans())
    def meet(self, records: int, total: bool, missing: bool) -> None:
        self.run(self._open(records, Dialect(total=total, missing_is_error=missing)))

    async def _open(self, records: int, dialect: Dialect) -> None:
        self.station = Station(Path(self.folder.name), self.version, self.clock, self.resources)
        self.station.large_page = PAGE
        await self.station.open(records, page_size=7, hold_removals_above=1.0, rate_limit_pause="50ms")
        self.station.account.dialect = dialect
        self.account = self.station.account
        self.history = {self.station.key(record) for record in self.account.records()}
        self.station.upstream.interfere = self._interfere
        await self.station.watcher.poll()

    async def _interfere(self, _asked: Asked) -> web.StreamResponse | None:
        self.to_come = {after - 1: changes for after, changes in self.to_come.items()}
        self.to_fail = {after - 1: fault for after, fault in self.to_fail.items()}
        for change in self.to_come.pop(0, ()):
            change()
        fault = self.to_fail.pop(0, None)
        return await fault() if fault else None

    def _enter(self, count: int, date: int) -> None:
        for record in self.station.enter(count, date_number=date):
            self.entered[self.station.key(record)] = record.id

    def _remove(self, place: int, count: int) -> None:
        standing = list(self.account.records())
        for record in [standing[(place + step * step) % len(standing)] for step in range(count)] if standing else ():
            if record in list(self.account.records()):
                self.account.remove(record.id)

    def _edit(self, place: int, fields: dict[str, Any]) -> None:
        standing = list(self.account.records())
        if standing:
            self.account.edit(standing[place % len(standing)].id, **fields)

    @rule(count=few, date=dates)
    def enter(self, count: int, date: int) -> None:
        self._enter(count, date)

    @rule(count=st.sampled_from([30, 110]), date=dates)
    def import_many(self, count: int, date: int) -> None:
        self._enter(count, date)

    @rule(place=st.integers(0, 400), count=few)
    def remove(self, place: int, count: int) -> None:
        self._remove(place, count)

    @rule(place=st.integers(0, 400), date=dates)
    def enter_anew(self, place: int, date: int) -> None:
        """Correct an entry by deleting it and entering another: the count stays as it was."""
        if len(self.account):
            self._remove(place, 1)
            self._enter(1, date)

    @rule(place=st.integers(0, 400), date=dates)
    def move_to_another_date(self, place: int, date: int) -> None:
        self._edit(place, {"date_number": date})

    @rule(place=st.integers(0, 400), expiry=dates)
    def edit(self, place: int, expiry: int) -> None:
        self._edit(place, {"expiry": expiry})

    @rule(seed=st.integers(0, 9))
    def reshuffle_ties(self, seed: int) -> None:
        self.account.reshuffle_ties(seed)

    @rule(after=requests, fault=st.sampled_from(FAULTS))
    def fail(self, after: int, fault: Any) -> None:
        self.to_fail[after] = fault

    @rule(after=requests, count=few, date=dates)
    def enter_meanwhile(self, after: int, count: int, date: int) -> None:
        self.to_come.setdefault(after, []).append(lambda: self._enter(count, date))

    @rule(after=requests, place=st.integers(0, 400), count=few)
    def remove_meanwhile(self, after: int, place: int, count: int) -> None:
        self.to_come.setdefault(after, []).append(lambda: self._remove(place, count))

    @rule(after=requests, seed=st.integers(0, 9))
    def reshuffle_meanwhile(self, after: int, seed: int) -> None:
        self.to_come.setdefault(after, []).append(lambda: self.account.reshuffle_ties(seed))

    @rule(seconds=st.sampled_from([1, 61, 3_700, DAY]))
    def poll(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.run(self._round())

    async def _round(self) -> None:
        """Do a round, and wait for all that it begins while the clock goes on, for there may be silences."""
        await self.station.watcher.poll()
        await self.station.watcher.run_followups()
        await self.station.until(self._is_quiet)

    def _is_quiet(self) -> bool:
        self.clock.advance(0.01)
        return not self.station.watcher.is_sweeping and not self.station.watcher.is_searching

    @rule(restart_after=st.integers(0, 30))
    def restart_in_the_middle(self, restart_after: int) -> None:
        self.run(self._restart_in_the_middle(restart_after))

    async def _restart_in_the_middle(self, turns: int) -> None:
        self.clock.advance(61)
        round_ = asyncio.create_task(self._round())
        for _ in range(turns):
            await asyncio.sleep(0)
        round_.cancel()
        await asyncio.wait([round_])
        await self.station.restart()

    def teardown(self) -> None:
        try:
            if hasattr(self, "station"):
                self.run(self._check())
        finally:
            self.run(self.resources.aclose())
            self.loop.close()
            self.folder.cleanup()

    async def _check(self) -> None:
        self.to_come, self.to_fail = {}, {}
        for _ in range(4):
            self.clock.advance(DAY + 1)
            await self._round()
        assert self.station.watcher.state == "ok"
        existing = {self.station.key(record): record for record in self.account.records()}
        await self._check_the_store(existing)
        # Not what was heard of: who is stopped between writing an event down and saying so says it no more.
        told = Counter(await self.station.query("SELECT subject, type FROM events"))
        known = {key for (key,) in await self.station.query("SELECT key FROM records")}
        for key in self.entered:
            created, removed = told[key, "completion.created"], told[key, "completion.removed"]
            assert (created, removed) in ({(1, 0)} if key in existing else {(0, 0), (1, 1)})
        for key in self.history:
            assert told[key, "completion.created"] == 0
            assert told[key, "completion.removed"] == (key in known and key not in existing)
        assert (await self.station.memory()).records == len(existing)

    async def _check_the_store(self, existing: dict[str, Record]) -> None:
        rows = await self.station.query("SELECT key, record FROM records WHERE removed_at IS NULL")
        stored = {key: json.loads(record) for key, record in rows}
        version = Version(self.version)
        shows = {key: format_record(record, version, self.account.dialect) for key, record in existing.items()}
        assert stored == {
            key: json.loads(without_private_content(json.dumps(record).encode())) for key, record in shows.items()
        }


class ThreeNetsOfV1(ThreeNets):
    version = "v1"


class ThreeNetsOfV2(ThreeNets):
    version = "v2"


TestV1 = ThreeNetsOfV1.TestCase
TestV2 = ThreeNetsOfV2.TestCase
TestV1.settings = TestV2.settings = settings(max_examples=15, stateful_step_count=25)
