-- Store what the delivery policy learns about a receiver and about a single event. Allow several replays at once.

-- Milliseconds in which the notifier ran and the destination was enabled. They decide when a delivery is given up.
ALTER TABLE destinations ADD COLUMN trying INTEGER NOT NULL DEFAULT 0;
-- Whether the receiver has asked to wait until retry_at, so that nothing is sent before.
ALTER TABLE destinations ADD COLUMN retry_asked INTEGER NOT NULL DEFAULT 0;
-- The fingerprint of the address and credentials that the stored state belongs to.
ALTER TABLE destinations ADD COLUMN fingerprint TEXT;
-- Requests a second that the receiver takes; NULL: as many as the configuration allows.
ALTER TABLE destinations ADD COLUMN rate REAL;
-- Events in one request that the receiver takes; NULL: as many as the configuration allows.
ALTER TABLE destinations ADD COLUMN batch_limit INTEGER;

-- The value of destinations.trying at the first attempt. For a delivery from before this step, `trying` counts from 0,
-- so the time between its first and its last attempt is stored as a negative value.
ALTER TABLE deliveries ADD COLUMN tried_from INTEGER;
UPDATE deliveries SET tried_from = first_attempt_at - coalesce(last_attempt_at, first_attempt_at)
WHERE state = 'pending' AND first_attempt_at IS NOT NULL;
-- Whether others were delivered since it first failed alone. It is then sent alone.
ALTER TABLE deliveries ADD COLUMN proven INTEGER NOT NULL DEFAULT 0;
-- The receivers that have it already, if the destination has several (JSON).
ALTER TABLE deliveries ADD COLUMN taken_by TEXT;
-- When it was requested again. NULL: it has waited since its detection.
ALTER TABLE deliveries ADD COLUMN queued_at INTEGER;

CREATE INDEX deliveries_delayed ON deliveries (destination, next_attempt_at)
    WHERE state = 'pending' AND next_attempt_at > 0;

-- One replay for each destination, instead of one at a time.
DROP INDEX replays_under_way;
CREATE UNIQUE INDEX replay_parts_under_way ON replay_parts (destination) WHERE state = 'running';
