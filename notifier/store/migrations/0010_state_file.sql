-- Add what the file stores about its essentials, and about events that were announced from an older or damaged file.

-- The stamps of essentials that were made from this file. The file is at least as new as each of them.
CREATE TABLE essentials_stamps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stamp TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL
);

-- The record and the revision of an event announced before. The record's next revision is higher.
ALTER TABLE told_before ADD COLUMN source TEXT;
ALTER TABLE told_before ADD COLUMN key TEXT;
ALTER TABLE told_before ADD COLUMN revision INTEGER;
CREATE INDEX told_before_by_key ON told_before (source, key);

-- Events that are announced when their record is found again, and only to `destinations`.
CREATE TABLE owed (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    destinations TEXT NOT NULL, -- a JSON array
    at INTEGER NOT NULL,        -- when this file was brought up to date
    PRIMARY KEY (source, key)
) WITHOUT ROWID;

-- Whether the file was rebuilt, or was only older than its essentials. Since when changes may be missing.
ALTER TABLE rebuilds ADD COLUMN kind TEXT NOT NULL DEFAULT 'rebuilt';
ALTER TABLE rebuilds ADD COLUMN since INTEGER;
