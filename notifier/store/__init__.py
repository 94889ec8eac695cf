"""The store of known records, events and deliveries still to be made: an SQLite file or a PostgreSQL schema."""
