"""Controls the running simulated API: starts and ends faults, and makes edits in the account.

An edit can be made at once, or between a certain request and its answer.
"""

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from notifier.sandbox.account import Account
from notifier.sandbox.change_log import ChangeLog
from notifier.sandbox.edits import EDIT_KINDS, EditError, Edits
from notifier.sandbox.fault_kinds import FAULT_KINDS
from notifier.sandbox.faults import ApiRequest, Fault, RequestPurpose
from notifier.sandbox.notation import NotationError, parse_notation, parse_number, parse_seconds
from notifier.sandbox.records import Record

_log = logging.getLogger(__name__)

COMPLETIONS = "completedtrainings"
"""The common prefix of the names of the methods that list completions."""


class Scope(Struct, frozen=True):
    """The requests that a fault or edit applies to; by default all requests for completions, for ever."""

    method: str = COMPLETIONS
    """The prefix of the method's name; empty: all methods."""
    page: int | None = None
    """The number of the requested page; None for any."""
    limit: int | None = None
    """The requested number of records on a page; None for any."""
    purpose: RequestPurpose | None = None
    """The purpose of the request; None for any."""
    every: int = 1
    """With n, every n-th matching request is selected."""
    times: int | None = None
    """The maximum number of selected requests; None for no limit."""
    after: float = 0.0
    """Seconds until the scope becomes active."""
    lasts: float | None = None
    """Seconds for which the scope is active; None for ever."""

    def matches(self, request: ApiRequest) -> bool:
        """Return whether a request matches the scope, regardless of the time."""
        return (
            request.method.startswith(self.method)
            and self.page in {None, request.page}
            and self.limit in {None, request.limit}
            and self.purpose in {None, request.purpose}
        )

    def is_active(self, elapsed: float) -> bool:
        """Return whether the scope is active `elapsed` seconds after the fault or edit was started."""
        return self.after <= elapsed and (self.lasts is None or elapsed < self.after + self.lasts)

    def is_over(self, elapsed: float, selected: int) -> bool:
        """Return whether the scope has ended: its time is over, or `selected` has reached `times`."""
        return (self.lasts is not None and elapsed >= self.after + self.lasts) or selected == self.times


class ActiveEffect(Struct):
    """An active fault or a waiting edit.

    `matched` counts the requests that matched `scope` while `scope` was active. `selected` counts the requests to which
    the fault or edit was applied.
    """

    id: int
    text: str
    scope: Scope
    started_at: float
    matched: int = 0
    selected: int = 0

    def count_request(self, request: ApiRequest, now: float) -> bool:
        """Count a request if the scope is active and matches it. Return whether this fault or edit applies to it."""
        elapsed = now - self.started_at
        if (
            self.scope.is_over(elapsed, self.selected)
            or not self.scope.is_active(elapsed)
            or not self.scope.matches(request)
        ):
            return False
        self.matched += 1
        if self.matched % self.scope.every:
            return False
        self.selected += 1
        return True


class _WaitingEdit(ActiveEffect, kw_only=True):
    action: Callable[[], object]


class _ActiveFault(ActiveEffect, kw_only=True):
    fault: Fault


