"""Opens the configured store: a state file, or a schema in a PostgreSQL database."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from notifier.config import StoreSettings
from notifier.store.database import ReadingDatabase
from notifier.store.file.connection import open_file_read_only
from notifier.store.recovery.opener import open_store
from notifier.store.store import Store

if TYPE_CHECKING:
    from notifier.store.postgres.location import Location
    from notifier.store.postgres.store import PostgresStore


def uses_postgres(settings: StoreSettings) -> bool:
    """Return whether the store is in a PostgreSQL database."""
    return bool(settings.url.get_secret_value())


def make_store(settings: StoreSettings, now_ms: Callable[[], int]) -> Store:
    """Return the store for these settings, not yet opened."""
    return make_postgres_store(settings, now_ms) if uses_postgres(settings) else open_store(settings.path, now_ms)


def make_postgres_store(settings: StoreSettings, now_ms: Callable[[], int]) -> "PostgresStore":
    """Return the store in the configured PostgreSQL database, not yet opened."""
    # Imported here, because a state file needs no library of PostgreSQL.
    from notifier.store.postgres.store import PostgresStore  # noqa: PLC0415

    return PostgresStore(postgres_location(settings), now_ms)


def postgres_location(settings: StoreSettings) -> "Location":
    """Return the location of the configured PostgreSQL schema."""
    from notifier.store.postgres.location import Location  # noqa: PLC0415

    return Location(settings.url, settings.name)


def store_address(settings: StoreSettings) -> str:
    """Return a text without secrets that identifies the store: its path, or its servers, database and schema."""
    return postgres_location(settings).address if uses_postgres(settings) else str(settings.path)


def open_read_only(settings: StoreSettings) -> ReadingDatabase:
    """Open a read-only connection; another process may be using the store. Blocks. Raises StoreError."""
    if not uses_postgres(settings):
        return open_file_read_only(settings.path)
    from notifier.store.postgres.reading import open_schema_read_only  # noqa: PLC0415

    return open_schema_read_only(postgres_location(settings))
