-- Forget what is not needed of people: signatures and attachments; removed records are found to lose their content.

-- What the fingerprints were made of does not change: nothing of this is a change of a record.
UPDATE records SET record = json_replace(record, '$.signature', NULL)
WHERE json_type(record, '$.signature') IN ('object', 'array', 'text');
UPDATE records SET record = json_replace(record, '$.files', json((SELECT json_group_array(NULL) FROM json_each(record, '$.files'))))
WHERE json_type(record, '$.files') = 'array' AND json_array_length(record, '$.files') > 0;
UPDATE events SET data = json_replace(data, '$.record.signature', NULL)
WHERE json_type(data, '$.record.signature') IN ('object', 'array', 'text');

CREATE INDEX records_removed ON records (removed_at) WHERE removed_at IS NOT NULL AND record <> '{}';
