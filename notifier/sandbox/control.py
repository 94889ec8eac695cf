"""Starts and ends faults while the simulated API runs, and edits the account while an answer is being sent."""

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field

from notifier.sandbox.account import Account
from notifier.sandbox.edits import EDIT_KINDS, EditError, Edits
from notifier.sandbox.fault_kinds import FAULT_KINDS
from notifier.sandbox.faults import Fault, QuestionKind, RequestKind
from notifier.sandbox.notation import NotationError, read_number, read_seconds, take_apart
from notifier.sandbox.past import AccountPast
from notifier.sandbox.records import Record

_log = logging.getLogger(__name__)

COMPLETIONS = "completedtrainings"
"""The prefix of the names of the methods that list completions."""


class Scope(Struct, frozen=True):
    """The requests that a fault or edit applies to; by default all requests for completions, without an end.

    `method` is the prefix of the method's name (empty: all methods). With `page`, `limit` or `kind`, only requests with
    that value match. Of the matching requests, every `every`-th is selected, up to `times` requests. The scope is
    active after `after` seconds, for `lasts` seconds.
    """

    method: str = COMPLETIONS
    page: int | None = None
    limit: int | None = None
    kind: QuestionKind | None = None
    every: int = 1
    times: int | None = None
    after: float = 0.0
    lasts: float | None = None

    def fits(self, question: RequestKind) -> bool:
        """Return whether a request matches the scope. Pure."""
        return (
            question.method.startswith(self.method)
            and self.page in {None, question.page}
            and self.limit in {None, question.limit}
            and self.kind in {None, question.kind}
        )

    def is_now(self, elapsed: float) -> bool:
        """Return whether the scope is active `elapsed` seconds after its fault or edit was started. Pure."""
        return self.after <= elapsed and (self.lasts is None or elapsed < self.after + self.lasts)

    def is_over(self, elapsed: float, used: int) -> bool:
        """Return whether no further request can be selected. Pure."""
        return (self.lasts is not None and elapsed >= self.after + self.lasts) or used == self.times


class Running(Struct):
    """An active fault or a waiting edit; `met` requests have matched its scope, and `used` of them were selected."""

    id: int
    text: str
    scope: Scope
    begun: float
    met: int = 0
    used: int = 0

    def counts(self, question: RequestKind, now: float) -> bool:
        """Count the request if it matches the scope; return whether this fault or edit applies to it."""
        elapsed = now - self.begun
        if self.scope.is_over(elapsed, self.used) or not self.scope.is_now(elapsed) or not self.scope.fits(question):
            return False
        self.met += 1
        if self.met % self.scope.every:
            return False
        self.used += 1
        return True


class _Ambush(Running):
    act: Callable[[], object] = field(default=lambda: None)


class _RunningFault(Running):
    fault: Fault = field(default_factory=Fault)


