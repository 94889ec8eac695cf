-- Make room for what detection remembers: second looks, earlier forms, the balance of the count, what is held, the view.

-- What of the difference between the API's count and the known records is the API's own error, for good.
ALTER TABLE sources ADD COLUMN count_offset INTEGER NOT NULL DEFAULT 0;
UPDATE sources SET count_offset = uncounted;
-- The difference that nothing explains now, and since when there has been one.
ALTER TABLE sources ADD COLUMN unexplained INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN unexplained_since INTEGER;
-- Whether the API's `paging.total` was seen to contradict its last page, and is not believed again.
ALTER TABLE sources ADD COLUMN total_disbelieved INTEGER NOT NULL DEFAULT 0;
-- Records on a page at most, where the API gives fewer than are asked for.
ALTER TABLE sources ADD COLUMN page_cap INTEGER;
-- Records that the last whole scan saw and that cannot be read.
ALTER TABLE sources ADD COLUMN unreadable INTEGER NOT NULL DEFAULT 0;
-- Where a head poll broke off: the last record that it had read, and its completion date.
ALTER TABLE sources ADD COLUMN head_key TEXT;
ALTER TABLE sources ADD COLUMN head_day TEXT;
-- What is asked for (API version, address, filters), as JSON, and before when what is unknown in it is history.
ALTER TABLE sources ADD COLUMN view TEXT;
ALTER TABLE sources ADD COLUMN view_since INTEGER;
-- How many arrivals and changes are held back, and which field the changes have in common.
ALTER TABLE sources ADD COLUMN held_arrivals INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN held_changes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN held_field TEXT;
-- What an operator wants of held removals and changes: 'tell' or 'learn', until the next whole scan.
ALTER TABLE sources ADD COLUMN release_removals TEXT;
ALTER TABLE sources ADD COLUMN release_changes TEXT;
-- How many records the API had given other keys, and when that was last seen.
ALTER TABLE sources ADD COLUMN renumbered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN renumbered_at INTEGER;

-- Held back: it arrived with many others that were entered before the first contact, and is not told.
ALTER TABLE records ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
-- Outside what the source asks for now: neither missing nor counted.
ALTER TABLE records ADD COLUMN out_of_view INTEGER NOT NULL DEFAULT 0;

-- removed_at and out_of_view are always the same in it, and there so that the index alone answers.
DROP INDEX records_by_date;
CREATE INDEX records_by_date ON records (source, removed_at, out_of_view, completed_on)
    WHERE removed_at IS NULL AND out_of_view = 0;
CREATE INDEX records_held ON records (source, id) WHERE held = 1;

-- The number from which on records were first seen after a sweep began, and are no suspects of it. Whether all its pages
-- were whole. Whether it notes which known records each page held: a first one does not.
ALTER TABLE sweeps ADD COLUMN first_new_id INTEGER;
ALTER TABLE sweeps ADD COLUMN whole INTEGER NOT NULL DEFAULT 1;
ALTER TABLE sweeps ADD COLUMN marks INTEGER NOT NULL DEFAULT 1;
UPDATE sweeps SET marks = 0 WHERE source IN (SELECT name FROM sources WHERE swept_at IS NULL);

-- What one answer says and a second look has to confirm.
CREATE TABLE second_looks (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('removal', 'return', 'earlier_form')),
    since INTEGER,              -- when the wait began; NULL: an answer said otherwise, and it has to begin again
    first_at INTEGER NOT NULL,  -- when it was said first
    flips INTEGER NOT NULL DEFAULT 0,       -- how often an answer said otherwise
    flipped_at INTEGER,
    net TEXT NOT NULL,
    form INTEGER NOT NULL DEFAULT 0,        -- fingerprint of the content that waits
    user_id TEXT NOT NULL,      -- where to look
    training_id TEXT NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;

-- Contents that a record had before, for a day.
CREATE TABLE record_forms (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    form INTEGER NOT NULL,
    until INTEGER NOT NULL,     -- when another one took its place
    PRIMARY KEY (source, key, form)
) WITHOUT ROWID;
CREATE INDEX record_forms_by_age ON record_forms (until);

-- Records that could not be read before a sweep had read the whole list: readable one day, they are history.
CREATE TABLE unreadable_records (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;

-- Records of which a change is held back, and of which field.
CREATE TABLE held_changes (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    field TEXT NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;
