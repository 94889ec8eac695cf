-- Store the latest requests to each destination with their answers, for people who examine a delivery.

CREATE TABLE request_log (
    id INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    attempted_at INTEGER NOT NULL,      -- the same as in attempt_runs
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    sequences TEXT NOT NULL,    -- of all events in the request, as `5-7,9`
    sent_headers TEXT NOT NULL, -- a JSON array of names and values, without secrets
    sent_bytes INTEGER NOT NULL,
    sent_digest TEXT NOT NULL,  -- of the body, which can be made again from the events
    answer_headers TEXT,        -- in the same form; NULL: there was no answer
    answer_body TEXT            -- its beginning, without secrets
);
CREATE INDEX request_log_by_destination ON request_log (destination, id);
CREATE INDEX request_log_by_event ON request_log (first_sequence, last_sequence);
