-- Make room for what the count check, the sweep's proof of removals and the operational notices remember.

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
