-- Store how many requests went to each source and destination, how long they took, and the changes of their states.

CREATE TABLE request_counts (
    kind TEXT NOT NULL,         -- source or destination
    name TEXT NOT NULL,
    quarter INTEGER NOT NULL,   -- number of the quarter of an hour since 1970
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    milliseconds INTEGER NOT NULL,      -- of all requests together
    slowest INTEGER NOT NULL,   -- milliseconds of the slowest one
    PRIMARY KEY (kind, name, quarter)
) WITHOUT ROWID;

CREATE TABLE state_changes (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,        -- when it was first seen in this state
    state TEXT NOT NULL,
    reason TEXT
);
CREATE INDEX state_changes_by_name ON state_changes (kind, name, id);
