-- Store the sentences about a condition in a form from which messages in other languages can be made.

-- JSON; empty: not known.
ALTER TABLE conditions ADD COLUMN texts TEXT NOT NULL DEFAULT '';
