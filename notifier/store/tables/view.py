"""Marks the known records that a source's filters exclude. Marked records count neither as missing nor as existing."""

from notifier.store.database import Database


def mark_out_of_view(
    db: Database, source: str, *, training_id: str | None, user_id: str | None, has_attachments: bool | None
) -> int:
    """Mark each present record as inside or outside these filters; return how many are inside."""
    inside = ["1 = 1"]
    values: list[str] = []
    if training_id is not None:
        inside.append("training_id = ?")
        values.append(training_id)
    if user_id is not None:
        inside.append("user_id = ?")
        values.append(user_id)
    if has_attachments is not None:
        inside.append(f"coalesce(json_array_length(record, '$.files'), 0) {'>' if has_attachments else '='} 0")
    db.execute(
        f"UPDATE records SET out_of_view = CASE WHEN {' AND '.join(inside)} THEN 0 ELSE 1 END"
        " WHERE source = ? AND removed_at IS NULL",
        [*values, source],
    )
    (existing,) = db.execute(
        "SELECT count(*) FROM records WHERE source = ? AND removed_at IS NULL AND out_of_view = 0", [source]
    ).fetchone()
    return int(existing)


def delete_unconfirmed(db: Database, source: str) -> None:
    """Delete a source's second looks and held-back changes, because it now requests another list."""
    for table in ("second_looks", "held_changes"):
        db.execute(f"DELETE FROM {table} WHERE source = ?", [source])
