"""A store in a schema of a PostgreSQL database. A lock of the writing connection lets only one process use it.

These modules are imported only if `[store] url` is set; they need the extra `postgres`.
"""
