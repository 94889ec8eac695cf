"""Opens the state file and repairs it after an accident, with the help of the essentials file beside it.

These accidents are handled:

- The process was killed while it wrote: SQLite recovers when `opener` opens the file for writing.
- The process was killed while it replaced the file (a first start, a rebuild, a restore): `exchange` finishes the
  replacement or discards the new file.
- The file is damaged (`detect`): its readable parts are copied (`salvage`) into a new file, which replaces it.
- The file is gone, empty, too old, or has lost its log: the file itself does not show this, but the essentials file
  does (`snapshot` says what is in it, `essentials` reads and writes it). At every opening, `compare` adds what is
  missing.

The entry point is `opener.open_store`. These modules use `notifier.store.file`. In that package, only `backup`
uses these modules.
"""
