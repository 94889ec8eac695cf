-- Remember what was announced about the end of completions, so that each is announced once.

CREATE TABLE expiries (
    source TEXT NOT NULL,
    key TEXT NOT NULL,          -- of the record
    valid_until TEXT NOT NULL,  -- the last day that was announced
    user_id TEXT NOT NULL,
    training_id TEXT NOT NULL,
    stage TEXT NOT NULL CHECK (stage IN ('expiring', 'expired')),
    turn INTEGER NOT NULL,      -- one more whenever it is announced again after it was taken back
    renewed INTEGER NOT NULL DEFAULT 0,     -- whether it was taken back
    PRIMARY KEY (source, key, valid_until)
) WITHOUT ROWID;
CREATE INDEX expiries_standing ON expiries (source, user_id, training_id) WHERE renewed = 0;

CREATE TABLE expiry_rounds (
    source TEXT PRIMARY KEY,
    since TEXT NOT NULL,        -- the day on which expiry was switched on: what ended before is history
    last TEXT                   -- the day of the last complete round
) WITHOUT ROWID;
