"""The SQLite file that remembers what is known, what happened, and what still has to be told to whom."""
