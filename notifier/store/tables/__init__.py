"""The queries by table: each module reads and writes one table, or a few, in the store's transactions."""
