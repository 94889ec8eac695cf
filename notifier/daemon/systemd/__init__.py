"""Reports to systemd when the daemon is ready, what its status is, and whether all its parts make progress."""
