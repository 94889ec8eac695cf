"""Creates the schema of a store, and updates it: the `.sql` files of `migrations/`, in order of number.

All missing steps are applied in one transaction. The steps create the same tables and columns as those of the state
file; a test compares them.
"""

from pathlib import Path
from typing import Final

from notifier.store.errors import StoreError, StoreReason
from notifier.store.postgres.database import Connection
from notifier.store.postgres.location import Location

_STEPS: Final = Path(__file__).parent / "migrations"
_TABLE: Final = "schema_steps"


def steps() -> list[str]:
    """Return the names of all steps that this version of the program has, in order."""
    return [file.stem for file in sorted(_STEPS.glob("*.sql"))]


def exists(connection: Connection, location: Location) -> bool:
    """Return whether the schema exists and has tables of this program.

    Raises StoreError for a schema with tables of another program.
    """
    row = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE c.relname = %s) FROM pg_class c JOIN pg_namespace n"
        " ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
        [_TABLE, location.schema],
    ).fetchone()
    relations, ours = row or (0, 0)
    if relations and not ours:
        raise StoreError(
            StoreReason.NOT_A_STATE_FILE,
            f"{location}: the schema has tables of another program: set another [store] name",
        )
    return bool(ours)


def create_or_update(connection: Connection, location: Location) -> None:
    """Create the schema if it does not exist, and apply the steps that it lacks. Raises StoreError, psycopg.Error."""
    applied = applied_steps(connection) if exists(connection, location) else []
    refuse_newer(applied, location)
    with connection.transaction():
        if not applied:
            # If this user may not create schemas, an administrator may have created an empty one.
            row = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [location.schema]).fetchone()
            if row is None:
                connection.execute(f'CREATE SCHEMA "{location.schema}"', prepare=False)
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {_TABLE} (name TEXT PRIMARY KEY, applied_at TIMESTAMPTZ DEFAULT now())",
                prepare=False,
            )
        for step in steps():
            if step not in applied:
                text = (_STEPS / f"{step}.sql").read_text(encoding="utf-8")
                connection.execute(text.encode(), prepare=False)
                connection.execute(f"INSERT INTO {_TABLE} (name) VALUES (%s)", [step])


def applied_steps(connection: Connection) -> list[str]:
    """Return the names of the steps that were applied to the schema. Raises psycopg.Error."""
    return [name for (name,) in connection.execute(f"SELECT name FROM {_TABLE} ORDER BY name").fetchall()]


def refuse_newer(applied: list[str], location: Location) -> None:
    """Raise StoreError for a schema that a newer version has changed."""
    if unknown := sorted(set(applied) - set(steps())):
        raise StoreError(
            StoreReason.NEWER_VERSION,
            f"{location}: it was changed by a newer version of notifier (it knows {', '.join(unknown)}): install that"
            " version here too",
        )


def refuse_older(applied: list[str], location: Location) -> None:
    """Raise StoreError for a schema of an older version, which a read-only connection cannot bring up to date."""
    if missing := [step for step in steps() if step not in applied]:
        raise StoreError(
            StoreReason.OLDER_VERSION,
            f"{location}: it was made by an older version of notifier (it lacks {', '.join(missing)}): start `notifier"
            " run` once, which updates it",
        )
