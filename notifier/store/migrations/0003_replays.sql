-- Add replays, which continue after a restart.

CREATE TABLE replays (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped')),
    begun_at INTEGER NOT NULL,
    ended_at INTEGER,
    since INTEGER NOT NULL,     -- events detected from this time on
    until INTEGER NOT NULL,     -- and before this time
    last INTEGER NOT NULL,      -- and with numbers up to this one
    attempt INTEGER NOT NULL,   -- events that a later attempt delivered are not sent again
    source TEXT,                -- NULL: any
    type TEXT,
    events INTEGER NOT NULL     -- the number of events with at least one delivery in it
);
CREATE UNIQUE INDEX replays_under_way ON replays (state) WHERE state = 'running';

CREATE TABLE replay_parts (
    replay INTEGER NOT NULL REFERENCES replays (id) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped', 'removed')),
    planned INTEGER NOT NULL,   -- deliveries
    queued INTEGER NOT NULL DEFAULT 0,      -- put back into the queue so far
    reached INTEGER NOT NULL,   -- events up to this number are done
    PRIMARY KEY (replay, destination)
) WITHOUT ROWID;
