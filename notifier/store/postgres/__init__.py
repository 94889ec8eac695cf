"""A store in a schema of a PostgreSQL database: one process holds it, by a lock of its writing connection.

These modules are imported only if `[store] url` is set; they need the extra `postgres`.
"""
