-- Store the attempts of a batch as one row instead of one for each event. The view `attempts` still has one for each.

-- One row for the attempts of up to 1000 deliveries with consecutive event numbers that shared a request and had the
-- same outcome.
CREATE TABLE attempt_runs (
    id INTEGER PRIMARY KEY,
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    destination TEXT NOT NULL,
    attempted_at INTEGER NOT NULL,
    milliseconds INTEGER NOT NULL,
    decision TEXT NOT NULL,
    reason TEXT NOT NULL,
    status INTEGER,
    detail TEXT
);
INSERT INTO attempt_runs (id, first_sequence, last_sequence, destination, attempted_at, milliseconds, decision, reason,
    status, detail)
SELECT id, sequence, sequence, destination, attempted_at, milliseconds, decision, reason, status, detail FROM attempts;
CREATE INDEX attempt_runs_by_event ON attempt_runs (first_sequence);

DROP VIEW attempt_outcomes;
DROP TABLE attempts;

CREATE VIEW attempts AS
SELECT r.id, d.sequence, d.destination, r.attempted_at, r.milliseconds, r.decision, r.reason, r.status, r.detail
FROM attempt_runs r CROSS JOIN deliveries d
    ON d.destination = r.destination AND d.sequence BETWEEN r.first_sequence AND r.last_sequence
    AND r.first_sequence BETWEEN d.sequence - 999 AND d.sequence;

CREATE VIEW attempt_outcomes AS
SELECT destination, reason, sum(last_sequence - first_sequence + 1) AS attempts,
    round(sum(milliseconds * (last_sequence - first_sequence + 1.0)) / sum(last_sequence - first_sequence + 1))
    AS average_milliseconds, datetime(max(attempted_at) / 1000, 'unixepoch') AS latest
FROM attempt_runs GROUP BY destination, reason;
