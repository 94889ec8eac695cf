"""Finds sources that were probably renamed.

The notifier takes a renamed source for a new one. It then reads the account as if for the first time and, with
`first_run = "silent"`, reports none of the records.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from notifier.config import FirstRun, SourceSettings
from notifier.store.database import Database

_RENAMED_WITHIN_MS: Final = 7 * 86_400_000
"""An unconfigured source may have been renamed if its last poll was less than this many milliseconds ago."""


def last_polls(db: Database) -> dict[str, int]:
    """Return the time of the last successful poll (Unix ms) of every source that was ever read, by name."""
    rows = db.execute("SELECT name, last_success FROM sources WHERE met_at IS NOT NULL AND last_success IS NOT NULL")
    return dict(rows.fetchall())


def rename_sentences(sources: Mapping[str, SourceSettings], polled_ms: Mapping[str, int], now_ms: int) -> Iterator[str]:
    """Yield a sentence for each pair of a new source and a recently polled source that is no longer configured.

    Perhaps the old source was renamed to the new one. `polled_ms` is the result of `last_polls`. New sources whose
    `first_run` is not `silent` are left out.
    """
    left = [name for name in polled_ms if name not in sources and now_ms - polled_ms[name] < _RENAMED_WITHIN_MS]
    for new, settings in sources.items():
        if new not in polled_ms and settings.first_run == FirstRun.SILENT:
            for old in left:
                day = datetime.fromtimestamp(polled_ms[old] / 1000, UTC).date()
                yield (
                    f"source `{new}` is new, and `{old}` is no longer configured: if you have renamed it, set"
                    f' `id_namespace = "{old}"` and `first_run = "{day}"` in [sources.{new}] before the next start;'
                    f" otherwise completions entered since the last poll of `{old}` are not reported"
                )
