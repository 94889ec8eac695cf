-- Count separately the failed attempts that the event itself may have caused. Every earlier failure may be one.

-- How many failed attempts this event may have caused. The more, the fewer events are sent together with it.
ALTER TABLE deliveries ADD COLUMN suspicions INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET suspicions = attempts WHERE state = 'pending';
