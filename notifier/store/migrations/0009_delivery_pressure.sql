-- Remember what the delivery policy learns of a receiver and of a single event, and let replays run side by side.

-- Milliseconds in which the notifier ran and could try, the destination being enabled: what gives deliveries up.
ALTER TABLE destinations ADD COLUMN trying INTEGER NOT NULL DEFAULT 0;
-- Whether retry_at is a moment that the receiver has asked for: nothing is sent before it.
ALTER TABLE destinations ADD COLUMN retry_asked INTEGER NOT NULL DEFAULT 0;
-- Which address and credentials this health is of.
ALTER TABLE destinations ADD COLUMN fingerprint TEXT;
-- Requests a second that the receiver takes; NULL: as many as the configuration allows.
ALTER TABLE destinations ADD COLUMN rate REAL;
-- Events in one request that the receiver takes; NULL: as many as the configuration allows.
ALTER TABLE destinations ADD COLUMN batch_limit INTEGER;

-- What destinations.trying showed at the first attempt; of earlier ones the time between the attempts is known.
ALTER TABLE deliveries ADD COLUMN tried_from INTEGER;
UPDATE deliveries SET tried_from = first_attempt_at - coalesce(last_attempt_at, first_attempt_at)
WHERE state = 'pending' AND first_attempt_at IS NOT NULL;
-- Whether others got through since it first failed by itself: it goes alone.
ALTER TABLE deliveries ADD COLUMN proven INTEGER NOT NULL DEFAULT 0;
-- Which of several receivers behind one address have it already (JSON).
ALTER TABLE deliveries ADD COLUMN taken_by TEXT;
-- When somebody wanted it sent again; NULL: it is owed since its detection.
ALTER TABLE deliveries ADD COLUMN queued_at INTEGER;

CREATE INDEX deliveries_delayed ON deliveries (destination, next_attempt_at)
    WHERE state = 'pending' AND next_attempt_at > 0;

-- One replay for each destination, instead of one at a time.
DROP INDEX replays_under_way;
CREATE UNIQUE INDEX replay_parts_under_way ON replay_parts (destination) WHERE state = 'running';
