"""Opens the state file and repairs it after an accident, with the help of the essentials file beside it.

These accidents are handled:

- The process was killed while it wrote: SQLite recovers when `opener` opens the file for writing.
- The process was killed while it replaced the file (a first start, a rebuild, a restore): `exchange` finishes the
  replacement or discards the new file.
- The file is damaged (`detect`): its readable parts are copied (`salvage`) into a new file, which replaces it.
- The file is gone, empty, too old, or has lost its log: only the essentials file shows what is missing, and `compare`
  adds it at every opening. `snapshot` says what the essentials file contains, `essentials` reads and writes it.

The entry point is `opener.open_store`. These modules import from `notifier.store.file`. Of that
package's modules, only `backup` imports from here.
"""
