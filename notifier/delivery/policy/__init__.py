"""Decides what to send next, and what follows from an answer.

All functions are pure; the time is an argument. `decisions` combines the other modules:

- `circuit_breaker`: whether requests may be sent at all
- `rate`: how many requests a second
- `batching`: how many events share a request
- `probe`: which event is tried while nothing gets through
- `retry`: when an event is retried or given up
"""
