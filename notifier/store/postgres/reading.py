"""Opens a schema for commands that only read; another process may hold the store."""

from contextlib import ExitStack

from notifier.store.errors import StoreError, StoreReason
from notifier.store.postgres import schema
from notifier.store.postgres.connection import connect_read_only
from notifier.store.postgres.database import PostgresReadingDatabase
from notifier.store.postgres.errors import converted_errors
from notifier.store.postgres.location import Location


def open_schema_read_only(location: Location) -> PostgresReadingDatabase:
    """Open a read-only connection to a schema. Blocks.

    Raises StoreError if the server cannot be used, or the schema does not exist or is of another version.
    """
    with converted_errors(location), ExitStack() as on_failure:
        db = connect_read_only(location)
        on_failure.callback(db.close)
        if not schema.exists(db.connection, location):
            raise StoreError(StoreReason.NOT_A_STATE_FILE, f"{location}: it is empty: start `notifier run`")
        applied = schema.applied_steps(db.connection)
        schema.refuse_newer(applied, location)
        schema.refuse_older(applied, location)
        on_failure.pop_all()
        return db
