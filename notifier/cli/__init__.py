"""The command line interface: parses arguments, calls the other packages, and prints results."""

import sys

from notifier import process


def main() -> int:
    """Run the command that this process's arguments name, and return the exit code."""
    process.prepare(sys.argv[1:])
    process.pause_garbage_collection()
    try:
        # Imported after `prepare`, because the imports take a good part of a second, during which signals can arrive.
        from notifier.cli.app import main as run  # noqa: PLC0415

        return run()
    finally:
        process.resume_garbage_collection()


__all__ = ["main"]
