"""Reports to systemd: readiness, status, and whether the daemon makes progress."""
