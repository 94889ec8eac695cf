"""The daemon process: it connects all parts, runs their jobs on schedule, handles signals and reports the status."""
