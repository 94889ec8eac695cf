-- Count apart the failed attempts that may have been the event's own fault; of earlier ones each may.

-- How many failed attempts may have been this event's fault: it travels in ever smaller company.
ALTER TABLE deliveries ADD COLUMN suspicions INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET suspicions = attempts WHERE state = 'pending';
