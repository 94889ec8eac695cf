-- Add what the detection of changes stores: second looks, earlier contents, counts, held-back changes, and filters.

-- The part of the difference between the API's count and the known records that is a lasting error of the API.
ALTER TABLE sources ADD COLUMN count_offset INTEGER NOT NULL DEFAULT 0;
UPDATE sources SET count_offset = uncounted;
-- The part of that difference that nothing explains now, and since when there has been one.
ALTER TABLE sources ADD COLUMN unexplained INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN unexplained_since INTEGER;
-- Whether the API's `paging.total` is ignored, because it has contradicted the number of the last page.
ALTER TABLE sources ADD COLUMN total_disbelieved INTEGER NOT NULL DEFAULT 0;
-- The most records on a page, if the API returns fewer than are requested.
ALTER TABLE sources ADD COLUMN page_cap INTEGER;
-- The number of records in the list that cannot be read.
ALTER TABLE sources ADD COLUMN unreadable INTEGER NOT NULL DEFAULT 0;
-- Where a head poll was interrupted: the last record that it had read, and that record's completion date.
ALTER TABLE sources ADD COLUMN head_key TEXT;
ALTER TABLE sources ADD COLUMN head_day TEXT;
-- What is requested (API version, address, filters), as JSON. Unknown records entered before view_since are history.
ALTER TABLE sources ADD COLUMN view TEXT;
ALTER TABLE sources ADD COLUMN view_since INTEGER;
-- How many arrivals and changes are held back, and the field of one of these changes.
ALTER TABLE sources ADD COLUMN held_arrivals INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN held_changes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN held_field TEXT;
-- An operator's request for the next sweep: announce the held-back removals or changes ('tell') or not ('learn').
ALTER TABLE sources ADD COLUMN release_removals TEXT;
ALTER TABLE sources ADD COLUMN release_changes TEXT;
-- How many records have got other keys from the API, and when that was last seen.
ALTER TABLE sources ADD COLUMN renumbered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN renumbered_at INTEGER;

-- Held back, and not announced: it arrived with many others that were entered before the first contact.
ALTER TABLE records ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
-- Excluded by what the source requests now, so that it counts neither as missing nor as existing.
ALTER TABLE records ADD COLUMN out_of_view INTEGER NOT NULL DEFAULT 0;

-- removed_at and out_of_view are constant in this index. They are included so that queries need not read the table.
DROP INDEX records_by_date;
CREATE INDEX records_by_date ON records (source, removed_at, out_of_view, completed_on)
    WHERE removed_at IS NULL AND out_of_view = 0;
CREATE INDEX records_held ON records (source, id) WHERE held = 1;

-- Records with this number or a higher one were first seen after the sweep began, so it may not have met them. Whether
-- all its pages were complete. Whether it stores which known records each page has, which a first sweep does not.
ALTER TABLE sweeps ADD COLUMN first_new_id INTEGER;
ALTER TABLE sweeps ADD COLUMN whole INTEGER NOT NULL DEFAULT 1;
ALTER TABLE sweeps ADD COLUMN marks INTEGER NOT NULL DEFAULT 1;
UPDATE sweeps SET marks = 0 WHERE source IN (SELECT name FROM sources WHERE swept_at IS NULL);

-- Changes that one answer shows and that a later request, the second look, has to confirm.
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

-- Fingerprints of the contents that records had in the last day.
CREATE TABLE record_forms (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    form INTEGER NOT NULL,
    until INTEGER NOT NULL,     -- when another content replaced it
    PRIMARY KEY (source, key, form)
) WITHOUT ROWID;
CREATE INDEX record_forms_by_age ON record_forms (until);

-- Records that could not be read during the first sweep. If they can be read later, they are not announced.
CREATE TABLE unreadable_records (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;

-- Records with a held-back change, and the field that has changed.
CREATE TABLE held_changes (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    field TEXT NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;
