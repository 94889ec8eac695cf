"""The network between the notifier's client and the simulated API: it delays and loses requests and answers."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

from notifier.http.exchange import Answer, IncomingAnswer
from notifier.http.transport_errors import TransportError, TransportReason
from tests.simulation.account import Account
from tests.simulation.faulty_api import FaultyApi
from tests.simulation.loop import SimulatedLoop
from tests.simulation.people import Action
from tests.simulation.plans import Fate, Plan


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request that was sent: its time, its page and page size, and whether it was a precise question."""

    at: float
    page: int
    limit: int
    is_precise: bool


class SimulatedExchange:
    """Sends requests to the simulated API. The number of a request decides its fate."""

    def __init__(
        self,
        plan: Plan,
        account: Account,
        api: FaultyApi,
        loop: SimulatedLoop,
        perform: Callable[[Action], None],
        log: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._account = account
        self._api = api
        self._loop = loop
        self._perform = perform
        self._log = log
        self.timeout_seconds = 30.0
        self.sent: list[SentRequest] = []
        self.first_read_at: float | None = None
        """The time (seconds) at which the API read the first request that it answered with a page."""

    async def __call__(self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int) -> Answer:
        number, requested_at = len(self.sent) + 1, self._loop.seconds
        page, limit = parameters.get("page", 1), parameters.get("limit", 0)
        precise = "user_id" in parameters and "training_id" in parameters
        self.sent.append(SentRequest(requested_at, page, limit, precise))
        name = f"  #{number} page {page} of {limit}{' precise' if precise else ''}"
        fate = self._api.fate(number, requested_at)
        if fate.kind == "timeout" or fate.up + fate.down >= self.timeout_seconds:
            await asyncio.sleep(self.timeout_seconds)
            self._log(f"{name}, asked at {requested_at:.2f}: timed out")
            raise TransportError(TransportReason.TIMEOUT, "no whole answer in time")
        await asyncio.sleep(fate.up)
        if fate.kind == "lost":
            self._log(f"{name}, asked at {requested_at:.2f}: lost")
            raise TransportError(TransportReason.CONNECTION_LOST, "the connection was closed")
        read_at = self._loop.seconds
        reply = self._api.reply(method, parameters, fate, number, read_at)
        if self.first_read_at is None and reply.body.startswith(b'{"ok":true'):
            self.first_read_at = read_at
        share = self._plan.profile.ambush_scans if limit == self._plan.profile.large_page else self._plan.profile.ambush
        if share:
            self._schedule_change_during_answer(number, share, fate, [record.id for record in reply.records])
        await asyncio.sleep(fate.down)
        self._log(
            f"{name}, asked at {requested_at:.2f}, read at {read_at:.2f}" + (f": {reply.note}" if reply.note else "")
        )
        if fate.kind == "cut":
            raise TransportError(TransportReason.CONNECTION_LOST, "the answer was cut off")
        if len(reply.body) > limit_bytes:
            raise TransportError(TransportReason.ANSWER_TOO_LARGE, f"the answer is longer than {limit_bytes} bytes")
        headers = {"Content-Type": "application/json", "Date": formatdate(reply.date_ms // 1000, usegmt=True)}
        return Answer(200, CIMultiDictProxy(CIMultiDict(headers)), reply.body)

    def stream(
        self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int
    ) -> AbstractAsyncContextManager[IncomingAnswer]:
        raise NotImplementedError("names are not simulated: the source's `names` is false")

    def _schedule_change_during_answer(self, number: int, share: float, fate: Fate, shown: list[int]) -> None:
        """With the probability `share`, schedule a change of a record while the answer that shows it is being sent."""
        profile = self._plan.profile
        # A plan with fates is a replay, whose actions already contain these changes.
        if self._plan.fates is not None or not shown or self._loop.seconds >= profile.active:
            return
        chance = random.Random(self._plan.seed * 7_000_003 + number)
        if chance.random() >= share:
            return
        kind = chance.choices([*profile.people], [*profile.people.values()])[0]
        record = chance.choice(shown)
        at = self._loop.seconds + chance.random() * max(fate.down, 0.2)
        names_record = kind not in ("enter", "backdate", "offline", "slow_clock", "restore")
        action = Action(at, kind, chance.random(), chance.random(), record if names_record else None)
        self._loop.call_at_second(at, self._perform, action)
