"""Logs each unreadable record and field once, up to a limited number of records."""

import logging
from collections.abc import Iterable

from msgspec.structs import replace

from notifier.events import Completion, UnreadField
from notifier.kpa.versions import InvalidRecord
from notifier.store.tables.left_out import TOO_LARGE, WITHOUT_KEY, UnreadableRecord

_log = logging.getLogger(__name__)

_MAX_REPORTS = 100
"""Maximum number of records that are named in the log; after a change of the API, all may be unreadable."""


class UnreadableRecordLog:
    """Logs the unreadable records and fields of one source, and remembers those already logged."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._reported: set[tuple[str | None, str]] = set()
        self._fields: set[UnreadField] = set()

    def report(self, records: Iterable[InvalidRecord]) -> None:
        """Log the records that were not logged before."""
        for bad in records:
            if (bad.key, bad.problem) in self._reported or len(self._reported) > _MAX_REPORTS:
                continue
            self._reported.add((bad.key, bad.problem))
            if len(self._reported) > _MAX_REPORTS:
                _log.warning(
                    "more unreadable records; further ones are not logged one by one", extra={"source": self._source}
                )
                continue
            _log.warning(
                "a record of the API cannot be read and is skipped",
                extra={"source": self._source, "record": bad.key, "detail": bad.problem},
            )

    def report_fields(self, completions: Iterable[Completion]) -> None:
        """Log the fields that cannot be read, each with the first affected record."""
        for completion in completions:
            if not completion.unread:
                continue
            for unread in completion.unread:
                named = replace(unread, problem=unread.problem.partition(", but is ")[0])
                if named in self._fields:
                    continue
                self._fields.add(named)
                _log.warning(
                    "a field cannot be read and is left empty; the event includes the raw record",
                    extra={"source": self._source, "record": completion.key, "detail": unread.problem},
                )


def to_unreadable_records(bad: Iterable[InvalidRecord]) -> list[UnreadableRecord]:
    """Return the unreadable records of an answer as the store counts them; repeated records are left out."""
    return [
        UnreadableRecord(one.key or _substitute_key(one), one.field_name, one.problem)
        for one in bad
        if not one.is_repeated
    ]


def _substitute_key(bad: InvalidRecord) -> str:
    """Return what identifies an unreadable record without a key."""
    return f"{TOO_LARGE}-{bad.mark}" if bad.is_too_large else f"{WITHOUT_KEY}{bad.mark & _UNSIGNED:016x}"


_UNSIGNED = 2**64 - 1
