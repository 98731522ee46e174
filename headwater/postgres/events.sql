-- Events as the processor writes them. Reading for clients is in search.sql.

-- name: find_stored_events
-- Which of these are stored already, deleted ones too. $1 workspace, $2 ids
SELECT id FROM events WHERE workspace_id = $1 AND id = ANY ($2::uuid[]);

-- name: read_event_versions
-- The present version stands in events, those before it in versions. $1 workspace, $2 ids, $3 versions
SELECT e.id, wanted.version, coalesce(v.document, e.document) AS document
FROM unnest($2::uuid[], $3::integer[]) AS wanted (id, version)
JOIN events e ON e.workspace_id = $1 AND e.id = wanted.id
LEFT JOIN versions v
    ON v.workspace_id = $1 AND v.entity_id = wanted.id AND v.version = wanted.version
WHERE e.version = wanted.version OR v.document IS NOT NULL;

-- name: lock_anonymous_events
-- The events that wait for these values, oldest first. $1 workspace, $2 nodes, $3 types, $4 values
SELECT e.id, e.node_id, e.version, e.document, e.bring_back_type, e.bring_back_value, e.updated_at,
    e.registered_at
FROM events e
JOIN unnest($2::uuid[], $3::text[], $4::text[]) AS wanted (node_id, type, value)
    ON e.node_id = wanted.node_id AND e.bring_back_type = wanted.type
        AND e.bring_back_value = wanted.value
WHERE e.workspace_id = $1 AND e.customer_id IS NULL AND NOT e.deleted
ORDER BY e.id
FOR UPDATE OF e;

-- name: attach_events
-- $1 workspace, $2 ids, $3 customers, $4 versions, $5 updated at, $6 documents
UPDATE events e
SET customer_id = a.customer_id, version = a.version, updated_at = a.updated_at, document = a.document
FROM unnest($2::uuid[], $3::uuid[], $4::integer[], $5::timestamptz[], $6::text[])
    AS a (id, customer_id, version, updated_at, document)
WHERE e.workspace_id = $1 AND e.id = a.id;

-- name: delete_events_of_customers
-- The rows stay for the feed's past. $1 workspace, $2 customers
UPDATE events SET deleted = true
WHERE workspace_id = $1 AND customer_id = ANY ($2::uuid[]) AND NOT deleted
RETURNING id, node_id, version;
