"""Records that cannot be read: each is named in the log once, as long as they are not too many."""

import logging
from collections.abc import Iterable

from notifier.kpa.records import BadRecord

_log = logging.getLogger(__name__)

_MOST_REPORTS = 100
"""Records that are named in the log; should the API change, all of them may be unreadable."""


class UnreadableRecords:
    """The records of one source that could not be read so far."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._reported: set[tuple[str | None, str]] = set()

    def report(self, records: Iterable[BadRecord]) -> None:
        """Log those that are new."""
        for bad in records:
            if (bad.key, bad.problem) in self._reported or len(self._reported) > _MOST_REPORTS:
                continue
            self._reported.add((bad.key, bad.problem))
            if len(self._reported) > _MOST_REPORTS:
                _log.warning("more records cannot be read; they are not named", extra={"source": self._source})
                continue
            _log.warning(
                "a record cannot be read and is left out",
                extra={"source": self._source, "record": bad.key, "detail": bad.problem},
            )
