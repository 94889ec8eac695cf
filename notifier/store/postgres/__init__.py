"""A store in a schema of a PostgreSQL database: one holder, whose writing connection is its lock.

These modules are imported only if `[store] url` is set; they need the extra `postgres`.
"""
