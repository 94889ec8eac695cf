"""What a judge finds in a world, and what has to be known of the watching to judge it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from notifier.sandbox.records import Record, Version
from tests.simulation.account import View


@dataclass(frozen=True, slots=True)
class Violation:
    """What was wrong: its kind, when (seconds from the beginning), and what was seen."""

    kind: str
    at: float
    text: str


class Findings:
    """Hands violations on, each kind of each record once."""

    def __init__(self, now: Callable[[], float], report: Callable[[Violation], None]) -> None:
        self._now = now
        self._report = report
        self._reported: set[tuple[str, str]] = set()
        self.untrue: set[str] = set()
        """The entities of which something untrue was told: nothing more is concluded of them."""

    def fail(self, kind: str, about: str, text: str) -> None:
        """Report a violation; `about` is what it must not be reported of again."""
        if (kind, about) not in self._reported:
            self._reported.add((kind, about))
            self._report(Violation(kind, self._now(), text))

    def fail_untrue(self, kind: str, entity: str, text: str) -> None:
        """Report that something untrue was told."""
        self.untrue.add(entity)
        self.fail(kind, entity, text)

    def fail_each(self, kind: str, entities: Counter[str], text: str) -> None:
        """Report what is wrong with several entities, as one violation."""
        wrong = [entity for entity in entities if entity not in self.untrue]
        if wrong:
            others = f" (and {len(wrong) - 1} others)" if len(wrong) > 1 else ""
            self.fail(kind, "", f"{wrong[0]} {text}{others}")


@dataclass(slots=True)
class WatchState:
    """How the source is looked at: since when, and at what of it.

    `first_read_at` is when the API read the first request, `scanned_at` when the first full scan was over, `view_since`
    when the view was last changed, all in seconds from the beginning. `hidden` are records that came out of view.
    """

    version: Version
    view: View = field(default_factory=View)
    view_since: float = 0.0
    first_read_at: float | None = None
    scanned_at: float | None = None
    hidden: set[int] = field(default_factory=set)

    def note_change(self, record: Record) -> None:
        """Take note of a record that somebody has changed."""
        if not self.view.includes(record):
            self.hidden.add(record.id)
