-- Create the first schema.

CREATE TABLE sources (
    name TEXT PRIMARY KEY,
    met_at INTEGER,             -- first contact (the server's clock): later entries are announced
    swept_at INTEGER,           -- when a sweep last read the whole list
    head_until INTEGER,         -- not used any more
    records INTEGER NOT NULL DEFAULT 0,     -- known records that exist
    last_success INTEGER,
    silent_until INTEGER,       -- no request before this moment
    silent_reason TEXT,
    error_reason TEXT,
    error_message TEXT,
    error_at INTEGER
) WITHOUT ROWID;

CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,  -- 1 when first seen, one more with every change
    user_id TEXT NOT NULL,
    training_id TEXT NOT NULL,
    completed_on TEXT,
    recorded_at INTEGER,
    seen_at INTEGER NOT NULL,   -- when the notifier first saw it
    net TEXT NOT NULL,          -- detection method: head, count or sweep
    reason TEXT NOT NULL,       -- why it was announced, or why it was not
    removed_at INTEGER,
    fingerprint INTEGER NOT NULL,
    record TEXT NOT NULL        -- as the API returned it, very large values left out
);
CREATE UNIQUE INDEX records_by_key ON records (source, key);

CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    subject TEXT NOT NULL,      -- the record's key
    revision INTEGER NOT NULL,
    net TEXT NOT NULL,
    reason TEXT NOT NULL,
    detected_at INTEGER NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX events_by_subject ON events (subject);

CREATE TABLE deliveries (
    sequence INTEGER NOT NULL REFERENCES events (sequence),
    destination TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL DEFAULT 0,
    first_attempt_at INTEGER,
    last_attempt_at INTEGER,
    decision TEXT,              -- what was decided after the last attempt
    reason TEXT,                -- how the last attempt ended
    status INTEGER,
    detail TEXT,
    PRIMARY KEY (sequence, destination)
) WITHOUT ROWID;
CREATE INDEX deliveries_unfinished ON deliveries (destination, state, sequence, next_attempt_at)
    WHERE state <> 'delivered';

CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL REFERENCES events (sequence),
    destination TEXT NOT NULL,
    attempted_at INTEGER NOT NULL,
    milliseconds INTEGER NOT NULL,
    decision TEXT NOT NULL,
    reason TEXT NOT NULL,
    status INTEGER,
    detail TEXT
);
CREATE INDEX attempts_by_event ON attempts (sequence);

CREATE TABLE destinations (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL DEFAULT 'ok' CHECK (state IN ('ok', 'retrying', 'disabled')),
    reason TEXT,
    since INTEGER,              -- when it changed to this state
    failures INTEGER NOT NULL DEFAULT 0,    -- how often in a row the endpoint as a whole failed
    retry_at INTEGER,
    delivered INTEGER NOT NULL DEFAULT 0,
    error_reason TEXT,
    error_message TEXT,
    error_at INTEGER
) WITHOUT ROWID;

CREATE TABLE sweeps (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    next_page INTEGER NOT NULL DEFAULT 1,
    last_page INTEGER,
    records INTEGER NOT NULL DEFAULT 0,     -- read so far
    changes INTEGER NOT NULL DEFAULT 0      -- found so far
);
CREATE INDEX sweeps_by_source ON sweeps (source, id);

CREATE TABLE people (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    employee_number TEXT,
    PRIMARY KEY (source, id)
) WITHOUT ROWID;

CREATE TABLE trainings (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    PRIMARY KEY (source, id)
) WITHOUT ROWID;

CREATE TABLE names_fetched (
    source TEXT NOT NULL,
    list TEXT NOT NULL CHECK (list IN ('people', 'trainings')),
    fetched_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,      -- ok, or why it failed
    PRIMARY KEY (source, list)
) WITHOUT ROWID;

CREATE VIEW known_completions AS
SELECT r.source, r.key, p.name AS person, t.title AS training, r.completed_on,
    datetime(r.recorded_at / 1000, 'unixepoch') AS entered, datetime(r.seen_at / 1000, 'unixepoch') AS first_seen,
    r.net, r.reason, r.revision, datetime(r.removed_at / 1000, 'unixepoch') AS removed, r.user_id, r.training_id
FROM records r
LEFT JOIN people p ON p.source = r.source AND p.id = r.user_id
LEFT JOIN trainings t ON t.source = r.source AND t.id = r.training_id;

CREATE VIEW latest_events AS
SELECT e.sequence, datetime(e.detected_at / 1000, 'unixepoch') AS detected, e.type, e.source, e.subject AS record,
    json_extract(e.data, '$.completion.user_name') AS person,
    json_extract(e.data, '$.completion.training_title') AS training,
    json_extract(e.data, '$.completion.completed_on') AS completed_on, e.net, e.reason, e.id
FROM events e ORDER BY e.sequence DESC;

CREATE VIEW waiting_deliveries AS
SELECT d.destination, d.sequence, e.id AS event, e.subject AS record, d.attempts,
    datetime(e.detected_at / 1000, 'unixepoch') AS detected,
    datetime(d.next_attempt_at / 1000, 'unixepoch') AS next_attempt, d.reason, d.status, d.detail
FROM deliveries d JOIN events e USING (sequence) WHERE d.state = 'pending';

CREATE VIEW dead_deliveries AS
SELECT d.destination, d.sequence, e.id AS event, e.subject AS record, d.attempts,
    datetime(d.last_attempt_at / 1000, 'unixepoch') AS last_attempt, d.decision, d.reason, d.status, d.detail
FROM deliveries d JOIN events e USING (sequence) WHERE d.state = 'dead';

CREATE VIEW attempt_outcomes AS
SELECT destination, reason, count(*) AS attempts, round(avg(milliseconds)) AS average_milliseconds,
    datetime(max(attempted_at) / 1000, 'unixepoch') AS latest
FROM attempts GROUP BY destination, reason;
