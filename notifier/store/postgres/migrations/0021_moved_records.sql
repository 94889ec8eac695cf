-- Find the events of a person's records that another person has now. Events from before this step are not found so.

-- The person who had the record before this change, if the change gave it to another person; else NULL.
ALTER TABLE events ADD COLUMN moved_from TEXT COLLATE "C";
CREATE INDEX events_moved ON events (moved_from) WHERE moved_from IS NOT NULL;
