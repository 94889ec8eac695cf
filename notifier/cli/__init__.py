"""The command line: it parses the arguments, calls the other packages, and prints the results."""

import sys

from notifier import process


def main() -> int:
    """Run the command in this process's arguments, and return its exit code."""
    process.prepare(sys.argv[1:])
    process.hold_collections()
    try:
        # Imported after `prepare`, because the imports take a good part of a second, during which signals can arrive.
        from notifier.cli.app import main as run  # noqa: PLC0415

        return run()
    finally:
        process.allow_collections()


__all__ = ["main"]
