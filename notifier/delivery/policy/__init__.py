"""Decides what to send next and what to do after an answer. All functions are pure; the time is an argument.

`decisions` combines the parts: `circuit_breaker` (does anything get through?), `rate` (how fast?), `batching` (how many
in one request?), `probe` (which event to try while nothing gets through?), `retry` (when is one event retried, or given
up?).
"""