class SandboxControl:
    """The active faults of a served account, and its edits that wait for a request. `clock` gives monotonic seconds."""

    def __init__(self, account: Account, clock: Callable[[], float] = time.monotonic) -> None:
        self.past = AccountPast(account, clock)
        self.edits = Edits(account, self.past)
        self._clock = clock
        self._numbers = itertools.count(1)
        self._requests = itertools.count(1)
        self._faults: dict[int, _RunningFault] = {}
        self._ambushes: dict[int, _Ambush] = {}

    def begin(self, text: str) -> Running:
        """Start a fault given in its notation, such as `stale:60s,page=1,every=2`. Raises NotationError."""
        fault, scope = read_fault(text)
        running = _RunningFault(next(self._numbers), text, scope, self._clock(), fault=fault)
        self._faults[running.id] = running
        return running

    def end(self, *running: Running) -> None:
        """End these faults and waiting edits, or all of them if none is given."""
        for id_ in [it.id for it in running] or [*self._faults, *self._ambushes]:
            self._faults.pop(id_, None)
            self._ambushes.pop(id_, None)

    def ambush(self, act: Callable[[], object], when: str) -> Running:
        """Run `act` while the answer to a request that matches `when` (such as `page=4,limit=1000`) is being sent.

        Raises NotationError.
        """
        return self._wait(act, read_scope({"times": "1", **take_apart(f"when:{when}").parameters}), when)

    def edit(self, text: str) -> list[Record] | Running:
        """Make an edit given in its notation, and return the changed records.

        If the edit names a request, it is made while that request's answer is being sent; the waiting edit is returned.
        Raises NotationError and EditError.
        """
        written = take_apart(text)
        kind = EDIT_KINDS.get(written.name)
        if kind is None:
            raise NotationError(f"there is no edit `{written.name}`; there are {', '.join(EDIT_KINDS)}")
        written.only([*kind.parameters, *_SCOPE_KEYS])
        waits = {key: value for key, value in written.parameters.items() if key in _SCOPE_KEYS}
        if not waits:
            return kind.make(self.edits, written)
        return self._wait(lambda: kind.make(self.edits, written), read_scope({"times": "1", **waits}), text)

    def running(self) -> list[Running]:
        """Return the faults and waiting edits that are not over."""
        now = self._clock()
        return [
            it
            for it in (*self._faults.values(), *self._ambushes.values())
            if not it.scope.is_over(now - it.begun, it.used)
        ]

    def number(self) -> int:
        """Return a new number for the next request."""
        return next(self._requests)

    def faults_of(self, question: RequestKind) -> tuple[Fault, ...]:
        """Return the faults that apply to a request, in the order in which they were started, and count the request."""
        now = self._clock()
        return tuple(it.fault for it in self._faults.values() if it.counts(question, now))

    def computed(self, question: RequestKind) -> None:
        """Run the edits that wait for this request, whose answer has been computed but not sent."""
        now = self._clock()
        for ambush in [*self._ambushes.values()]:
            if ambush.counts(question, now):
                try:
                    ambush.act()
                except (EditError, NotationError):
                    _log.warning("an edit failed", exc_info=True)

    def _wait(self, act: Callable[[], object], scope: Scope, text: str) -> Running:
        ambush = _Ambush(next(self._numbers), text, scope, self._clock(), act=act)
        self._ambushes[ambush.id] = ambush
        return ambush


def read_fault(text: str) -> tuple[Fault, Scope]:
    """Parse a fault and its scope, such as `stale:60s,page=1,every=2`. Raises NotationError."""
    written = take_apart(text)
    kind = FAULT_KINDS.get(written.name)
    if kind is None:
        raise NotationError(f"there is no fault `{written.name}`; there are {', '.join(FAULT_KINDS)}")
    written.only(_SCOPE_KEYS)
    return kind.read(written.value), read_scope(written.parameters)


def read_scope(parameters: Mapping[str, str]) -> Scope:
    """Parse the parameters that limit a fault to certain requests. Raises NotationError."""
    for key in parameters:
        if key not in _SCOPE_KEYS:
            raise NotationError(f"there is no `{key}`; there are {', '.join(_SCOPE_KEYS)}")
    return Scope(**dict(_SCOPE_KEYS[key](value) for key, value in parameters.items()))


def _read_method(text: str) -> tuple[str, str]:
    return "method", "" if text == "all" else text


def _read_kind(text: str) -> tuple[str, QuestionKind]:
    if text not in set(QuestionKind):
        raise NotationError(f"`of={text}` must be one of {', '.join(QuestionKind)}")
    return "kind", QuestionKind(text)


_SCOPE_KEYS: Mapping[str, Callable[[str], tuple[str, Any]]] = {
    "method": _read_method,
    "page": lambda text: ("page", read_number(text)),
    "limit": lambda text: ("limit", read_number(text)),
    "of": _read_kind,
    "every": lambda text: ("every", read_number(text)),
    "times": lambda text: ("times", read_number(text)),
    "after": lambda text: ("after", read_seconds(text)),
    "for": lambda text: ("lasts", read_seconds(text)),
}
