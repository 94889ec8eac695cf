"""The running daemon: its wiring, schedule, signals and status."""
