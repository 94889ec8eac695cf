"""Deletes old sweeps and other data that a store no longer needs; `tables.retention` deletes old events."""

from typing import Final

from notifier.store.database import Database
from notifier.store.tables import announced_events

SWEEPS_KEPT: Final = 30
"""Number of finished sweeps kept for each source. The program uses only the newest; the older ones are for people."""

REBUILDS_KEPT: Final = 20

ANNOUNCED_IDS_KEPT_MS: Final = 30 * 86_400_000
"""Milliseconds for which a rebuilt file keeps ids of announced events that were lost: enough for many sweeps."""


def prune(db: Database, now_ms: int) -> None:
    """Delete old sweeps, the pages of finished sweeps, old rows of `rebuilds`, and old event ids in `told_before`."""
    db.execute(
        "DELETE FROM sweeps WHERE finished_at IS NOT NULL AND (SELECT count(*) FROM sweeps AS later"
        " WHERE later.source = sweeps.source AND later.id > sweeps.id) >= ?",
        [SWEEPS_KEPT],
    )
    db.execute("DELETE FROM sweep_pages WHERE sweep NOT IN (SELECT id FROM sweeps WHERE finished_at IS NULL)")
    announced_events.delete_old(db, now_ms - ANNOUNCED_IDS_KEPT_MS)
    db.execute(
        "DELETE FROM rebuilds WHERE at NOT IN (SELECT at FROM rebuilds ORDER BY at DESC LIMIT ?)", [REBUILDS_KEPT]
    )
