"""A store in a schema of a PostgreSQL database; a lock lets only one process at a time use it.

These modules are imported only if `[store] url` is set; they need the extra `postgres`.
"""
