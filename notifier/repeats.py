"""What is logged again and again: the first lines of it, then one an hour, so that no error fills a disk in years."""

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MOST_AT_ONCE: Final = 20
"""Lines of one kind that may come one after the other."""

ONE_EVERY: Final = 3600.0
"""Seconds after which one more of them may come."""

LEFT_OUT: Final = "left_out"
"""The fact that tells how many lines of this kind were left out before this one."""

_ABOUT_ONE: Final = ("event", "record")
"""Facts that make a line the only one of its kind: each event, and each record, is told of."""

_TELLING_APART: Final = ("source", "destination", "reason", "list", "job", "condition", "subject", "key")
_MOST_KINDS: Final = 1000


@dataclass(slots=True)
class _Kind:
    """What is known of one kind of line: how many may still come, since when, and how many were left out."""

    allowed: float
    at: float
    left_out: int = 0


class Repeats(logging.Filter):
    """Leaves lines out that say what was said often enough; the next one that comes says how many.

    A kind is a place in the program together with the source, destination and reason that it speaks of. Lines about
    one event or record always come, and so does what is logged for debugging.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: OrderedDict[tuple[object, ...], _Kind] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line may come."""
        facts = vars(record)
        if record.levelno < logging.INFO or any(facts.get(name) for name in _ABOUT_ONE):
            return True
        kind = self._kind(record)
        # A wall clock that was set back makes nobody wait longer.
        passed = max(0.0, record.created - kind.at)
        kind.allowed, kind.at = min(MOST_AT_ONCE, kind.allowed + passed / ONE_EVERY), record.created
        if kind.allowed < 1:
            kind.left_out += 1
            return False
        kind.allowed -= 1
        if kind.left_out:
            setattr(record, LEFT_OUT, kind.left_out)
            kind.left_out = 0
        return True

    def _kind(self, record: logging.LogRecord) -> _Kind:
        facts = vars(record)
        key = (record.pathname, record.lineno, record.levelno, *(facts.get(name) for name in _TELLING_APART))
        kind = self._kinds.setdefault(key, _Kind(MOST_AT_ONCE, record.created))
        self._kinds.move_to_end(key)
        if len(self._kinds) > _MOST_KINDS:
            self._kinds.popitem(last=False)
        return kind
