"""The store of known records, events and deliveries, in an SQLite file or a PostgreSQL schema."""
