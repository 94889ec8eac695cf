-- Add what a rebuilt file stores about the lost one, and an index to find old events.

-- Old events are looked for every hour. Without this index, every event would be read each time.
CREATE INDEX events_by_time ON events (detected_at);

-- Set if a rebuilt file has lost records: those entered before this moment (the server's clock) had been read.
ALTER TABLE sources ADD COLUMN told_until INTEGER;

CREATE TABLE rebuilds (
    at INTEGER PRIMARY KEY,     -- when this file was made from the readable parts of a damaged one
    problem TEXT NOT NULL,      -- what was wrong with the damaged file
    set_aside TEXT,             -- where the damaged file is now; NULL: it was gone
    lost TEXT NOT NULL          -- what could not be read of it
);

CREATE TABLE told_before (
    id TEXT PRIMARY KEY,        -- of an event that was announced from a damaged file, and is not in this one
    at INTEGER NOT NULL         -- when this file was rebuilt
) WITHOUT ROWID;
