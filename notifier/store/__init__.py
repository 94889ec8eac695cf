"""The state file, an SQLite file with the known records, the events, and the deliveries that are still to be made."""
