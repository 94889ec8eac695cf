-- Store what was announced about the end of completions, so that each end is announced once.

CREATE TABLE expiries (
    source TEXT NOT NULL,
    key TEXT NOT NULL,          -- of the record
    valid_until TEXT NOT NULL,  -- the last valid day that was announced
    user_id TEXT NOT NULL,
    training_id TEXT NOT NULL,
    stage TEXT NOT NULL CHECK (stage IN ('expiring', 'expired')),
    turn INTEGER NOT NULL,      -- 1, and one more for each announcement after one was taken back
    renewed INTEGER NOT NULL DEFAULT 0,     -- whether the announcement was taken back
    PRIMARY KEY (source, key, valid_until)
) WITHOUT ROWID;
CREATE INDEX expiries_standing ON expiries (source, user_id, training_id) WHERE renewed = 0;

CREATE TABLE expiry_rounds (
    source TEXT PRIMARY KEY,
    since TEXT NOT NULL,        -- the day on which announcing was switched on; earlier ends are not announced
    last TEXT                   -- the day of the last complete round
) WITHOUT ROWID;
