"""Opens the state file and repairs it after an accident: opening, exchange of the file, comparison with the essentials.

These accidents are handled:

- The process was killed while it wrote: SQLite recovers when `opener` opens the file for writing.
- The process was killed while it replaced the file (a first start, a rebuild, a restore): `exchange` finishes the
  replacement or discards the new file.
- The file is damaged (`detect`): its readable parts are copied (`salvage`) into a new file, which replaces it.
- The file is gone, empty, too old, or has lost its log: the file itself does not show this, but the files beside it do
  (`snapshot` and `essentials`). `compare` adds what is missing, at every opening.

The entry point is `opener.open_store`. These modules use `notifier.store.file`, of which only `backup` uses them.
"""
