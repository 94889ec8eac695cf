"""The running daemon: the connection of its parts, the schedule, signals and the status."""
