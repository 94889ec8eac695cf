"""Runs one simulated world from start to end: the account, the API, the system under test, and the oracle."""

import asyncio
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from notifier.sandbox.records import Version
from tests.simulation.account import Account, View
from tests.simulation.exchange import SimulatedExchange
from tests.simulation.faulty_api import FaultyApi
from tests.simulation.findings import Violation
from tests.simulation.loop import SimulatedClock, SimulatedLoop, in_creation_order
from tests.simulation.oracle import Oracle
from tests.simulation.people import Action, perform
from tests.simulation.plans import Plan, make_plan
from tests.simulation.system_under_test import InMemoryStateFile, SystemUnderTest, system_class

_LATE_SECONDS: Final = 15 * 60.0
_RELEASE_SECONDS: Final = 15 * 60.0
"""How long after the last fault the operator first releases held changes, and how often after that."""

_DOWN_SECONDS: Final = 2.0
"""The time between the end of a process and the start of the next process."""

_HELD: Final[Mapping[str, str]] = {
    "removals_held": "removals",
    "arrivals_held": "arrivals",
    "changes_held": "changes",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a world. `plan` contains everything that happened, so that running it again repeats the world."""

    plan: Plan
    violations: tuple[Violation, ...]
    events: Counter[str]
    requests: int
    seconds: float
    story: tuple[tuple[float, str], ...]

    @property
    def kinds(self) -> set[str]:
        """The kinds of violations that were found."""
        return {violation.kind for violation in self.violations}

    def first(self, kind: str) -> Violation | None:
        """Return the first violation of a kind."""
        return next((violation for violation in self.violations if violation.kind == kind), None)


class World:
    """Runs one plan. With `stop_at`, the run ends at the first violation of that kind."""

    def __init__(self, plan: Plan, folder: Path, *, with_story: bool, stop_at: str | None) -> None:
        self._plan = plan
        self._with_story = with_story
        self._stop_at = stop_at
        delays = random.Random(f"delay {plan.seed}")
        longest = plan.profile.store_delay
        self._loop = SimulatedLoop((lambda: delays.random() * longest) if longest else (lambda: 0.0))
        self._clock = SimulatedClock(self._loop)
        self._clock.wall_error_seconds = plan.profile.wall_error
        self._chance = random.Random(f"chance {plan.seed}")
        self._account = Account(lambda: self._loop.seconds)
        self._account.fill([entry.record() for entry in plan.entries])
        self._api = FaultyApi(plan, self._account)
        self._exchange = SimulatedExchange(
            plan, self._account, self._api, self._loop, self._perform_action, self._log_request
        )
        self._state_file = InMemoryStateFile(folder)
        self._violations: list[Violation] = []
        self._story: list[tuple[float, str]] = []
        self._actions: list[Action] = []
        self._loaded: dict[str, Any] = {}
        self._restarts: list[float] = []
        self._oracle = Oracle(plan, self._account, self._state_file, self._report)
        self._system = self._new_system()
        self._system_task: asyncio.Task[None] | None = None
        self._surviving_tasks: set[asyncio.Task[Any]] = set()

    def run(self) -> Outcome:
        """Run the plan to its end."""
        main = self._loop.create_task(self._main())
        if self._plan.until is not None:
            self._loop.call_at_second(self._plan.until, main.cancel)
        try:
            self._loop.run_until_complete(self._run_to_end(main))
        finally:
            self._loop.close()
            self._state_file.close()
        self._violations += [Violation("crash", self._loop.seconds, repr(fault)) for fault in self._loop.faults]
        concrete = replace(self._plan, actions=tuple(self._actions), fates=dict(self._api.fates), kind="", until=None)
        return Outcome(
            concrete,
            tuple(self._violations),
            self._oracle.events,
            len(self._exchange.sent),
            self._loop.seconds,
            tuple(self._story),
        )

    async def _run_to_end(self, main: asyncio.Task[None]) -> None:
        self._surviving_tasks = {main}
        current = asyncio.current_task()
        if current is not None:
            self._surviving_tasks.add(current)
        with suppress(asyncio.CancelledError):
            await main
        await self._system.kill(self._surviving_tasks)

    async def _main(self) -> None:
        plan = self._plan
        for action in plan.actions:
            self._loop.call_at_second(action.at, self._perform_action, action)
        for at, seconds in plan.jumps:
            self._loop.call_at_second(at, self._set_wall_clock, seconds)
        self._start_system()
        self._surviving_tasks.add(self._loop.create_task(self._check_each_minute()))
        moments = [(at, self._kill()) for at in plan.kills]
        moments += [(at, self._load(plan.profile.views[number])) for at, number in plan.views]
        for at, happening in sorted(moments, key=lambda moment: moment[0]):
            await self._sleep_until(at)
            await happening
        rest_at = plan.profile.active
        await self._sleep_until(rest_at)
        self._log("EVERYTHING IS AT REST")
        bounds = self._oracle.bounds
        self._surviving_tasks.add(self._loop.create_task(self._release_held_changes(rest_at)))
        await self._sleep_until(rest_at + max(_LATE_SECONDS, bounds.difference))
        self._oracle.check_settled(self._system.conditions())
        self._system.poll_less_often()
        await self._sleep_until(rest_at + max(_RELEASE_SECONDS, bounds.difference) + bounds.end)
        self._oracle.check_end(self._system)
        self._oracle.check_cost(self._exchange.sent, rest_at, self._restarts)

    async def _sleep_until(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds - self._loop.seconds))

    async def _check_each_minute(self) -> None:
        while True:
            await asyncio.sleep(60)
            self._oracle.contact.first_read_at = self._exchange.first_read_at
            self._oracle.check_minute(self._system, self._exchange.sent)

    def _new_system(self) -> SystemUnderTest:
        return system_class(self._plan.profile)(
            self._plan.profile,
            self._loaded,
            self._state_file,
            self._exchange,
            self._clock,
            self._chance.random,
            self._check_new_events,
        )

    def _start_system(self) -> None:
        self._system_task = self._loop.create_task(self._system.run())
        self._system_task.add_done_callback(self._report_crash)

    def _report_crash(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._report(Violation("crash", self._loop.seconds, repr(fault)))

    async def _kill(self) -> None:
        self._log("KILLED, and started again")
        await self._system.kill(self._surviving_tasks)
        await asyncio.sleep(_DOWN_SECONDS)
        self._restarts.append(self._loop.seconds)
        self._system = self._new_system()
        self._start_system()

    async def _load(self, settings: Mapping[str, Any]) -> None:
        self._log(f"RELOADED with {dict(settings)}")
        self._loaded.update(settings)
        profile = self._plan.profile
        await self._system.reload(settings)
        self._restarts.append(self._loop.seconds)
        loaded = self._loaded
        view = View(loaded.get("user_id"), loaded.get("training_id"), loaded.get("has_attachments"))
        self._oracle.note_reload(view, Version(loaded.get("api") or profile.api))

    async def _release_held_changes(self, rest_at: float) -> None:
        """Release held changes, as an operator does after finding them in the account."""
        await self._sleep_until(rest_at + _RELEASE_SECONDS)
        while True:
            for name, what in _HELD.items():
                if name in self._system.conditions() and await self._system.release(what):
                    self._log(f"RELEASED {what}")
            await asyncio.sleep(_RELEASE_SECONDS)

    def _set_wall_clock(self, seconds: float) -> None:
        self._clock.wall_error_seconds = seconds
        self._log(f"OUR WALL CLOCK is {seconds:+.0f} s wrong from now on")

    def _perform_action(self, action: Action) -> None:
        done = perform(self._account, self._plan.population, action)
        if done is None or done.record is None:
            return
        self._actions.append(done)
        history = self._account.histories[done.record]
        self._oracle.note_change(done.record)
        if self._with_story:
            moment = history[-1]
            day = (
                "" if moment.state is None else f", of {moment.state.completed_on}, entered {moment.state.recorded_at}"
            )
            self._log(f"PERSON {done.kind} {done.record} (place {moment.place} of {len(self._account.records)}{day})")

    def _check_new_events(self) -> None:
        self._oracle.contact.first_read_at = self._exchange.first_read_at
        before = self._oracle.last_sequence
        self._oracle.check_new_events()
        if self._with_story:
            for told in self._state_file.events_after(before):
                previous = f", was {dict(told.previous)}" if told.previous else ""
                self._log(f"TOLD {told.kind} {told.key} by {told.net}{previous}")

    def _report(self, violation: Violation) -> None:
        self._violations.append(violation)
        self._log(f"!! {violation.kind}: {violation.text}")
        if violation.kind in (self._stop_at, "crash"):
            self._loop.call_soon(self._stop)

    def _stop(self) -> None:
        for task in in_creation_order(self._surviving_tasks):
            task.cancel()

    def _log(self, text: str) -> None:
        if self._with_story:
            self._story.append((self._loop.seconds, text))

    def _log_request(self, text: str) -> None:
        self._log(text)


def run_plan(plan: Plan, *, with_story: bool = False, stop_at: str | None = None) -> Outcome:
    """Run a plan and return its outcome. No task, file or connection remains afterwards."""
    disabled, logging.root.manager.disable = logging.root.manager.disable, logging.CRITICAL
    try:
        with tempfile.TemporaryDirectory() as folder:
            return World(plan, Path(folder), with_story=with_story, stop_at=stop_at).run()
    finally:
        logging.root.manager.disable = disabled


def run_seed(name: str, seed: int, *, with_story: bool = False) -> Outcome:
    """Run the world of a profile and a seed."""
    return run_plan(make_plan(name, seed), with_story=with_story)
