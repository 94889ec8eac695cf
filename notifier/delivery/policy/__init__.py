"""Decides what to send next, and what follows from an answer. All functions are pure; the time is an argument.

`decisions` combines the other modules. `circuit_breaker` decides whether requests may be sent at all, `rate` how fast,
`batching` how many events share a request, `probe` which event is tried while nothing gets through, and `retry` when an
event is retried or given up.
"""
