-- Make room for what a file remembers of its essentials, and of what an older or damaged one had told.

-- The stamps of the essentials that were read out of this file: which of them it is at least as new as.
CREATE TABLE essentials_stamps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stamp TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL
);

-- Of which record an event told before is, and at which revision: the record's next one is beyond it.
ALTER TABLE told_before ADD COLUMN source TEXT;
ALTER TABLE told_before ADD COLUMN key TEXT;
ALTER TABLE told_before ADD COLUMN revision INTEGER;
CREATE INDEX told_before_by_key ON told_before (source, key);

-- Events that wait for a record to be met again: it is news, for these destinations.
CREATE TABLE owed (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    destinations TEXT NOT NULL, -- a JSON array
    at INTEGER NOT NULL,        -- when this file was brought up to date
    PRIMARY KEY (source, key)
) WITHOUT ROWID;

-- Whether the file was rebuilt, or was only behind what lies beside it; since when something may be missing.
ALTER TABLE rebuilds ADD COLUMN kind TEXT NOT NULL DEFAULT 'rebuilt';
ALTER TABLE rebuilds ADD COLUMN since INTEGER;