class SandboxControl:
    """Holds the active faults and waiting edits of a served account. `clock` returns monotonic seconds."""

    def __init__(self, account: Account, clock: Callable[[], float] = time.monotonic) -> None:
        self.change_log = ChangeLog(account, clock)
        self.edits = Edits(account, self.change_log)
        self._clock = clock
        self._ids = itertools.count(1)
        self._request_numbers = itertools.count(1)
        self._faults: dict[int, _ActiveFault] = {}
        self._waiting_edits: dict[int, _WaitingEdit] = {}

    def begin(self, text: str) -> ActiveEffect:
        """Start the fault written as `text`, such as `stale:60s,page=1,every=2`. Raises NotationError."""
        fault, scope = parse_fault(text)
        running = _ActiveFault(next(self._ids), text, scope, self._clock(), fault=fault)
        self._faults[running.id] = running
        return running

    def end(self, *running: ActiveEffect) -> None:
        """End the given faults and waiting edits. Without arguments, end all of them."""
        for id_ in [it.id for it in running] or [*self._faults, *self._waiting_edits]:
            self._faults.pop(id_, None)
            self._waiting_edits.pop(id_, None)

    def run_during_answer(self, action: Callable[[], object], when: str) -> ActiveEffect:
        """Run `action` once, between a request that matches `when` (such as `page=4,limit=1000`) and its answer.

        The answer is already computed when `action` runs. Raises NotationError.
        """
        return self._wait(action, parse_scope({"times": "1", **parse_notation(f"when:{when}").parameters}), when)

    def edit(self, text: str) -> list[Record] | ActiveEffect:
        """Make the edit written as `text`, and return the changed records.

        If `text` selects requests (`page=4`), return a waiting edit, which is made between such a request and its
        answer. Raises NotationError and EditError.
        """
        written = parse_notation(text)
        kind = EDIT_KINDS.get(written.name)
        if kind is None:
            raise NotationError(f"there is no edit `{written.name}`; the edits are {', '.join(EDIT_KINDS)}")
        written.allow_only([*kind.parameters, *_SCOPE_KEYS])
        waits = {key: value for key, value in written.parameters.items() if key in _SCOPE_KEYS}
        if not waits:
            return kind.make(self.edits, written)
        return self._wait(lambda: kind.make(self.edits, written), parse_scope({"times": "1", **waits}), text)

    def running(self) -> list[ActiveEffect]:
        """Return the faults and waiting edits that can still apply to a request."""
        now = self._clock()
        return [
            it
            for it in (*self._faults.values(), *self._waiting_edits.values())
            if not it.scope.is_over(now - it.started_at, it.selected)
        ]

    def next_request_number(self) -> int:
        """Return a new serial number for a request."""
        return next(self._request_numbers)

    def select_faults(self, request: ApiRequest) -> tuple[Fault, ...]:
        """Count a request, and return the faults that apply to it, in the order in which they were started."""
        now = self._clock()
        return tuple(it.fault for it in self._faults.values() if it.count_request(request, now))

    def run_waiting_edits(self, request: ApiRequest) -> None:
        """Make the edits that wait for this request. The request's answer is computed, but not yet sent."""
        now = self._clock()
        for edit in [*self._waiting_edits.values()]:
            if edit.count_request(request, now):
                try:
                    edit.action()
                except (EditError, NotationError):
                    _log.warning("an edit failed", exc_info=True)

    def _wait(self, action: Callable[[], object], scope: Scope, text: str) -> ActiveEffect:
        edit = _WaitingEdit(next(self._ids), text, scope, self._clock(), action=action)
        self._waiting_edits[edit.id] = edit
        return edit


def parse_fault(text: str) -> tuple[Fault, Scope]:
    """Parse a fault with its scope, such as `stale:60s,page=1,every=2`. Raises NotationError."""
    written = parse_notation(text)
    kind = FAULT_KINDS.get(written.name)
    if kind is None:
        raise NotationError(f"there is no fault `{written.name}`; the faults are {', '.join(FAULT_KINDS)}")
    written.allow_only(_SCOPE_KEYS)
    return kind.parse(written.value), parse_scope(written.parameters)


def parse_scope(parameters: Mapping[str, str]) -> Scope:
    """Parse the parameters that limit a fault or an edit to certain requests. Raises NotationError."""
    for key in parameters:
        if key not in _SCOPE_KEYS:
            raise NotationError(f"there is no parameter `{key}`; the parameters are {', '.join(_SCOPE_KEYS)}")
    return Scope(**dict(_SCOPE_KEYS[key](value) for key, value in parameters.items()))


def _parse_method(text: str) -> tuple[str, str]:
    return "method", "" if text == "all" else text


def _parse_purpose(text: str) -> tuple[str, RequestPurpose]:
    if text not in set(RequestPurpose):
        raise NotationError(f"`of={text}` must be one of {', '.join(RequestPurpose)}")
    return "purpose", RequestPurpose(text)


_SCOPE_KEYS: Mapping[str, Callable[[str], tuple[str, Any]]] = {
    "method": _parse_method,
    "page": lambda text: ("page", parse_number(text)),
    "limit": lambda text: ("limit", parse_number(text)),
    "of": _parse_purpose,
    "every": lambda text: ("every", parse_number(text)),
    "times": lambda text: ("times", parse_number(text)),
    "after": lambda text: ("after", parse_seconds(text)),
    "for": lambda text: ("lasts", parse_seconds(text)),
}
