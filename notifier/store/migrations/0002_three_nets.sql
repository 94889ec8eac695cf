-- Add what the count check, the detection of removals by sweeps, and the conditions store.

-- removed_at is always NULL in this index. It is included so that queries need not read the table.
CREATE INDEX records_by_date ON records (source, removed_at, completed_on) WHERE removed_at IS NULL;

-- Not used any more (see count_offset).
ALTER TABLE sources ADD COLUMN uncounted INTEGER NOT NULL DEFAULT 0;
-- The difference between the API's count and the known records that the last sweep did not explain.
ALTER TABLE sources ADD COLUMN left_over INTEGER;
-- When an outage ended that was so long that records may have been missed. NULL: there is no such gap.
ALTER TABLE sources ADD COLUMN gap_since INTEGER;
-- The number of removals that are held back, because they are too many at once.
ALTER TABLE sources ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

-- The API's count when counted_page was the last page read. A later count shows whether records were deleted.
ALTER TABLE sweeps ADD COLUMN counted INTEGER;
ALTER TABLE sweeps ADD COLUMN counted_page INTEGER;

CREATE TABLE sweep_pages (
    sweep INTEGER NOT NULL,
    page INTEGER NOT NULL,
    unreadable INTEGER NOT NULL,    -- records on this page that could not be read
    ids BLOB NOT NULL,          -- the ids of the known records on this page, as 64-bit numbers
    PRIMARY KEY (sweep, page)
) WITHOUT ROWID;

CREATE TABLE conditions (
    name TEXT NOT NULL,         -- of the condition, such as gap
    subject TEXT NOT NULL,      -- the source or destination that it concerns
    since INTEGER NOT NULL,
    summary TEXT NOT NULL,
    told_at INTEGER,            -- when an alert last reported it
    PRIMARY KEY (name, subject)
) WITHOUT ROWID;
