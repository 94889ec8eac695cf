"""Reads whole tables of a store, whichever engine it is in."""

from typing import Any

from notifier.store.database import Database


def table_rows(db: Database, table: str) -> list[dict[str, Any]]:
    """Return all rows of a table, by column name, in order."""
    cursor: Any = db.execute(f"SELECT * FROM {table}")
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return sorted(rows, key=lambda row: [(value is not None, value) for value in row.values()])
