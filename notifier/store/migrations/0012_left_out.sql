-- Store which records cannot be read, and why. Each counts as long as it is unreadable in the list.

CREATE TABLE left_out (
    source TEXT NOT NULL,
    key TEXT NOT NULL,          -- of the record; if the key itself cannot be read, `?` and an identifier
    field TEXT,                 -- the API's name of the field that cannot be read; NULL: not a single one
    problem TEXT NOT NULL,
    sweep INTEGER NOT NULL,     -- the newest sweep when it was last seen
    known INTEGER NOT NULL,     -- whether it counts as one of the known records
    PRIMARY KEY (source, key)
) WITHOUT ROWID;

-- How many of the unreadable records count as known ones. One unreadable record as an example.
ALTER TABLE sources ADD COLUMN unreadable_known INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN unreadable_key TEXT;
ALTER TABLE sources ADD COLUMN unreadable_field TEXT;
ALTER TABLE sources ADD COLUMN unreadable_problem TEXT;
UPDATE sources SET unreadable = 0;
