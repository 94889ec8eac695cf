"""The tables and views of the state file, and the steps that lead to them.

Times are Unix milliseconds. A released step is never edited: a change of the schema is one more step.
"""

from contextlib import closing

from sqlite_utils import Database, Migrations

migrations = Migrations("notifier")

_TABLES = """
CREATE TABLE sources (
    name TEXT PRIMARY KEY,
    met_at INTEGER,             -- what was entered since is news (the server's clock)
    swept_at INTEGER,           -- when a sweep last reached the end of the list
    head_until INTEGER,         -- a head poll broke off before this page (of 1000 records): read at least so far
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
    seen_at INTEGER NOT NULL,   -- when the notifier first met it
    net TEXT NOT NULL,          -- head, count or sweep
    reason TEXT NOT NULL,       -- why it was news, or why it was not
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
    since INTEGER,              -- when it came into this state
    failures INTEGER NOT NULL DEFAULT 0,    -- in a row, of the endpoint as a whole
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
"""

_VIEWS = """
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
"""


_NETS = """
-- removed_at is always NULL in it, and there so that the index alone answers.
CREATE INDEX records_by_date ON records (source, removed_at, completed_on) WHERE removed_at IS NULL;

-- By how many the API counts more records than are known, for good: those that cannot be read.
ALTER TABLE sources ADD COLUMN uncounted INTEGER NOT NULL DEFAULT 0;
-- What of the API's count the last sweep had left unexplained.
ALTER TABLE sources ADD COLUMN left_over INTEGER;
-- Since when it cannot be proven that everything was seen, after an outage longer than the retention.
ALTER TABLE sources ADD COLUMN gap_since INTEGER;
-- Removals that are suspected, and held back since they are too many at once.
ALTER TABLE sources ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

-- The API's count when the page before counted_page was read, to tell whether the list moved.
ALTER TABLE sweeps ADD COLUMN counted INTEGER;
ALTER TABLE sweeps ADD COLUMN counted_page INTEGER;

CREATE TABLE sweep_pages (
    sweep INTEGER NOT NULL,
    page INTEGER NOT NULL,
    unreadable INTEGER NOT NULL,    -- records on this page that could not be read
    ids BLOB NOT NULL,          -- 64-bit numbers: the ids of the known records on this page
    PRIMARY KEY (sweep, page)
) WITHOUT ROWID;

CREATE TABLE conditions (
    name TEXT NOT NULL,         -- of operational notices, such as gap
    subject TEXT NOT NULL,      -- which source or destination is in it
    since INTEGER NOT NULL,
    summary TEXT NOT NULL,
    told_at INTEGER,            -- when a notice last said so
    PRIMARY KEY (name, subject)
) WITHOUT ROWID;
"""

_REPLAYS = """
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
"""


_ATTEMPT_RUNS = """
-- One row for the attempts of deliveries that follow each other without a gap (of up to 1000), shared a request and had
-- the same fate.
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
INSERT INTO attempt_runs (id, first_sequence, last_sequence, destination, attempted_at, milliseconds, decision, reason,
    status, detail)
SELECT id, sequence, sequence, destination, attempted_at, milliseconds, decision, reason, status, detail FROM attempts;
CREATE INDEX attempt_runs_by_event ON attempt_runs (first_sequence);

DROP VIEW attempt_outcomes;
DROP TABLE attempts;

CREATE VIEW attempts AS
SELECT r.id, d.sequence, d.destination, r.attempted_at, r.milliseconds, r.decision, r.reason, r.status, r.detail
FROM attempt_runs r CROSS JOIN deliveries d
    ON d.destination = r.destination AND d.sequence BETWEEN r.first_sequence AND r.last_sequence
    AND r.first_sequence BETWEEN d.sequence - 999 AND d.sequence;

CREATE VIEW attempt_outcomes AS
SELECT destination, reason, sum(last_sequence - first_sequence + 1) AS attempts,
    round(sum(milliseconds * (last_sequence - first_sequence + 1.0)) / sum(last_sequence - first_sequence + 1))
    AS average_milliseconds, datetime(max(attempted_at) / 1000, 'unixepoch') AS latest
FROM attempt_runs GROUP BY destination, reason;
"""


_LONG_LIFE = """
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
"""


def _statements(script: str) -> list[str]:
    # executescript() would commit the migration's transaction.
    return [statement for statement in script.split(";\n") if statement.strip()]


@migrations()
def initial(db: Database) -> None:
    """Create the first schema."""
    for statement in [*_statements(_TABLES), *_statements(_VIEWS)]:
        db.execute(statement)


@migrations()
def three_nets(db: Database) -> None:
    """Make room for what the count check, the sweep's proof of removals and the operational notices remember."""
    for statement in _statements(_NETS):
        db.execute(statement)


@migrations()
def replays(db: Database) -> None:
    """Make room for replays that outlive the process."""
    for statement in _statements(_REPLAYS):
        db.execute(statement)


@migrations()
def suspicions(db: Database) -> None:
    """Count apart the failed attempts that may have been the event's own fault; of earlier ones each may."""
    # How many failed attempts may have been this event's fault: it travels in ever smaller company.
    db.execute("ALTER TABLE deliveries ADD COLUMN suspicions INTEGER NOT NULL DEFAULT 0")
    db.execute("UPDATE deliveries SET suspicions = attempts WHERE state = 'pending'")


@migrations()
def attempts_in_runs(db: Database) -> None:
    """Keep the attempts of a batch as one row instead of one for each event; `attempts` goes on telling of each."""
    for statement in _statements(_ATTEMPT_RUNS):
        db.execute(statement)


@migrations()
def long_life(db: Database) -> None:
    """Make room for what a rebuilt file remembers, and let what is old be found quickly."""
    for statement in _statements(_LONG_LIFE):
        db.execute(statement)


def steps() -> list[str]:
    """Return the names of the steps that this version knows, in order."""
    with closing(Database(memory=True)) as empty:
        return [step.name for step in migrations.pending(empty)]


def unknown_steps(db: Database) -> list[str]:
    """Return the steps in this file that this version does not know: a newer version has written it."""
    known = set(steps())
    return [step.name for step in migrations.applied(db) if step.name not in known]
