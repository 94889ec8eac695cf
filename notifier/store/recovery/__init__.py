"""Opens the state file and repairs it after an accident, with the help of the essentials file beside it.

- Killed while writing: SQLite recovers when `opener` opens the file.
- Killed while replacing the file: `exchange` finishes the replacement or discards the new file.
- Damaged (found by `detect`): `salvage` copies the readable parts into a new file.
- Gone, empty, too old, or without its log: `compare` adds what the essentials show to be missing.

`snapshot` says what the essentials contain, `essentials` reads and writes them. The entry point is `opener.open_store`.
These modules import from `notifier.store.file`. Of the modules there, only `backup` imports from this package.
"""
