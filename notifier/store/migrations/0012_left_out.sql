-- Keep in mind which records cannot be read, and why: each is counted as long as it stands in the list like that.

CREATE TABLE left_out (
    source TEXT NOT NULL,
    key TEXT NOT NULL,          -- of the record; where it is the key that cannot be read, `?` and what tells it apart
    field TEXT,                 -- the API's name of the field that cannot be read; NULL: it is no single one
    problem TEXT NOT NULL,
    sweep INTEGER NOT NULL,     -- the newest sweep when it was last seen
    known INTEGER NOT NULL,     -- whether it is, or may be, one of the known records
    PRIMARY KEY (source, key)
) WITHOUT ROWID;

-- How many of those that cannot be read are, or may be, known records, which the API counts once. One of all as an example.
ALTER TABLE sources ADD COLUMN unreadable_known INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN unreadable_key TEXT;
ALTER TABLE sources ADD COLUMN unreadable_field TEXT;
ALTER TABLE sources ADD COLUMN unreadable_problem TEXT;
UPDATE sources SET unreadable = 0;
