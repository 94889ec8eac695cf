"""Shrinks a plan that shows a violation to a small plan that still shows it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from tests.simulation.plans import Plan, without_ordinary_fates
from tests.simulation.world import run_plan

_PARTS: Final = ("actions", "views", "kills", "jumps", "spells", "fates", "entries", "actions")
"""The parts of a plan, in the order in which they are shrunk. Actions come twice, because people read them."""

Fails = Callable[[Plan], bool]


class NothingFoundError(Exception):
    """The plan does not show the violation for which it should be shrunk."""


def shrink(plan: Plan, kind: str, seconds: float) -> Plan:
    """Return a smaller plan that shows a violation of this kind, after at most `seconds` of work.

    Raises NothingFoundError if the plan does not show the violation.
    """
    outcome = run_plan(plan, stop_at=kind)
    violation = outcome.first(kind)
    if violation is None:
        raise NothingFoundError(f"no {kind} in this plan")
    end = violation.at + 1
    actions = tuple(action for action in outcome.plan.actions if action.at <= end)
    shrunk = replace(outcome.plan, actions=actions, until=end)
    deadline = time.process_time() + seconds

    def fails(trial: Plan) -> bool:
        return time.process_time() < deadline and run_plan(trial, stop_at=kind).first(kind) is not None

    if not fails(shrunk):
        raise NothingFoundError(f"written down, the plan does not show {kind} again")
    if fails(plain := without_ordinary_fates(shrunk)):
        shrunk = plain
    for part in _PARTS:
        shrunk = _shrink_part(shrunk, part, fails)
    return replace(shrunk, kind=kind, note=violation.text)


def _shrink_part(plan: Plan, part: str, fails: Fails) -> Plan:
    """Remove the items of one part of a plan that the violation does not need: first halves, then single items."""
    items = _items(plan, part)
    if not items:
        return plan
    if fails(nothing := _with(plan, part, [])):
        return nothing
    size = max(1, len(items) // 2)
    while True:
        place, shorter = 0, False
        while place < len(items):
            trial = [*items[:place], *items[place + size :]]
            if fails(_with(plan, part, trial)):
                items, shorter = trial, True
            else:
                place += size
        if size == 1 and not shorter:
            return _with(plan, part, items)
        size = max(1, size // 2)


def _items(plan: Plan, part: str) -> Sequence[Any]:
    found = getattr(plan, part)
    return [*found.items()] if part == "fates" else found


def _with(plan: Plan, part: str, items: Sequence[Any]) -> Plan:
    value: Any = dict(items) if part == "fates" else tuple(items)
    return replace(plan, **{part: value})
