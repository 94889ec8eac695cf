"""Reads whole tables of a store, from SQLite or PostgreSQL."""

import re
from pathlib import Path
from typing import Any

from notifier.store.database import Database

_STEPS = Path(__file__).parents[2] / "notifier/store/postgres/migrations"
STORE_TABLES = sorted(
    {name for file in _STEPS.glob("*.sql") for name in re.findall(r"CREATE TABLE (\w+)", file.read_text())}
    - {"holders"}
)
"""The tables that a store has in both database engines."""


def table_rows(db: Database, table: str, *, as_read: bool = False) -> list[dict[str, Any]]:
    """Return all rows of a table by column name, sorted; with `as_read`, in the order in which a view returns them."""
    cursor: Any = db.execute(f"SELECT * FROM {table}")
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return rows if as_read else sorted(rows, key=lambda row: [(value is not None, value) for value in row.values()])
