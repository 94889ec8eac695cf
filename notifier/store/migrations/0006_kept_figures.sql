-- Store the counts that the dashboard shows.

-- How many events were detected, and how many delivered, in each quarter of an hour (Unix ms / 900000).
CREATE TABLE detected_counts (
    quarter INTEGER NOT NULL,
    type TEXT NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (quarter, type)
) WITHOUT ROWID;
INSERT INTO detected_counts (quarter, type, events)
SELECT detected_at / 900000, type, count(*) FROM events WHERE type <> 'notifier.alert' GROUP BY 1, 2;

CREATE TABLE delivered_counts (
    quarter INTEGER NOT NULL,
    destination TEXT NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (quarter, destination)
) WITHOUT ROWID;
INSERT INTO delivered_counts (quarter, destination, deliveries)
SELECT last_attempt_at / 900000, destination, count(*) FROM deliveries
WHERE state = 'delivered' AND last_attempt_at IS NOT NULL GROUP BY 1, 2;

-- How many deliveries of each hour (Unix ms / 3600000) were answered so many ms after the detection of their events.
-- The ms are rounded down to their two leading digits.
CREATE TABLE latency_counts (
    hour INTEGER NOT NULL,
    destination TEXT NOT NULL,
    milliseconds INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (hour, destination, milliseconds)
) WITHOUT ROWID;

-- Whether it was requested again. It is then late through no fault of its destination.
ALTER TABLE deliveries ADD COLUMN again INTEGER NOT NULL DEFAULT 0;
