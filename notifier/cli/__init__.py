"""The command line interface: parses arguments, calls the other packages, and prints results."""

import sys

from notifier import process


def main() -> int:
    """Run the command line of this process, and return the exit code."""
    process.prepare(sys.argv[1:])
    process.pause_garbage_collection()
    try:
        # Imported after `prepare` has installed signal handlers, because signals can arrive during the slow import.
        from notifier.cli.app import main as run  # noqa: PLC0415

        return run()
    finally:
        process.resume_garbage_collection()


__all__ = ["main"]
