"""Opens the state file and repairs it after an accident, with the help of the essentials file beside it.

These accidents are handled:

- The process was killed while it wrote: SQLite recovers when `opener` opens the file.
- The process was killed while it replaced the file: `exchange` finishes the replacement or discards the new file.
- The file is damaged (`detect`): `salvage` copies its readable parts into a new file, which replaces it.
- The file is gone, empty, too old, or has lost its log: `compare` adds what the essentials show to be missing.

`snapshot` says what the essentials file contains, `essentials` reads and writes it. The entry point is
`opener.open_store`. These modules import from `notifier.store.file`; there, only `backup` imports from here.
"""
