-- Store the chosen facts about people, and how long trainings are valid. An empty object: not read yet.

ALTER TABLE people ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
-- The employee number was always read.
UPDATE people SET facts = json_object('employee_number', employee_number);
ALTER TABLE trainings ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';

CREATE TABLE job_titles (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    PRIMARY KEY (source, id)
) WITHOUT ROWID;

-- A list is fetched again if the configuration asks for other facts than those for which it was read.
CREATE TABLE lists_fetched (
    source TEXT NOT NULL,
    list TEXT NOT NULL CHECK (list IN ('people', 'trainings', 'job_titles')),
    fetched_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,      -- ok, or why it failed
    fields TEXT NOT NULL DEFAULT '',        -- the facts for which it was read; empty: only names
    PRIMARY KEY (source, list)
) WITHOUT ROWID;
INSERT INTO lists_fetched (source, list, fetched_at, outcome) SELECT source, list, fetched_at, outcome FROM names_fetched;
UPDATE lists_fetched SET fields = 'employee_number' WHERE list = 'people';
DROP TABLE names_fetched;
ALTER TABLE lists_fetched RENAME TO names_fetched;
