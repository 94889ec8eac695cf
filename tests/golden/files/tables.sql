CREATE INDEX attempt_runs_by_event ON attempt_runs (first_sequence);
CREATE INDEX deliveries_delayed ON deliveries (destination, next_attempt_at)
    WHERE state = 'pending' AND next_attempt_at > 0;
CREATE INDEX deliveries_unfinished ON deliveries (destination, state, sequence, next_attempt_at)
    WHERE state <> 'delivered';
CREATE INDEX events_by_subject ON events (subject);
CREATE INDEX events_by_time ON events (detected_at);
CREATE INDEX events_moved ON events (moved_from) WHERE moved_from IS NOT NULL;
CREATE INDEX expiries_standing ON expiries (source, user_id, training_id) WHERE renewed = 0;
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX record_forms_by_age ON record_forms (until);
CREATE INDEX records_by_date ON records (source, removed_at, out_of_view, completed_on)
    WHERE removed_at IS NULL AND out_of_view = 0;
CREATE UNIQUE INDEX records_by_key ON records (source, key);
CREATE INDEX records_held ON records (source, id) WHERE held = 1;
CREATE INDEX records_removed ON records (removed_at) WHERE removed_at IS NOT NULL AND record <> '{}';
CREATE UNIQUE INDEX replay_parts_under_way ON replay_parts (destination) WHERE state = 'running';
CREATE INDEX request_log_by_destination ON request_log (destination, id);
CREATE INDEX request_log_by_event ON request_log (first_sequence, last_sequence);
CREATE INDEX state_changes_by_name ON state_changes (kind, name, id);
CREATE INDEX sweeps_by_source ON sweeps (source, id);
CREATE INDEX told_before_by_key ON told_before (source, key);
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
CREATE TABLE attempt_runs (
    id INTEGER PRIMARY KEY,
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    destination TEXT NOT NULL,
    attempted_at INTEGER NOT NULL,
    milliseconds INTEGER NOT NULL,
    decision TEXT NOT NULL,
    reason TEXT NOT NULL,
    status INTEGER,
    detail TEXT
);
CREATE TABLE conditions (
    name TEXT NOT NULL,         -- of the condition, such as gap
    subject TEXT NOT NULL,      -- the source or destination that it concerns
    since INTEGER NOT NULL,
    summary TEXT NOT NULL,
    told_at INTEGER, phase TEXT NOT NULL DEFAULT 'firing', net TEXT NOT NULL DEFAULT '', cause TEXT NOT NULL DEFAULT '', remedy TEXT NOT NULL DEFAULT '', lived INTEGER NOT NULL DEFAULT 0, well INTEGER NOT NULL DEFAULT 0, ends_after INTEGER NOT NULL DEFAULT 0, ended_at INTEGER, ending TEXT NOT NULL DEFAULT '', told_to TEXT NOT NULL DEFAULT '', messages INTEGER NOT NULL DEFAULT 0, counted_from INTEGER NOT NULL DEFAULT 0, returns INTEGER NOT NULL DEFAULT 0, texts TEXT NOT NULL DEFAULT '',            -- when an alert last reported it
    PRIMARY KEY (name, subject)
) WITHOUT ROWID;
CREATE TABLE delivered_counts (
    quarter INTEGER NOT NULL,
    destination TEXT NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (quarter, destination)
) WITHOUT ROWID;
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
    detail TEXT, suspicions INTEGER NOT NULL DEFAULT 0, again INTEGER NOT NULL DEFAULT 0, tried_from INTEGER, proven INTEGER NOT NULL DEFAULT 0, taken_by TEXT, queued_at INTEGER, slot_at INTEGER, at_once INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (sequence, destination)
) WITHOUT ROWID;
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
, trying INTEGER NOT NULL DEFAULT 0, retry_asked INTEGER NOT NULL DEFAULT 0, fingerprint TEXT, rate REAL, batch_limit INTEGER, schedule TEXT NOT NULL DEFAULT '', slots_from INTEGER, closed_until INTEGER, held_until INTEGER, urgent TEXT NOT NULL DEFAULT '[]') WITHOUT ROWID;
CREATE TABLE detected_counts (
    quarter INTEGER NOT NULL,
    type TEXT NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (quarter, type)
) WITHOUT ROWID;
CREATE TABLE essentials_stamps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stamp TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL
);
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
, moved_from TEXT);
CREATE TABLE expiries (
    source TEXT NOT NULL,
    key TEXT NOT NULL,          -- of the record
    valid_until TEXT NOT NULL,  -- the last valid day that was announced
    user_id TEXT NOT NULL,
    training_id TEXT NOT NULL,
    stage TEXT NOT NULL CHECK (stage IN ('expiring', 'expired')),
    turn INTEGER NOT NULL,      -- 1, and one more for each announcement after one was taken back
    renewed INTEGER NOT NULL DEFAULT 0,     -- whether the announcement was taken back
    PRIMARY KEY (source, key, valid_until)
) WITHOUT ROWID;
CREATE TABLE expiry_rounds (
    source TEXT PRIMARY KEY,
    since TEXT NOT NULL,        -- the day on which announcing was switched on; earlier ends are not announced
    last TEXT                   -- the day of the last complete round
) WITHOUT ROWID;
CREATE TABLE held_changes (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    field TEXT NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;
CREATE TABLE job_titles (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    PRIMARY KEY (source, id)
) WITHOUT ROWID;
CREATE TABLE latency_counts (
    hour INTEGER NOT NULL,
    destination TEXT NOT NULL,
    milliseconds INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (hour, destination, milliseconds)
) WITHOUT ROWID;
CREATE TABLE left_out (
    source TEXT NOT NULL,
    key TEXT NOT NULL,          -- of the record; if the key itself cannot be read, `?` and an identifier
    field TEXT,                 -- the API's name of the field that cannot be read; NULL: not a single one
    problem TEXT NOT NULL,
    sweep INTEGER NOT NULL,     -- the newest sweep when it was last seen
    known INTEGER NOT NULL,     -- whether it counts as one of the known records
    PRIMARY KEY (source, key)
) WITHOUT ROWID;
CREATE TABLE "names_fetched" (
    source TEXT NOT NULL,
    list TEXT NOT NULL CHECK (list IN ('people', 'trainings', 'job_titles')),
    fetched_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,      -- ok, or why it failed
    fields TEXT NOT NULL DEFAULT '',        -- the facts for which it was read; empty: only names
    PRIMARY KEY (source, list)
) WITHOUT ROWID;
CREATE TABLE owed (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    destinations TEXT NOT NULL, -- a JSON array
    at INTEGER NOT NULL,        -- when this file was brought up to date
    PRIMARY KEY (source, key)
) WITHOUT ROWID;
CREATE TABLE people (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    employee_number TEXT, facts TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (source, id)
) WITHOUT ROWID;
CREATE TABLE rebuilds (
    at INTEGER PRIMARY KEY,     -- when this file was made from the readable parts of a damaged one
    problem TEXT NOT NULL,      -- what was wrong with the damaged file
    set_aside TEXT,             -- where the damaged file is now; NULL: it was gone
    lost TEXT NOT NULL          -- what could not be read of it
, kind TEXT NOT NULL DEFAULT 'rebuilt', since INTEGER, ended_at INTEGER);
CREATE TABLE record_forms (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    form INTEGER NOT NULL,
    until INTEGER NOT NULL,     -- when another content replaced it
    PRIMARY KEY (source, key, form)
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
, held INTEGER NOT NULL DEFAULT 0, out_of_view INTEGER NOT NULL DEFAULT 0);
CREATE TABLE replay_parts (
    replay INTEGER NOT NULL REFERENCES replays (id) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped', 'removed')),
    planned INTEGER NOT NULL,   -- deliveries
    queued INTEGER NOT NULL DEFAULT 0,      -- put back into the queue so far
    reached INTEGER NOT NULL,   -- events up to this number are done
    PRIMARY KEY (replay, destination)
) WITHOUT ROWID;
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
CREATE TABLE request_log (
    id INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    attempted_at INTEGER NOT NULL,      -- the same as in attempt_runs
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    sequences TEXT NOT NULL,    -- of all events in the request, as `5-7,9`
    sent_headers TEXT NOT NULL, -- a JSON array of names and values, without secrets
    sent_bytes INTEGER NOT NULL,
    sent_digest TEXT NOT NULL,  -- of the body, which can be made again from the events
    answer_headers TEXT,        -- in the same form; NULL: there was no answer
    answer_body TEXT            -- its beginning, without secrets
);
CREATE TABLE second_looks (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('removal', 'return', 'earlier_form')),
    since INTEGER,              -- when the wait began; NULL: an answer has contradicted it since
    first_at INTEGER NOT NULL,  -- when the change was first seen
    flips INTEGER NOT NULL DEFAULT 0,       -- how often an answer contradicted it
    flipped_at INTEGER,
    net TEXT NOT NULL,
    form INTEGER NOT NULL DEFAULT 0,        -- fingerprint of the content to confirm
    user_id TEXT NOT NULL,      -- for the request that is to confirm it
    training_id TEXT NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;
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
, uncounted INTEGER NOT NULL DEFAULT 0, left_over INTEGER, gap_since INTEGER, held INTEGER NOT NULL DEFAULT 0, told_until INTEGER, count_offset INTEGER NOT NULL DEFAULT 0, unexplained INTEGER NOT NULL DEFAULT 0, unexplained_since INTEGER, total_disbelieved INTEGER NOT NULL DEFAULT 0, page_cap INTEGER, unreadable INTEGER NOT NULL DEFAULT 0, head_key TEXT, head_day TEXT, view TEXT, view_since INTEGER, held_arrivals INTEGER NOT NULL DEFAULT 0, held_changes INTEGER NOT NULL DEFAULT 0, held_field TEXT, release_removals TEXT, release_changes TEXT, renumbered INTEGER NOT NULL DEFAULT 0, renumbered_at INTEGER, unreadable_known INTEGER NOT NULL DEFAULT 0, unreadable_key TEXT, unreadable_field TEXT, unreadable_problem TEXT) WITHOUT ROWID;
CREATE TABLE sqlite_sequence(name,seq);
CREATE TABLE starts (
    at INTEGER NOT NULL PRIMARY KEY,
    stopped_at INTEGER
);
CREATE TABLE state_changes (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,        -- when it was first seen in this state
    state TEXT NOT NULL,
    reason TEXT
);
CREATE TABLE sweep_pages (
    sweep INTEGER NOT NULL,
    page INTEGER NOT NULL,
    unreadable INTEGER NOT NULL,    -- records on this page that could not be read
    ids BLOB NOT NULL,          -- the ids of the known records on this page, as 64-bit numbers
    PRIMARY KEY (sweep, page)
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
, counted INTEGER, counted_page INTEGER, first_new_id INTEGER, whole INTEGER NOT NULL DEFAULT 1, marks INTEGER NOT NULL DEFAULT 1);
CREATE TABLE told_before (
    id TEXT PRIMARY KEY,        -- of an event that was announced from a damaged file, and is not in this one
    at INTEGER NOT NULL         -- when this file was rebuilt
, source TEXT, key TEXT, revision INTEGER) WITHOUT ROWID;
CREATE TABLE trainings (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    title TEXT NOT NULL, facts TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (source, id)
) WITHOUT ROWID;
CREATE TABLE unreadable_records (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;
CREATE VIEW attempt_outcomes AS
SELECT destination, reason, sum(last_sequence - first_sequence + 1) AS attempts,
    round(sum(milliseconds * (last_sequence - first_sequence + 1.0)) / sum(last_sequence - first_sequence + 1))
    AS average_milliseconds, datetime(max(attempted_at) / 1000, 'unixepoch') AS latest
FROM attempt_runs GROUP BY destination, reason;
CREATE VIEW attempts AS
SELECT r.id, d.sequence, d.destination, r.attempted_at, r.milliseconds, r.decision, r.reason, r.status, r.detail
FROM attempt_runs r CROSS JOIN deliveries d
    ON d.destination = r.destination AND d.sequence BETWEEN r.first_sequence AND r.last_sequence
    AND r.first_sequence BETWEEN d.sequence - 999 AND d.sequence;
CREATE VIEW dead_deliveries AS
SELECT d.destination, d.sequence, e.id AS event, e.subject AS record, d.attempts,
    datetime(d.last_attempt_at / 1000, 'unixepoch') AS last_attempt, d.decision, d.reason, d.status, d.detail
FROM deliveries d JOIN events e USING (sequence) WHERE d.state = 'dead';
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
