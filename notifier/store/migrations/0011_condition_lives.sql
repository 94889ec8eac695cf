-- Let a condition outlive the process that sees it: how long it was lived through, who was told, and why it ended.

-- Begun, firing or over.
ALTER TABLE conditions ADD COLUMN phase TEXT NOT NULL DEFAULT 'firing';
-- Which question to the API, of a source.
ALTER TABLE conditions ADD COLUMN net TEXT NOT NULL DEFAULT '';
-- In a fixed word.
ALTER TABLE conditions ADD COLUMN cause TEXT NOT NULL DEFAULT '';
ALTER TABLE conditions ADD COLUMN remedy TEXT NOT NULL DEFAULT '';
-- Milliseconds in which it was looked at.
ALTER TABLE conditions ADD COLUMN lived INTEGER NOT NULL DEFAULT 0;
-- Milliseconds without it, of late.
ALTER TABLE conditions ADD COLUMN well INTEGER NOT NULL DEFAULT 0;
-- Milliseconds without it that end it.
ALTER TABLE conditions ADD COLUMN ends_after INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conditions ADD COLUMN ended_at INTEGER;
-- Why it ended.
ALTER TABLE conditions ADD COLUMN ending TEXT NOT NULL DEFAULT '';
-- The destination that was told.
ALTER TABLE conditions ADD COLUMN told_to TEXT NOT NULL DEFAULT '';
-- Of the day that began at counted_from.
ALTER TABLE conditions ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conditions ADD COLUMN counted_from INTEGER NOT NULL DEFAULT 0;
-- How often it came back within an hour.
ALTER TABLE conditions ADD COLUMN returns INTEGER NOT NULL DEFAULT 0;

-- Each start of the daemon; stopped_at stays NULL where nothing stopped it in order.
CREATE TABLE starts (
    at INTEGER NOT NULL PRIMARY KEY,
    stopped_at INTEGER
);

-- When everything was known again after a rebuild, and people need to know of it no more.
ALTER TABLE rebuilds ADD COLUMN ended_at INTEGER;
