-- Allow deliveries to wait for a time of the day or the week, and to be sent together then.

-- The slot (Unix ms) that it belongs to. All deliveries with the same slot are one digest. NULL: none yet.
ALTER TABLE deliveries ADD COLUMN slot_at INTEGER;
-- Whether an operator wants it sent without waiting for a slot.
ALTER TABLE deliveries ADD COLUMN at_once INTEGER NOT NULL DEFAULT 0;

-- The settings that the slots depend on, as one text; empty: no schedule.
ALTER TABLE destinations ADD COLUMN schedule TEXT NOT NULL DEFAULT '';
-- When a slot was last served, or when the settings were first seen: slots are counted from then on.
ALTER TABLE destinations ADD COLUMN slots_from INTEGER;
-- Until when deliveries without a slot wait. NULL: they need not wait.
ALTER TABLE destinations ADD COLUMN closed_until INTEGER;
-- Until when all deliveries wait, because of a quiet time. NULL: those with a slot need not wait.
ALTER TABLE destinations ADD COLUMN held_until INTEGER;
-- The types of events that are sent at any time (JSON).
ALTER TABLE destinations ADD COLUMN urgent TEXT NOT NULL DEFAULT '[]';
