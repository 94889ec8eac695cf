"""One file for each command, imported when it is used; `notifier.cli.program` has the table."""
