-- Keep a condition over restarts: how long it was seen, which destination got alerts, and why it ended.

-- The phase: begun, firing or over.
ALTER TABLE conditions ADD COLUMN phase TEXT NOT NULL DEFAULT 'firing';
-- The detection method, for conditions of a source.
ALTER TABLE conditions ADD COLUMN net TEXT NOT NULL DEFAULT '';
-- A fixed word.
ALTER TABLE conditions ADD COLUMN cause TEXT NOT NULL DEFAULT '';
ALTER TABLE conditions ADD COLUMN remedy TEXT NOT NULL DEFAULT '';
-- Milliseconds in which it was seen, in all processes together.
ALTER TABLE conditions ADD COLUMN lived INTEGER NOT NULL DEFAULT 0;
-- Milliseconds for which it has now been absent.
ALTER TABLE conditions ADD COLUMN well INTEGER NOT NULL DEFAULT 0;
-- Milliseconds without it after which it ends.
ALTER TABLE conditions ADD COLUMN ends_after INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conditions ADD COLUMN ended_at INTEGER;
-- Why it ended.
ALTER TABLE conditions ADD COLUMN ending TEXT NOT NULL DEFAULT '';
-- The destination of the last alert.
ALTER TABLE conditions ADD COLUMN told_to TEXT NOT NULL DEFAULT '';
-- The number of alerts in the day that began at counted_from.
ALTER TABLE conditions ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conditions ADD COLUMN counted_from INTEGER NOT NULL DEFAULT 0;
-- How often it came back soon after its end.
ALTER TABLE conditions ADD COLUMN returns INTEGER NOT NULL DEFAULT 0;

-- Each start of the daemon. stopped_at stays NULL if the daemon was not stopped in an orderly way.
CREATE TABLE starts (
    at INTEGER NOT NULL PRIMARY KEY,
    stopped_at INTEGER
);

-- When everything was known again after a rebuild, so that it is not reported any more.
ALTER TABLE rebuilds ADD COLUMN ended_at INTEGER;
