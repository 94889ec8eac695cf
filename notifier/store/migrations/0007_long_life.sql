-- Make room for what a rebuilt file remembers, and let what is old be found quickly.

-- What is old is looked for every hour: without it, every event would be read each time.
CREATE INDEX events_by_time ON events (detected_at);

-- A rebuilt file has lost records: what was entered before this moment had been read (the server's clock).
ALTER TABLE sources ADD COLUMN told_until INTEGER;

CREATE TABLE rebuilds (
    at INTEGER PRIMARY KEY,     -- when this file was made from what was left of a damaged one
    problem TEXT NOT NULL,      -- what was wrong with that one
    set_aside TEXT,             -- where it lies now; NULL when there was none any more
    lost TEXT NOT NULL          -- what could not be read of it
);

CREATE TABLE told_before (
    id TEXT PRIMARY KEY,        -- of an event that a damaged file had told, and that is not in this one
    at INTEGER NOT NULL         -- when this file was rebuilt
) WITHOUT ROWID;
