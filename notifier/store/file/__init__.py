"""A store in an SQLite file: opening, locking, copying and maintaining it."""
