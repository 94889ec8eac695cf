"""The running program: wiring, schedule, signals, status."""
