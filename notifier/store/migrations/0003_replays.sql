-- Make room for replays that outlive the process.

CREATE TABLE replays (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped')),
    begun_at INTEGER NOT NULL,
    ended_at INTEGER,
    since INTEGER NOT NULL,     -- events detected from then on
    until INTEGER NOT NULL,     -- and before then
    last INTEGER NOT NULL,      -- numbered up to this
    attempt INTEGER NOT NULL,   -- what a later one delivered need not be sent again
    source TEXT,                -- NULL: of any
    type TEXT,
    events INTEGER NOT NULL     -- that have any delivery in it
);
CREATE UNIQUE INDEX replays_under_way ON replays (state) WHERE state = 'running';

CREATE TABLE replay_parts (
    replay INTEGER NOT NULL REFERENCES replays (id) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped', 'removed')),
    planned INTEGER NOT NULL,   -- deliveries
    queued INTEGER NOT NULL DEFAULT 0,      -- put back so far
    reached INTEGER NOT NULL,   -- events up to this number are dealt with
    PRIMARY KEY (replay, destination)
) WITHOUT ROWID;
