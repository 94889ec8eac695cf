-- Delete signatures and attachments: personal data that is not needed. Add an index of removed records for erasure.

-- The stored fingerprints of the complete records stay, so no record counts as changed.
UPDATE records SET record = json_replace(record, '$.signature', NULL)
WHERE json_type(record, '$.signature') IN ('object', 'array', 'text');
UPDATE records SET record = json_replace(record, '$.files', json((SELECT json_group_array(NULL) FROM json_each(record, '$.files'))))
WHERE json_type(record, '$.files') = 'array' AND json_array_length(record, '$.files') > 0;
UPDATE events SET data = json_replace(data, '$.record.signature', NULL)
WHERE json_type(data, '$.record.signature') IN ('object', 'array', 'text');

CREATE INDEX records_removed ON records (removed_at) WHERE removed_at IS NOT NULL AND record <> '{}';
