-- Keep what the sentences about a condition are made of, so that messages can say them in another language.

-- JSON; empty: not known.
ALTER TABLE conditions ADD COLUMN texts TEXT COLLATE "C" NOT NULL DEFAULT '';
