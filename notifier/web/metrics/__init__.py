"""The metrics for Prometheus at `/metrics`."""
