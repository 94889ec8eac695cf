"""The command line: reads what is asked for, lets the rooms below do it, prints what came of it."""

from notifier.cli.program import main

__all__ = ["main"]
