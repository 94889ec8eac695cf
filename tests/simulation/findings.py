"""The violations that the oracle finds, and what it knows about how the source is watched."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from notifier.sandbox.records import Record, Version
from tests.simulation.account import View


@dataclass(frozen=True, slots=True)
class Violation:
    """A violation of a property: its kind, its time (seconds since the start), and a description."""

    kind: str
    at: float
    text: str


class Findings:
    """Reports violations, each kind only once for each record."""

    def __init__(self, now: Callable[[], float], report: Callable[[Violation], None]) -> None:
        self._now = now
        self._report = report
        self._reported: set[tuple[str, str]] = set()
        self.untrue: set[str] = set()
        """The entities about which an event was untrue. They are not checked any further."""

    def fail(self, kind: str, about: str, text: str) -> None:
        """Report a violation, unless this kind was already reported for `about`."""
        if (kind, about) not in self._reported:
            self._reported.add((kind, about))
            self._report(Violation(kind, self._now(), text))

    def fail_untrue(self, kind: str, entity: str, text: str) -> None:
        """Report that an event about an entity was untrue."""
        self.untrue.add(entity)
        self.fail(kind, entity, text)

    def fail_each(self, kind: str, entities: Counter[str], text: str) -> None:
        """Report one violation for several entities."""
        wrong = [entity for entity in entities if entity not in self.untrue]
        if wrong:
            others = f" (and {len(wrong) - 1} others)" if len(wrong) > 1 else ""
            self.fail(kind, "", f"{wrong[0]} {text}{others}")


@dataclass(slots=True)
class WatchState:
    """How the source is watched: with which version and filters, and since when.

    `first_read_at` is when the API read the first request, `scanned_at` when the first full scan had finished, and
    `view_since` when the filters last changed, all in seconds since the start. `hidden` are the ids of the records that
    were entered or changed while the filters excluded them.
    """

    version: Version
    view: View = field(default_factory=View)
    view_since: float = 0.0
    first_read_at: float | None = None
    scanned_at: float | None = None
    hidden: set[int] = field(default_factory=set)

    def note_change(self, record: Record) -> None:
        """Add a changed record to `hidden` if the filters exclude it."""
        if not self.view.includes(record):
            self.hidden.add(record.id)
